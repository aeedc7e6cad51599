"""Every study by the command line, as small as it gets. Its numbers are tested elsewhere, some by slow tests."""

import shutil

import pandas as pd
import pytest

from diffgeo.studies import studies
from folders import save_prompted

EDITS = "schedule.edit=[1.0,0.5]"
FACES = ("model=factor_faces", "schedule.steps=4", "svd.tol=1e-2", "metric=rmse")
READER = ("predictor=classifier", "predictor.path={colours}", "predictor.names=[red,green,blue]", "predictor.size=16")
SETTINGS = {
    "discovery": [],
    "spectrum": [EDITS],
    "frequency": [EDITS],
    "global_consistency": ["data.samples=4", "methods=[nearest]"],
    "curvedness": ["data.samples=2", "paths=[slerp,shooting]", "pairs=1", "pools=[none]"],
    "tangent_distance": ["data.samples=2", EDITS],
    "ablation": ["variants=[local,random]", "directions=1"],
    "disentanglement": [
        *(*READER, "samples=4", "methods=[local,random]", "directions=1", "codes=12", "draws=5", "subspace=0"),
        *("levels=[]", "renders=false", "min_spread=1e-4"),
    ],
    "denoiser": ["samples=1", "t_fracs=[0.5]", "dimension_t_fracs=[0.5]", "probes=4", "rank=3", "directions=1"],
    "dataset_complexity": ["models=[{tiny},{tiny}]", "samples=2"],
    "training": ["networks=[{record}]", EDITS, "samples=2", "rank=3", "portraits=1", "pairs=1", "segments=2"],
    "prompts": ["model=local_sd", "model.path={prompted}", "prompt=face", "prompts=[face,hair]", "samples=1"],
    "blocks": [*FACES, "blocks=[mid]", "maps=[output]", "t_fracs=[1.0]", "samples=1", "rank=3", "directions=1"],
    "tangent_truth": [*FACES, "maps=[h]", "kinds=[render]", "samples=1", "noise=[0.5]", "rank=3", "draws=20"],
    "comparison": [*READER, "methods=[x0,random]", "samples=2", "training=2", "pictures=12", "metric=rmse"],
}
"""Of each study, its own settings by their names alone, and others of the run."""


@pytest.mark.usefixtures("without_figures")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("study", sorted(studies()))
def test_a_study_runs_from_the_command_to_its_tables(command, tiny_settings, tiny_pipeline, colours, tmp_path, study):
    prompted = save_prompted(tmp_path / "prompted") if study == "prompts" else None
    places = {"tiny": tiny_pipeline, "colours": colours, "prompted": prompted, "record": tmp_path / "record"}
    if study == "training":
        shutil.copytree(tiny_pipeline, places["record"])
        (places["record"] / "evaluation.json").write_text('{"training": {"config": {"seed": 1}, "images_seen": 9}}')
    words = [word.format(**places) for word in SETTINGS[study]]
    own = studies()[study].settings.__dataclass_fields__
    words = [f"study.{study}.{word}" if word.split("=")[0] in own else word for word in words]
    taken = {"study", *(word.split("=")[0] for word in words)}
    taken |= {"model.path"} & {f"{name}.path" for name in taken}
    common = [word for word in tiny_settings if word.split("=")[0] not in taken]
    where = f"hydra.run.dir={tmp_path / 'run'}"
    outcome = command("scale=smoke", *common, f"study=[{study}]", *words, where, folder=tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["status"] == "completed"
    table = pd.read_parquet(outcome.folder / "tables" / f"{study}.parquet")
    assert len(table) >= 1
    assert not table.duplicated(list(studies()[study].rows)).any(), "a row is not what the study says"
    assert outcome.manifest["scalars"][study]

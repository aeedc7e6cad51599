"""The published architectures from the command line, as a user who has downloaded a model would run them."""

import shutil

import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file

SMALL = (
    *("schedule.steps=3", "schedule.edit=[1.0]", "svd.rank=3", "svd.tol=0.05", "edit.frames=3", "device=cpu"),
    *("study=[discovery]", "study.discovery.directions=1", "tracking=none", "predictor=none"),
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for name, colour in (("ann.png", "orange"), ("bob.jpg", "teal")):
        Image.linear_gradient("L").resize((90, 70)).convert("RGB").save(folder / name)
        Image.blend(Image.open(folder / name), Image.new("RGB", (90, 70), colour), 0.5).save(folder / name)
    return folder


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("chosen", "architecture"),
    [
        (["model=local"], "ddpm_celebahq"),
        (["model=ddpm_celebahq"], "ddpm_celebahq"),
        (["model=ddpm_lsun_church"], "ddpm_lsun_church"),
        (["model=local_sd", "prompt=a face, smiling"], "sd15"),
        (["model=sd21_base", "prompt=a face, smiling", "model.guidance=2"], "sd21_base"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_downloaded_folder_inverts_and_edits_photographs(
    command, published, photographs, tmp_path, chosen, architecture
):
    outcome = command(
        *chosen,
        f"model.path={published(architecture)}",
        *("data=images", f"data.images=[{photographs / 'bob.jpg'},{photographs / 'ann.png'}]"),
        *SMALL,
        f"hydra.run.dir={tmp_path / 'run'}",
        folder=tmp_path / "run",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["model"]["source"] == str(published(architecture))
    assert outcome.manifest["samples"] == ["bob.jpg", "ann.png"]
    table = pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")
    assert list(table["name"]) == ["bob.jpg"] * 3 + ["ann.png"] * 3
    assert table["converged"].all()
    frames = load_file(outcome.folder / "tensors" / "discovery.safetensors")["frames"]
    assert frames.shape == (6, 3, 64, 64)
    assert (frames[0] != frames[2]).any()
    assert (outcome.folder / "figures" / "discovery_traversals_1T.png").is_file()


@pytest.mark.slow
def test_a_cached_hub_model_is_run_and_its_commit_recorded(command, published, tmp_path):
    commit = "4cb6117472e6e4f45c5afe606b101858c27c3802"  # the one that conf/model/ddpm_celebahq.yaml asks for
    snapshots = tmp_path / "hub" / "models--google--ddpm-ema-celebahq-256" / "snapshots"
    shutil.copytree(published("ddpm_celebahq"), snapshots / commit)
    outcome = command(
        *("model=ddpm_celebahq", f"model.cache_dir={tmp_path / 'hub'}", "model.local_files_only=true"),
        *("data.samples=1", *SMALL),
        f"hydra.run.dir={tmp_path / 'run'}",
        folder=tmp_path / "run",
    )
    assert outcome.code == 0, outcome.err
    source = f"google/ddpm-ema-celebahq-256@{commit}"
    model = outcome.manifest["model"]
    assert model["name"] == "google/ddpm-ema-celebahq-256"
    assert model["source"] == source
    assert len(model["digest"]) == 64
    assert set(pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")["model"]) == {source}

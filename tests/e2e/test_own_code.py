"""A model and an edit of the user's own, as docs/extending.md shows them: one file and one YAML, chosen by name."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

GUIDE = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """``own(example)``: the words that choose it; its file lies on the import path, its YAML in a folder beside."""

    def copy(example):
        folder = tmp_path / example
        shutil.copytree(GUIDE / example, folder, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.syspath_prepend(folder)
        for file in folder.glob("*.py"):
            monkeypatch.delitem(sys.modules, file.stem, raising=False)
        return f"hydra.searchpath=[file://{folder / 'conf'}]", folder

    return copy


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    """Folder of a tiny class-conditional pipeline with random weights."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=3,
    )
    folder = tmp_path_factory.mktemp("classes") / "pipeline"
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=1000)).save_pretrained(folder)
    return folder


def computed(outcome):
    """What a run computed: not taken from the store."""
    assert outcome.code == 0, outcome.err
    return "taken from the store" not in (outcome.folder / "diffgeo.log").read_text()


def test_a_model_is_chosen_and_its_class_set(own, tiny_run, classes):
    searchpath, _ = own("model")
    words = [searchpath, "model=mine", f"model.path={classes}", "study=[discovery]"]
    runs = [tiny_run(*words, *label) for label in ([], ["model.options.label=2"])]
    for outcome, label in zip(runs, (0, 2), strict=True):
        assert outcome.code == 0, outcome.err
        assert outcome.manifest["model"]["label"] == label
        assert outcome.manifest["model"]["source"] == str(classes)
    first, second = (pd.read_parquet(run.folder / "tables" / "discovery.parquet") for run in runs)
    assert first["singular_value"].tolist() != second["singular_value"].tolist()


def test_a_models_own_errors_and_missing_arguments_are_two_lines(own, tiny_run, classes):
    searchpath, folder = own("model")
    words = [searchpath, "model=mine", f"model.path={classes}", "study=[discovery]"]
    tiny_run(*words, "model.options.label=3").assert_failed(2, "label=3 is not possible", "has 3 classes")
    tiny_run(*words, "model.options.lable=1").assert_failed(2, "model._target_=my_model.load", "lable")
    yaml = folder / "conf" / "model" / "mine.yaml"
    yaml.write_text(yaml.read_text().replace("options: {label: 0}", ""))
    missing = tiny_run(*words)
    missing.assert_failed(2, "missing a required argument: 'label'", "model.options.NAME=VALUE")
    assert len(missing.err.strip().splitlines()) == 2
    assert tiny_run(*words, "model.options.label=1").code == 0, "the advice can be followed as it stands"


def test_an_edit_is_chosen_and_moves_latents(own, tiny_run):
    searchpath, _ = own("edit")
    words = [searchpath, "edit=colour", "study=[discovery]", "edit.normalise=false"]
    tables = {}
    for share in (1.0, 0.0):
        outcome = tiny_run(*words, f"edit.options.share={share}", figures=share == 1)
        assert outcome.code == 0, outcome.err
        tables[share] = pd.read_parquet(outcome.folder / "tables" / "discovery_traversals.parquet")
        assert set(tables[share]["edit_method"]) == {"colour"}
        lengths = tables[share]["gamma"].abs()
        assert tables[share]["x_change"].to_numpy() == pytest.approx(lengths.to_numpy(), rel=1e-3, abs=1e-4)
    plain = tiny_run("edit=single", *words[2:])
    straight = pd.read_parquet(plain.folder / "tables" / "discovery_traversals.parquet")
    assert tables[0.0]["change"].to_numpy() == pytest.approx(straight["change"].to_numpy(), rel=1e-4, abs=1e-6)
    assert tables[1.0]["change"].to_numpy() != pytest.approx(straight["change"].to_numpy(), rel=1e-2)


def test_an_edit_out_of_its_range_is_refused_and_ours_keep_their_names(own, tiny_run):
    searchpath, _ = own("edit")
    words = [searchpath, "edit=colour", "study=[discovery]"]
    tiny_run(*words, "edit.options.share=2").assert_failed(2, "edit.options.share=2", "0 to 1")
    tiny_run("edit.method=colour").assert_failed(2, "edit.method=colour is not possible", "single, shooting")


@pytest.mark.parametrize(
    ("example", "choice", "old", "new"),
    [
        ("model", "model=mine", "return self.unet(", "return 0.5 * self.unet("),
        ("edit", "edit=colour", "colour = offsets - ", "colour = offsets + "),
    ],
)
def test_an_edited_file_of_ones_own_is_computed_again(
    own, tiny_run, classes, tmp_path, monkeypatch, example, choice, old, new
):
    searchpath, folder = own(example)
    model = [f"model.path={classes}"] if example == "model" else []
    words = [searchpath, choice, *model, "study=[discovery]", f"store.path={tmp_path / 'store'}"]
    first = tiny_run(*words)
    assert computed(first)
    assert not computed(tiny_run(*words))
    (file,) = folder.glob("*.py")
    file.write_text(file.read_text().replace(old, new))
    monkeypatch.delitem(sys.modules, file.stem)
    second = tiny_run(*words)
    assert computed(second)
    tables = [pd.read_parquet(run.folder / "tables" / "discovery_traversals.parquet") for run in (first, second)]
    assert tables[0]["change"].tolist() != tables[1]["change"].tolist()
    if example == "model":  # its bases, too, which are stored by themselves
        values = [pd.read_parquet(run.folder / "tables" / "discovery.parquet") for run in (first, second)]
        assert len(list((tmp_path / "store" / "bases").rglob("*.safetensors"))) == 2
        assert values[0].shape == values[1].shape
    assert json.loads((second.folder / "run.json").read_text())["status"] == "completed"

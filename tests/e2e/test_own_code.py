"""A model, an edit, a predictor and a measure of one's own, as docs/extending.md shows them: a file and a YAML each."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

from diffgeo.diffusion.models import family

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


def lengths_of_paths(outcome):
    """How long each traversal's path of pictures is: what its pictures are, in a number."""
    assert outcome.code == 0, outcome.err
    return pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")["path_length"].dropna().to_numpy()


def test_a_model_is_chosen_and_its_class_set(own, tiny_run, classes):
    searchpath, _ = own("model")
    words = [searchpath, "model=mine", f"model.path={classes}", "study=[discovery]"]
    runs = [tiny_run(*words, *label) for label in ([], ["model.label=2"])]
    for outcome, label in zip(runs, (0, 2), strict=True):
        assert outcome.code == 0, outcome.err
        assert outcome.manifest["model"]["label"] == label
        assert outcome.manifest["model"]["source"] == str(classes)
    first, second = (pd.read_parquet(run.folder / "tables" / "discovery.parquet") for run in runs)
    assert first["singular_value"].tolist() != second["singular_value"].tolist()


def test_a_models_own_errors_and_missing_arguments_are_two_lines(own, tiny_run, classes):
    searchpath, folder = own("model")
    words = [searchpath, "model=mine", f"model.path={classes}", "study=[discovery]"]
    tiny_run(*words, "model.label=3").assert_failed(2, "label=3 is not possible", "has 3 classes")
    tiny_run(*words, "model.lable=1").assert_failed(2, "there is no setting model.lable", "Did you mean model.label?")
    yaml = folder / "conf" / "model" / "mine.yaml"
    yaml.write_text(yaml.read_text().replace("label: 0", ""))
    missing = tiny_run(*words)
    missing.assert_failed(2, "missing a required argument: 'label'", "model.NAME=VALUE")
    assert len(missing.err.strip().splitlines()) == 2
    assert tiny_run(*words, "model.label=1").code == 0, "the advice can be followed as it stands"


def test_an_edit_is_chosen_and_moves_latents(own, tiny_run):
    searchpath, _ = own("edit")
    words = ["study=[discovery]", "edit.normalise=false"]
    whole = tiny_run(searchpath, "edit=colour", *words, figures=True)
    none = tiny_run(searchpath, "edit=colour", "edit.share=0", *words)
    straight = tiny_run("edit=single", *words)
    assert lengths_of_paths(none) == pytest.approx(lengths_of_paths(straight), rel=1e-3)
    assert lengths_of_paths(whole) != pytest.approx(lengths_of_paths(straight), rel=1e-2)
    table = pd.read_parquet(whole.folder / "tables" / "discovery_traversals.parquet")
    assert set(table["edit_method"]) == {"colour"}
    assert table["x_change"].to_numpy() == pytest.approx(table["gamma"].abs().to_numpy(), rel=1e-3, abs=1e-4)
    assert whole.files("figures/discovery_traversals*.png")


def test_an_edit_out_of_its_range_is_refused_and_ours_keep_their_names(own, tiny_run):
    searchpath, _ = own("edit")
    words = [searchpath, "edit=colour", "study=[discovery]"]
    tiny_run(*words, "edit.share=2").assert_failed(2, "edit.share=2", "0 to 1")
    tiny_run("edit=shooting", "edit.frames=7", "edit.steps=4").assert_failed(2, "edit.steps=4", "a multiple of 3")
    tiny_run("edit.method=colour").assert_failed(
        2, "edit.method=colour is not possible", "guidance, h, shooting, single"
    )


def changes_of_attributes(outcome):
    """By how much traversals change each attribute, a row per direction."""
    assert outcome.code == 0, outcome.err
    return pd.read_parquet(outcome.folder / "tables" / "discovery.parquet").filter(regex="^delta_").dropna()


def test_a_predictor_is_chosen_and_reads_the_pictures(own, tiny_run):
    searchpath, _ = own("predictor")
    words = [searchpath, "predictor=colours", "study=[discovery]"]
    middle, whole = tiny_run(*words), tiny_run(*words, "predictor.part=1")
    assert middle.manifest["settings"]["predictor"]["kind"] == "colours"
    frames = load_file(whole.folder / "tensors" / "discovery.safetensors")["frames"]
    table = changes_of_attributes(whole)
    assert list(table) == ["delta_red", "delta_green", "delta_blue"]
    means = (frames.double() / 127.5 - 1).mean(dim=(2, 3)).unflatten(0, (-1, 3))  # of each direction's frames
    assert table.to_numpy() == pytest.approx((means[:, -1] - means[:, 0]).numpy(), abs=0.01)
    assert changes_of_attributes(middle).to_numpy() != pytest.approx(table.to_numpy(), abs=0.01)


def test_a_predictors_setting_out_of_its_range_is_refused(own, tiny_run):
    searchpath, _ = own("predictor")
    tiny_run(searchpath, "predictor=colours", "predictor.part=2").assert_failed(2, "predictor.part=2")


def test_a_perceptual_measure_is_chosen_and_its_pixels_weighed(own, tiny_run):
    searchpath, _ = own("measure")
    words = [searchpath, "metric=outlines", "study=[discovery]"]
    little, none = tiny_run(*words), tiny_run(*words, "metric.pixels=0")
    table = pd.read_parquet(little.folder / "tables" / "discovery.parquet")
    assert set(table["perceptual_measure"].dropna()) == {"outlines"}
    assert (lengths_of_paths(none) < lengths_of_paths(little)).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["metric=outlines", "metric.pixels=-1"], ["metric.pixels=-1"]),
        (["metric=outlines", "metric.pixel=0"], ["there is no setting metric.pixel", "Did you mean metric.pixels?"]),
        (["metric.perceptual=rmse"], ["metric.perceptual=rmse is not possible", "choose metric=rmse instead"]),
        (["metric.perceptual=loudness"], ["auto, factor_features, lpips, rmse"]),
        (["metric._target_=my_measure.Nothing"], ["metric._target_=my_measure.Nothing cannot be imported"]),
        (["metric._target_=collections.Counter"], ["collections.Counter is no measure", "ive it a name"]),
        (["metric._target_=builtins.dict"], ["metric._target_=builtins.dict cannot be used"]),
    ],
)
def test_what_is_no_perceptual_measure_is_refused(own, tiny_run, words, said):
    searchpath, _ = own("measure")
    tiny_run(searchpath, *words, "study=[discovery]").assert_failed(2, *said)


def test_a_family_is_one_module_of_the_package_as_the_guide_shows_it():
    page = (GUIDE.parent / "extending.md").read_text()
    folder = Path(family.__file__).parent / "families"
    (shown,) = re.findall(r'^--8<-- "src/diffgeo/diffusion/models/families/(\w+\.py)"$', page, re.MULTILINE)
    lines = {path.name: len(path.read_text().splitlines()) for path in folder.glob("[!_]*.py")}
    assert shown == min(lines, key=lines.get), "the page calls it the shortest"


@pytest.mark.parametrize(
    ("example", "choice", "old", "new"),
    [
        pytest.param("model", "model=mine", "return self.unet(", "return 0.5 * self.unet(", marks=pytest.mark.slow),
        ("edit", "edit=colour", "colour = offsets - ", "colour = offsets + "),
        ("predictor", "predictor=colours", ".mean(dim=(2, 3))", ".amax(dim=(2, 3))"),
        ("measure", "metric=outlines", "slopes.mean(", "slopes.amax("),
    ],
)
def test_an_edited_file_of_ones_own_is_computed_again(
    own, tiny_run, classes, tmp_path, monkeypatch, example, choice, old, new
):
    searchpath, folder = own(example)
    read = changes_of_attributes if example == "predictor" else lengths_of_paths
    model = [f"model.path={classes}"] if example == "model" else []
    words = [searchpath, choice, *model, "study=[discovery]", f"store.path={tmp_path / 'store'}"]
    first, again = tiny_run(*words), tiny_run(*words)
    stored = lambda part: len(list((tmp_path / "store" / part).rglob("*.safetensors")))  # noqa: E731
    bases = stored("bases")
    assert stored("studies") == 1, "the second run took what the first had computed"
    assert np.array_equal(read(again), read(first))
    (file,) = folder.glob("*.py")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    monkeypatch.delitem(sys.modules, file.stem)
    edited = tiny_run(*words)
    assert not np.array_equal(read(edited), read(first))
    assert stored("studies") == 2
    assert stored("bases") == (2 * bases if example == "model" else bases), "other code changes no basis"

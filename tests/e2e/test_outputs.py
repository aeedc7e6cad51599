"""What a good run leaves, that it is the same every time, and that every variant of the method runs."""

import xml.etree.ElementTree as ET
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from diffgeo.errors import DataError
from diffgeo.report.figures import draw, save_figure
from diffgeo.results import Result
from diffgeo.studies import study_named

DISCOVERY_FIGURES = [f"discovery_{name}" for name in ("directions", "spectrum", "traversals_0.5T", "traversals_1T")]
FIGURES = [*DISCOVERY_FIGURES, "frequency_power", "spectrum_summary"]
TABLES = ["discovery", "discovery_traversals", "frequency", "spectrum"]


def table(outcome, stem="discovery"):
    return pd.read_parquet(outcome.folder / "tables" / f"{stem}.parquet")


def test_a_run_folder_holds_settings_manifest_log_tables_tensors_and_figures(good):
    assert good.files() == sorted(
        [".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "diffgeo.log", "report.html", "run.json"]
        + [f"tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "parquet")]
        + [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")]
        + ["tensors/discovery.safetensors"]
    )


def test_the_command_prints_the_path_of_the_page_last(good):
    assert good.out.splitlines()[-1] == str(good.folder / "report.html")


def test_a_page_that_cannot_be_drawn_does_not_lose_the_run(tiny_run, tmp_path):
    with mock.patch("diffgeo.runner.manifest.write_page", side_effect=RuntimeError("no ink")):
        outcome = tiny_run("study=[spectrum]", folder=tmp_path / "run", figures=True)
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["status"] == "completed"
    assert outcome.out.splitlines()[-1] == str(outcome.folder)
    assert "no ink" in (outcome.folder / "diffgeo.log").read_text()


def test_the_manifest_names_versions_seed_model_and_outcome(good, tiny_pipeline):
    manifest = good.manifest
    assert manifest["status"] == "completed"
    assert manifest["seed"] == 0
    assert manifest["model"]["source"] == str(tiny_pipeline)
    assert {"python", "torch", "diffusers", "diffgeo", "hydra-core"} <= set(manifest["versions"])
    assert manifest["scalars"]["discovery"]["samples"] == 2


def test_the_saved_settings_are_those_that_ran(good):
    settings = yaml.safe_load((good.folder / ".hydra" / "config.yaml").read_text())
    assert settings["svd"]["rank"] == 3
    assert settings["schedule"]["edit"] == [1.0, 0.5]


def test_the_log_tells_of_the_studies(good):
    log = (good.folder / "diffgeo.log").read_text()
    for i, name in enumerate(["discovery", "spectrum", "frequency"]):
        assert f"[{i + 1}/3] {study_named(name).title}" in log


@pytest.mark.parametrize("stem", ["discovery", "discovery_traversals"])
def test_csv_and_parquet_hold_the_same_table(good, stem):
    csv = pd.read_csv(good.folder / "tables" / f"{stem}.csv")
    parquet = table(good, stem)
    assert list(csv.columns) == list(parquet.columns)
    pd.testing.assert_frame_equal(csv.fillna(-1), parquet.fillna(-1), check_dtype=False, rtol=1e-15)


def test_tables_have_one_row_a_direction_and_one_a_frame(good):
    rows, frames = table(good), table(good, "discovery_traversals")
    assert len(rows) == 2 * 2 * 3  # samples, timesteps, directions
    assert not rows.duplicated(["sample", "t", "direction"]).any()
    assert len(frames) == 2 * 2 * 2 * 3  # ..., traversed directions, frames
    assert list(frames["frame"]) == list(range(24))
    assert (frames.loc[frames["gamma"] == 0, "pixel_change"] == 0).all()
    assert (rows.groupby(["sample", "t"])["singular_value"].diff().dropna() <= 0).all()
    assert rows["converged"].all()


def test_tensors_hold_the_bases_of_the_table_and_a_picture_a_frame(good):
    tensors, rows = load_file(good.folder / "tensors" / "discovery.safetensors"), table(good)
    assert tensors["frames"].shape == (24, 3, 16, 16)
    assert tensors["frames"].dtype == torch.uint8
    for (sample, t), part in rows.groupby(["sample", "t"]):
        s, v, u = (tensors[f"{name}/{sample}/{t}"] for name in "sVU")
        np.testing.assert_allclose(s.numpy(), part["singular_value"], rtol=1e-6)
        for basis in (u, v):
            torch.testing.assert_close(basis.T @ basis, torch.eye(3), atol=1e-5, rtol=0)


def test_figures_open_and_are_not_blank(good):
    for name in FIGURES:
        with Image.open(good.folder / "figures" / f"{name}.png") as picture:
            grey = np.asarray(picture.convert("L"))
        assert grey.std() > 5, name
        root = ET.parse(good.folder / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 50, name


def test_figures_can_be_drawn_again_from_the_files_alone(good, tmp_path):
    tensors = load_file(good.folder / "tensors" / "discovery.safetensors")
    result = Result("discovery", table(good), {}, tensors, {"traversals": table(good, "discovery_traversals")})
    figures = draw(study_named("discovery"), result)
    assert sorted(figures) == DISCOVERY_FIGURES
    png, _ = save_figure(figures["discovery_spectrum"], tmp_path / "again")
    with Image.open(png) as again, Image.open(good.folder / "figures" / "discovery_spectrum.png") as first:
        np.testing.assert_array_equal(np.asarray(again), np.asarray(first))


def test_nothing_like_a_progress_bar_reaches_a_pipe(good):
    assert good.err == ""
    assert not set("━╸╺\r\x1b") & set(good.out)


def test_the_same_settings_and_seed_give_the_same_bytes(good, tiny_run):
    again = tiny_run("schedule.edit=[1.0,0.5]", "data.samples=2", figures=True)
    assert again.code == 0, again.err
    for stem in ("discovery", "discovery_traversals"):
        pd.testing.assert_frame_equal(table(again, stem), table(good, stem), check_exact=True)
    for name in [f for f in good.files("t*/*") if f.endswith((".csv", ".safetensors"))] + good.files("figures/*"):
        assert (again.folder / name).read_bytes() == (good.folder / name).read_bytes(), name


SLOWLY = [
    ["edit=shooting", "edit.steps=2", "svd.rank=2", "svd.tol=1e-2"],
    ["edit=guidance", "edit.steps=2"],
    ["svd=randomized"],
    ["svd.share=0.02"],
]


@pytest.mark.parametrize(
    "overrides",
    [
        ["feature=mid_pooled"],
        ["edit=shooting", "edit.steps=1", "edit.transport=pullback", "edit.normalise=false"],
        ["svd=subspace", "svd.tol=1e-2"],
        ["schedule.boost_below=0.2", "schedule.eta=0.5"],
        ["model.dtype=float64"],
        *(pytest.param(overrides, marks=pytest.mark.slow) for overrides in SLOWLY),
    ],
    ids=lambda overrides: ",".join(overrides),
)
def test_every_variant_runs(tiny_run, overrides):
    outcome = tiny_run(*overrides)
    assert outcome.code == 0, outcome.err
    rows = table(outcome)
    assert len(rows) >= 1
    assert np.isfinite(rows[["singular_value", "residual_left", "residual_right"]]).all(axis=None)
    assert (table(outcome, "discovery_traversals")["pixel_change"] >= 0).all()


def test_solvers_agree_on_the_singular_values(tiny_run, good):
    exact = table(tiny_run("svd=dense"))["singular_value"]
    first = table(good).query("sample == 0 and t_frac == 1.0")["singular_value"]
    np.testing.assert_allclose(first, exact, rtol=1e-4)


@pytest.mark.slow
def test_the_shipped_model_is_edited_by_its_leading_directions(command, tmp_path):
    outcome = command(
        *("data.samples=1", "schedule.steps=10", "schedule.edit=[1.0]", "svd.rank=5"),
        *("study=[discovery]", "study.discovery.directions=2", "tracking=none"),
        f"hydra.run.dir={tmp_path / 'run'}",
        folder=tmp_path / "run",
    )
    assert outcome.code == 0, outcome.err
    rows = pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")
    assert rows["converged"].all()
    moved = rows.filter(like="delta_").dropna().abs().max(axis=1)
    assert len(moved) == 2
    assert (moved > 0.15).all()  # each direction changes some attribute of the picture
    assert rows["label"].dropna().str.contains("[+−]").all()


STUDIES = {
    "global_consistency": ["overlap"],
    "curvedness": ["paths"],
    "tangent_distance": ["distances"],
    "ablation": ["damage", "edits"],
}


@pytest.mark.slow
def test_every_study_of_the_geometry_runs_on_a_model_without_a_predictor(tiny_run):
    outcome = tiny_run(
        f"study=[{','.join(STUDIES)}]",
        "scale=smoke",
        "schedule.edit=[1.0,0.5]",
        "study.curvedness.pairs=1",
        "study.curvedness.paths=[slerp,shooting,geodesic]",
        "study.ablation.directions=1",
        "study.ablation.variants=[local,random,pca_h,x0,shooting_pullback]",
        figures=True,
    )
    assert outcome.code == 0, outcome.err
    for study, figures in STUDIES.items():
        assert set(table(outcome, study)["seed"]) == {0}
        for figure in figures:
            assert f"figures/{study}_{figure}.svg" in outcome.files()
    assert set(table(outcome, "ablation")["perceptual_measure"]) == {"rmse"}


def test_one_picture_is_enough_for_a_run_and_what_needs_more_says_so(tiny_run, tmp_path):
    Image.new("RGB", (20, 20), "orange").save(tmp_path / "one.png")
    outcome = tiny_run(
        "study=[spectrum,global_consistency,curvedness,tangent_distance]",
        "data=images",
        f"data.images={tmp_path / 'one.png'}",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.manifest["status"] == "completed"
    log = (outcome.folder / "diffgeo.log").read_text()
    assert "global_consistency was left out: it needs 3 pictures, data.images holds 1" in log
    assert "curvedness was left out: it needs 2 pictures" in log
    assert len(table(outcome, "spectrum")) == 1


def test_a_run_that_measures_nothing_fails(tiny_run, tmp_path):
    Image.new("RGB", (20, 20), "orange").save(tmp_path / "one.png")
    one = ["data=images", f"data.images={tmp_path / 'one.png'}"]
    outcome = tiny_run("study=[global_consistency,curvedness]", *one)
    outcome.assert_failed(DataError.exit_code, "nothing was measured", "the log says why", table=True)
    assert outcome.manifest["status"] == "failed"


def test_the_manifest_tells_the_timesteps_that_were_used(tiny_run):
    """Four steps: 0.3 T is t = 249, a quarter."""
    outcome = tiny_run("schedule.edit=[1.0,0.3]", "study=[spectrum]", figures=True)
    used = outcome.manifest["times"]
    assert {name: (one["t"], one["t_frac"]) for name, one in used.items()} == {"t_1": (999, 1.0), "t_0.3": (249, 0.25)}
    assert "0.25\N{NO-BREAK SPACE}T (0.3\N{NO-BREAK SPACE}T asked for)" in (outcome.folder / "report.html").read_text()
    assert any(name.endswith("/t_0.3") for name in outcome.manifest["scalars"]["spectrum"])
    own = ("study=[curvedness]", "study.curvedness.t_frac=0.3", "data.samples=2", "study.curvedness.paths=[lerp]")
    outcome = tiny_run(*own, "study.curvedness.segments=2", "study.curvedness.pairs=1")
    assert outcome.manifest["times"]["t_0.3"]["t_frac"] == 0.25, "of a study's own setting, too"
    outcome = tiny_run("schedule.edit=[1.0,0.75,0.5,0.25]", "schedule.edit_log_snr=[-2.3]", "study=[spectrum]")
    assert list(outcome.manifest["times"]) == ["log_snr_-2.3"]
    assert outcome.manifest["times"]["log_snr_-2.3"]["log_snr"] == table(outcome, "spectrum")["log_snr"].iloc[0]

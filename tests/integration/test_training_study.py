"""The study of trainings: networks by their records, what is measured of them, and what is said."""

import copy
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from diffusers import DDPMScheduler

from diffgeo.api import run_study, settings
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.models.training_record import training_of
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.errors import ConfigError
from diffgeo.geometry import best_match, effective_dimension
from diffgeo.metrics.attributes import load_predictor
from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.formatting import interval
from diffgeo.report.reading import Run
from diffgeo.session import Context
from diffgeo.studies.shared.portraits import known_portraits
from diffgeo.studies.training import page
from diffgeo.studies.training.findings import findings
from diffgeo.studies.training.plots import charts
from diffgeo.studies.training.settings import networks_in
from training.diffusion import DiffusionTraining, train_diffusion

OWN = "study.training"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two trainings of a tiny network, each kept at half and at its end."""
    folder = tmp_path_factory.mktemp("trainings")
    fixed = {"size": 8, "channels": [8, 16], "batch_size": 4, "warmup": 8, "sample_every": 10**9, "keep": [0.5, 1.0]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.diffusion._sample_grid", lambda *_: None)
        patch.setattr("training.diffusion.loss_curve", lambda *_: None)
        for seed in (0, 1):
            cfg = DiffusionTraining(images=16, seed=seed, **fixed)
            train_diffusion(cfg, folder / str(seed), lambda n, g: render(sample_factors(n, generator=g), 8))
    return folder


@pytest.fixture(scope="module")
def measured(trained):
    words = ["study=[training]", "scale=smoke", "device=cpu", "tracking=none", "schedule.edit=[1.0,0.5]"]
    words += [
        f"{OWN}.networks=[{trained}]",
        f"{OWN}.samples=3",
        f"{OWN}.rank=4",
        f"{OWN}.portraits=2",
        f"{OWN}.pairs=1",
    ]
    context = Context(load_model(networks_in(str(trained))[0]), settings(*words), load_predictor())
    return context, run_study("training", context, context.cfg.study["training"])


@pytest.mark.slow
def test_every_network_of_the_folder_is_told_apart_by_its_record(measured):
    table = measured[1].table
    assert list(table.groupby(["data", "training_seed", "images"]).size().index) == [
        ("14 factors", seed, images) for seed in (0, 1) for images in (8, 16)
    ]
    assert not table.duplicated(["network", "sample", "t"]).any()
    assert len(table) == 4 * 3 * 2
    paths = measured[1].more_tables["paths"]
    assert set(paths["path"]) == {"lerp", "slerp"}
    assert paths["length"].gt(0).all()


@pytest.mark.slow
def test_values_are_those_of_the_network_s_own_bases(measured, trained):
    context, result = measured
    path = networks_in(str(trained))[-1]
    other = context.with_model(load_model(path))
    _, t = other.edit_times[0]
    bases = [other.bases.at(other.latents.of(sample, t), t, rank=4) for sample in other.samples.first(3)]
    rows = result.table[(result.table["network"] == path) & (result.table["t"] == t)].set_index("sample")
    assert rows.loc[0, "effective_dimension"] == pytest.approx(effective_dimension(bases[0].s))
    expected = np.mean([best_match(bases[0], bases[i]).mean() for i in (1, 2)])
    assert rows.loc[0, "best_match"] == pytest.approx(float(expected))
    truth = result.more_tables["truth"].set_index(["network", "portrait", "t"])
    other.own_predictor = context.predictor
    one = known_portraits(other, 2)[1]
    v = other.bases.at(one.latent(other, t), t, rank=one.space.rank).V.double()
    assert truth.loc[(path, 1, t), "share"] == pytest.approx((v.T @ one.space.basis).square().sum().item() / v.shape[1])
    assert truth.loc[(path, 1, t), "chance"] == one.space.rank / 192


@pytest.mark.slow
def test_columns_are_those_of_the_network_and_not_of_the_runs_own_model(measured):
    """The run's own model, which is not used, may have another noise process."""
    context, expected = measured
    model = copy.copy(context.model)
    model.schedule = NoiseSchedule.of(DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    other = Context(model, context.cfg, context.predictor)
    found = run_study("training", other, context.cfg.study["training"]).table
    pd.testing.assert_series_equal(found["log_snr"], expected.table["log_snr"])
    assert found["model"].tolist() == found["network"].tolist()


@pytest.mark.slow
def test_charts_and_findings_speak_of_pictures_seen(measured, tmp_path):
    result = measured[1]
    tables = {"training": result.table} | {f"training_{name}": one for name, one in result.more_tables.items()}
    [settings] = result.table["settings"].unique()
    assert {chart.name for chart in charts(tables)} == {
        f"training-{name}-14-factors-{settings}" for name in ("effective-dimension", "best-match", "share")
    }
    run = run_of(result.table)
    run.tables.update({f"training_{name}": one for name, one in result.more_tables.items()})
    shown = {table.id: [column.heading for column in table.columns] for table in page.tables(run)}
    assert list(shown) == ["table-training", "table-training_truth", "table-training_paths"]
    network = ["data", "settings", "seed", "pictures seen"]
    assert shown["table-training_truth"] == [*network, "t", "share", "chance", "n"]
    told = list(findings(run))
    assert "after 8 pictures" in told[0].detail
    assert "after 16 pictures" in told[0].detail
    assert told[1].headline.startswith("Trainings on 14 factors that differ by their seed alone have effective")


@pytest.mark.slow
def test_moments_of_one_training_do_not_count_as_trainings(measured, trained):
    context, [first, second, *_] = measured[0], networks_in(str(trained))
    cfg = settings("study=[dataset_complexity]", f"study.dataset_complexity.models=[{first},{second}]")
    with pytest.raises(ConfigError, match="are moments of one training"):
        run_study("dataset_complexity", context, cfg.study["dataset_complexity"])


def test_the_trainings_of_this_repository_differ_as_their_page_says():
    paths = networks_in(str(REPOSITORY / "trainings"))
    records = [training_of(path) for path in paths]
    moments = {(one.data, one.seed): [] for one in records}
    for one in records:
        moments[one.data, one.seed].append(one.images)
    kept = [32_000]
    several = [2_016, 4_000, 8_000, 16_000, 32_000]
    assert moments == {
        (f"{factors} factors", seed): several if (factors, seed) == (14, 0) else kept
        for factors in (14, 4)
        for seed in (0, 1, 2)
    }
    assert len({(one.data, one.settings) for one in records}) == 2
    assert sum(file.stat().st_size for file in (REPOSITORY / "trainings").rglob("*")) < 60e6


def run_of(table):
    run = Run.__new__(Run)
    object.__setattr__(run, "tables", {"training": table})
    return run


def series(changes, seeds=(0,)):
    """A table in which the effective dimension changes from T to 0.5 T by so much at every moment."""
    rows = [
        {
            "data": "14 factors",
            "settings": "a",
            "training_seed": seed,
            "images": 100 * (i + 1),
            "sample": sample,
            "rank": 9,
            "t_frac": t_frac,
            "effective_dimension": 5 + seed + 0.1 * sample + (change + 0.01 * sample) * (t_frac < 1),
        }
        for seed in seeds
        for i, change in enumerate(changes)
        for sample in range(6)
        for t_frac in (1.0, 0.5)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((2.0, 0.5, -1.0), "Early in training the spectrum grows flatter from T to 0.5 T, at its end steeper."),
        ((-2.0, 1.0), "Early in training the spectrum grows steeper from T to 0.5 T, at its end flatter."),
        ((-2.0, -1.0), "The spectrum grows steeper from T to 0.5 T at each of 2 moments of training."),
        ((-2.0, 1.0, -1.0), "Whether training turns the spectrum's trend from T to 0.5 T stays open."),
        ((-0.025, 1.0), "Whether training turns the spectrum's trend from T to 0.5 T stays open."),
    ],
)
def test_what_training_does_to_the_spectrum_is_said_by_the_intervals(changes, said):
    [told] = findings(run_of(series(changes)))
    assert told.headline == said


def test_three_trainings_are_the_units_and_fewer_are_not():
    table = series([-2.0, -1.0], seeds=(0, 1, 2))
    table["effective_dimension"] += 0.3 * table["training_seed"] * (table["t_frac"] < 1)
    turned, _ = findings(run_of(table))
    expected = interval(*mean_interval([-1.975, -1.675, -1.375]))
    assert f"{expected} after 100 pictures" in turned.detail
    assert turned.detail.endswith("(3 trainings on 14 factors, 6 samples each).")
    turned, _ = findings(run_of(table.query("training_seed > 0 or images > 100")))
    assert turned.detail.endswith("(6 samples, one training on 14 factors, seed 1).")


def test_trainings_that_differ_by_seed_are_compared_with_samples():
    *_, told = findings(run_of(series([1.0], seeds=(0, 2))))
    assert "of 5.25, 7.25 at T" in told.headline
    assert f"Their standard deviation is {math.sqrt(2):.3g}" in told.detail


def test_networks_of_unlike_settings_are_not_of_one_training():
    first, second = series([-1.0]), series([1.0], seeds=(1,)).assign(settings="b")
    assert list(findings(run_of(pd.concat([first, second, second.assign(images=900, settings="c")])))) == []


@pytest.mark.slow
def test_a_folder_without_networks_and_a_network_without_a_record_are_refused(trained, measured, tmp_path):
    with pytest.raises(ConfigError, match="holds no network that was kept in training"):
        networks_in(str(tmp_path))
    assert networks_in("factor_faces") == ["factor_faces"]
    context, bare = measured[0], tmp_path / "bare"
    shutil.copytree(networks_in(str(trained))[0], bare)
    (bare / "evaluation.json").unlink()
    with pytest.raises(ConfigError, match="has no record of its training"):
        run_study("training", context, replace(context.cfg.study["training"], networks=[str(bare)]))

"""Tables hold the fraction of T that was used, and its log-SNR; scalars are called by what was asked for."""

import logging
import math

import pandas as pd
import pytest

from diffgeo.api import run_study
from diffgeo.composition import check, typed
from diffgeo.errors import ConfigError, ValueRangeError
from diffgeo.results import write_result
from diffgeo.runner.prepare import prepare
from folders import joint_pipeline

QUICK = ("svd.rank=2", "svd.tol=0.5", "data.samples=1")
"""Of runs whose numbers do not matter."""


@pytest.fixture
def settings(composed, tiny_pipeline):
    def make(*overrides):
        words = ["model=local", f"model.path={tiny_pipeline}", "scale=smoke", "device=cpu", "data.samples=2"]
        return typed(composed(*words, "tracking=none", "study=[spectrum]", *overrides))

    return make


@pytest.fixture
def of_a_flow(settings, tmp_path):
    """The same of a tiny transformer on a rectified flow."""
    joint_pipeline().save_pretrained(tmp_path / "flow")
    words = ("model=local_sd", f"model.path={tmp_path / 'flow'}", "feature.block=transformer_blocks.1", "prompt=a face")
    return lambda *overrides: settings(*words, *overrides)


def spectrum(context):
    return run_study("spectrum", context, context.cfg.study["spectrum"])


def test_a_fraction_off_the_schedule_is_told_apart_from_what_was_asked(settings, caplog):
    context = prepare(settings("schedule.edit=[1.0,0.3]"))
    with caplog.at_level(logging.WARNING):
        result = run_study("spectrum", context, context.cfg.study["spectrum"])
        assert context.edit_times == [(1.0, 999), (0.25, 249)]
    assert set(zip(result.table["t_frac"], result.table["t"], strict=True)) == {(1.0, 999), (0.25, 249)}
    assert {"effective_dimension/t_1", "effective_dimension/t_0.3"} <= set(result.scalars)
    assert "effective_dimension/t_0.25" not in result.scalars


def test_the_log_says_it_once(settings, caplog):
    with caplog.at_level(logging.WARNING):
        context = prepare(settings("schedule.edit=[1.0,0.3]"))
        for _ in range(3):
            _ = context.edit_times
    assert caplog.text.count("schedule.edit=0.3 is not on the schedule of 8 timesteps") == 1
    assert "t = 249, is 0.25 T" in caplog.text


@pytest.mark.parametrize("steps", [8, 16, 20, 100])
def test_the_default_fractions_are_used_as_asked_and_nothing_is_said(settings, caplog, steps):
    with caplog.at_level(logging.WARNING):
        context = prepare(settings(f"schedule.steps={steps}"))
        assert [used for used, _ in context.edit_times] == context.cfg.schedule.edit == [1.0, 0.75, 0.5, 0.25]
    assert "not on the schedule" not in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        ["schedule.edit=[1.0,0.06]"],
        ["schedule.edit=[0.05]"],
        ["study=[curvedness]", "study.curvedness.t_frac=0.01"],
        ["study=[ablation]", "study.ablation.t_frac=0.01"],
        ["study=[disentanglement]", "study.disentanglement.t_fracs=[1.0,0.01]"],
    ],
)
def test_fractions_beyond_half_a_step_are_refused_before_anything_is_loaded(settings, words):
    with pytest.raises(ConfigError, match=r"0\.0625 to 1 with schedule\.steps=8.*0\.125 T"):
        check(settings("schedule.steps=8", *words))
    check(settings("schedule.steps=100", *words))


def test_a_fraction_below_half_a_training_timestep_is_refused_with_any_number_of_steps(settings):
    for steps, lowest in ((8, "0.0625"), (100, "0.005"), (1000, "0.0005")):
        with pytest.raises(ConfigError, match=rf"edit=\[1\.0, 1e-09\] is not possible; allowed: {lowest} to 1 with"):
            check(settings(f"schedule.steps={steps}", "schedule.edit=[1.0,1e-9]"))
        check(settings(f"schedule.steps={steps}", f"schedule.edit=[1.0,{lowest}]"))


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (
            "curvedness",
            ["study.curvedness.t_frac=0.3", "study.curvedness.paths=[slerp]", "study.curvedness.pools=[none]"],
        ),
        ("ablation", ["study.ablation.t_frac=0.3", "study.ablation.variants=[local]", "study.ablation.samples=1"]),
        ("tangent_distance", ["schedule.edit=[1.0,0.3]"]),
        ("global_consistency", ["schedule.edit=[1.0,0.3]", "data.samples=3"]),
    ],
)
def test_every_study_says_the_fraction_that_it_used(settings, study, words):
    context = prepare(settings(f"study=[{study}]", *words))
    result = run_study(study, context, context.cfg.study[study])
    used = {1.0, 0.25} if any("1.0" in word for word in words) else {0.25}
    columns = [table[column] for table in result.tables().values() for column in table if "t_frac" in column]
    assert columns
    for column in columns:
        assert 0.25 in set(column) <= used, column.name
    asked = [name for name in result.scalars if "t_0.3" in name]
    assert bool(asked) == any("edit" in word for word in words), "scalars of one timestep do not name it"
    assert not [name for name in result.scalars if "t_0.25" in name]


# --- log-SNR


def test_a_flow_and_a_variance_preserving_model_are_asked_at_equal_log_snr(settings, of_a_flow, caplog):
    asked, words = (-3.0, 0.5), ("schedule.steps=40", "schedule.edit_log_snr=[-3,0.5]", *QUICK)
    times, names = [], []
    for make in (settings, of_a_flow):
        with caplog.at_level(logging.INFO):
            context = prepare(make(*words))
        result = spectrum(context)
        rows = result.table[["t", "t_frac", "log_snr"]].drop_duplicates()
        assert [(row.t_frac, row.t) for row in rows.itertuples()] == context.edit_times
        assert list(rows["log_snr"]) == [context.model.schedule.log_snr(t) for t in rows["t"]]
        assert list(rows["log_snr"]) == pytest.approx(asked, abs=0.25)
        assert f"of T (log-SNR {rows['log_snr'].iloc[0]:.1f}, {rows['log_snr'].iloc[1]:.1f})" in caplog.text
        times.append(list(rows["t"]))
        names.append({name for name in result.scalars if name.startswith("effective_dimension")})
    assert times[0] != times[1]
    assert names[0] == names[1] == {f"effective_dimension/log_snr_{one}" for one in ("-3", "0.5")}


def test_a_log_snr_beyond_the_schedule_or_twice_on_a_timestep_is_refused(settings):
    with pytest.raises(ValueRangeError, match=r"a log-SNR is 9, but those of 8 timesteps are -10\.1 to "):
        prepare(settings("schedule.edit_log_snr=[9]"))
    with pytest.raises(ConfigError, match=r"schedule\.edit_log_snr=\[-2\.0, -2\.01\] falls on 1 of 8 timesteps"):
        prepare(settings("schedule.edit_log_snr=[-2,-2.01]"))
    check(settings("schedule.steps=1", "schedule.edit_log_snr=[-10]"))


def test_the_log_snr_of_noise_alone_survives_in_files(of_a_flow, tmp_path):
    result = spectrum(prepare(of_a_flow(*QUICK, "schedule.edit=[1.0,0.5]")))
    write_result(result, tmp_path)
    for table in (pd.read_csv(tmp_path / "tables/spectrum.csv"), pd.read_parquet(tmp_path / "tables/spectrum.parquet")):
        assert (table.loc[table["t_frac"] == 1, "log_snr"] == -math.inf).all()
        assert table.loc[table["t_frac"] == 0.5, "log_snr"].map(math.isfinite).all()
        assert list(table.columns).index("log_snr") == list(table.columns).index("t") + 1

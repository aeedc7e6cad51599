"""The scorecard from the command line: with every kind of predictor, and of every method."""

import pandas as pd
import pytest

from diffgeo.errors import ConfigError

SETTINGS = [
    "study=[disentanglement]",
    "study.disentanglement.samples=4",
    "study.disentanglement.directions=2",
    "study.disentanglement.codes=12",
    "study.disentanglement.draws=5",
    "study.disentanglement.levels=[]",
    "study.disentanglement.renders=false",
    "svd.rank=3",
    "schedule.edit=[1.0]",
]


def tables(outcome):
    assert outcome.code == 0, outcome.err
    return (
        pd.read_parquet(outcome.folder / "tables/disentanglement.parquet"),
        pd.read_parquet(outcome.folder / "tables/disentanglement_scorecard.parquet"),
    )


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_classifier_by_path_scores_every_method(tiny_run, colours):
    outcome = tiny_run(
        *SETTINGS,
        "predictor=classifier",
        f"predictor.path={colours}",
        "predictor.names=[red,green,blue]",
        "predictor.size=16",
        "study.disentanglement.min_spread=1e-4",
        "study.disentanglement.methods=[local,nearest,random,x0,eps]",
        f"metric.identity={colours}",
        "metric.identity_size=16",
        figures=True,
    )
    edits, card = tables(outcome)
    assert set(edits["method"]) == {"local", "nearest", "random", "x0", "eps"}
    assert set(edits["target"]) <= {"red", "green", "blue"}
    assert edits["identity"].between(-1, 1).all()
    assert edits["s_dir"].isna().all()
    gains = card[card["metric"] == "precision_gain"]
    assert set(gains["method"]) == {"local", "nearest", "x0", "eps"}
    random = edits[edits["method"] == "random"]["precision"].mean()
    for row in gains.to_dict("records"):
        own = edits[edits["method"] == row["method"]]["precision"].mean()
        assert row["value"] == pytest.approx(own - random, rel=1e-4, abs=1e-6)
    assert outcome.files("figures/disentanglement*")


@pytest.mark.slow
def test_clip_scores_prompts_and_tells_where_edits_point(tiny_run, clip_folder):
    edits, _ = tables(
        tiny_run(*SETTINGS, "predictor=clip", f"predictor.path={clip_folder}", "study.disentanglement.min_spread=1e-9")
    )
    assert {"delta_smile", "delta_in_profile"} <= set(edits.columns)
    assert edits["s_dir"].between(-1, 1).all()
    assert edits["s_dir"].abs().max() > 0


def test_attributes_that_hardly_vary_are_left_out_or_refused(tiny_run, clip_folder):
    outcome = tiny_run(
        *SETTINGS, "predictor=clip", f"predictor.path={clip_folder}", "study.disentanglement.min_spread=10"
    )
    outcome.assert_failed(ConfigError.exit_code, "0 attributes vary", "study.disentanglement.min_spread")


def test_one_timestep_cannot_be_asked_for_twice(tiny_run, colours):
    outcome = tiny_run(
        *SETTINGS,
        "predictor=classifier",
        f"predictor.path={colours}",
        "predictor.names=[red,green,blue]",
        "study.disentanglement.t_fracs=[1.0,0.999]",
    )
    outcome.assert_failed(ConfigError.exit_code, "t_fracs", "falls on 1 of")

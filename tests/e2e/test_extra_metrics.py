"""``metric.extra``: a metric of the user's own, from the command line to the scorecard, by the guide's own file."""

import math
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from diffgeo.composition.checks import taken
from diffgeo.errors import ConfigError, ShapeError, ValueRangeError
from diffgeo.metrics.statistics import INTERVAL_FROM

GUIDE = Path(__file__).parents[2] / "docs" / "examples" / "metric"
STUDIES = "study=[discovery,ablation,disentanglement]"
SMALL = [
    "study.ablation.variants=[local,random]",
    "scale.directions=2",
    "study.disentanglement.min_spread=1e-4",
    "study.disentanglement.renders=false",
    *(
        f"study.disentanglement.{setting}"
        for setting in ("samples=4", "methods=[local,random]", "codes=12", "draws=5", "subspace=0", "levels=[]")
    ),
]
SHARPNESS = "metric.extra.sharpness._target_=my_metric.Sharpness"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of the user's files, on the import path."""
    folder = tmp_path / "own"
    shutil.copytree(GUIDE, folder)
    monkeypatch.syspath_prepend(folder)
    for file in folder.glob("*.py"):
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_guides_metric_reaches_every_table_the_scorecard_and_the_manifest(own, colours, tiny_run):
    reader = ["predictor=classifier", f"predictor.path={colours}", "predictor.names=[red,green,blue]"]
    variation = "metric.extra.variation={_target_: smoothness.variation, _partial_: true, relative: true}"
    outcome = tiny_run(
        *reader, "predictor.size=16", STUDIES, *SMALL, SHARPNESS, "metric.extra.sharpness.floor=1e-4", variation
    )
    assert outcome.code == 0, outcome.err
    tables = {path.stem: pd.read_parquet(path) for path in (outcome.folder / "tables").glob("*.parquet")}
    for name in ("discovery_traversals", "ablation", "disentanglement"):
        assert tables[name][["sharpness", "variation"]].notna().all().all(), name
    frames = tables["discovery_traversals"]
    unedited = frames[frames["gamma"].abs() < 1e-6]
    assert unedited["sharpness"].to_numpy() == pytest.approx(1)
    assert unedited["variation"].to_numpy() == pytest.approx(0)
    ends = frames.groupby(["sample", "direction"])["sharpness"].agg(["first", "last"]).mean(axis=1)
    directions = tables["discovery"].dropna(subset=["label"]).set_index(["sample", "direction"])["sharpness"]
    pd.testing.assert_series_equal(directions, ends, check_names=False)

    edits, card = tables["disentanglement"], tables["disentanglement_scorecard"]
    for method, part in card[card["metric"] == "sharpness"].groupby("method"):
        mine = edits.loc[edits["method"] == method, "sharpness"]
        assert part["value"].item() == pytest.approx(mine.mean())
        low, high = part["low"].item(), part["high"].item()
        if edits.loc[edits["method"] == method, "sample"].nunique() < INTERVAL_FROM:
            assert math.isnan(low)
            assert math.isnan(high)
        else:
            assert low <= part["value"].item() <= high
    scalars = outcome.manifest["scalars"]
    assert scalars["disentanglement"]["sharpness/local/t_1"] == pytest.approx(
        edits.loc[edits["method"] == "local", "sharpness"].mean()
    )
    assert "sharpness/random" in scalars["ablation"]
    assert scalars["discovery"]["variation/t_1"] == pytest.approx(tables["discovery"]["variation"].mean())
    columns = {column for name in ("discovery", "discovery_traversals", "ablation") for column in tables[name]}
    columns |= set(edits) | set(card["metric"])
    predicted = {column.removeprefix("delta_") for column in columns if column.startswith("delta_")}
    free = {c for c in columns if not c.startswith("delta_")} - predicted - taken()
    assert free == {"sharpness", "variation"}, "a metric could be called like a column"


def test_a_plus_before_the_key_does_no_harm(own, tiny_run):
    outcome = tiny_run(f"+{SHARPNESS}")
    assert outcome.code == 0, outcome.err
    assert "sharpness" in pd.read_parquet(outcome.folder / "tables" / "discovery.parquet")


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["metric.extra.sharpness.floor=1"], ConfigError, ["metric.extra.sharpness", "_target_"]),
        (["metric.extra.sharpness=3"], ConfigError, ["metric.extra.sharpness=3", "_target_"]),
        (["metric.extra.psnr._target_=my_metric.Sharpness"], ConfigError, ["metric.extra.psnr", "do not use yet"]),
        (["metric.extra.m._target_=nowhere.Sharpness"], ConfigError, ["metric.extra.m._target_", "PYTHONPATH"]),
        (["metric.extra.m._target_=my_metric.Sharp"], ConfigError, ["my_metric.Sharp", "package.module.Name"]),
        ([SHARPNESS, "metric.extra.sharpness.flor=1"], ConfigError, ["flor", "give the arguments"]),
        (
            ["metric.extra.m={_target_: my_metric.Sharpness, _partial_: true}"],
            ShapeError,
            ["metric.extra.m", "Sharpness"],
        ),
        (["metric.extra.m._target_=builtins.dict"], ConfigError, ["metric.extra.m is a dict", "__call__"]),
        (
            ["metric.extra.m={_target_: torch.add, _partial_: true}"],
            ShapeError,
            ["metric.extra.m returned (2, 3,"],
        ),
        (["metric.extra.m={_target_: bad.nothing, _partial_: true}"], ValueRangeError, ["metric.extra.m", "2 of 2"]),
    ],
)
def test_what_cannot_be_a_metric_fails_at_once_and_in_two_lines(own, tiny_run, overrides, error, words):
    (own / "bad.py").write_text("def nothing(edited, original):\n    return edited.mean(dim=(1, 2, 3)) / 0 * 0\n")
    outcome = tiny_run(*overrides)
    outcome.assert_failed(error.exit_code, *words)
    assert len(outcome.err.strip().splitlines()) == 2


def test_an_edited_metric_is_computed_again(own, tiny_run, tmp_path, monkeypatch):
    store = [f"store.path={tmp_path / 'store'}", SHARPNESS, "study=[discovery]"]

    def values(*more):
        outcome = tiny_run(*store, *more)
        assert outcome.code == 0, outcome.err
        taken = "from the store" in (outcome.folder / "diffgeo.log").read_text()
        return pd.read_parquet(outcome.folder / "tables" / "discovery_traversals.parquet")["sharpness"], taken

    first, taken = values()
    assert not taken
    again, taken = values()
    assert taken
    pd.testing.assert_series_equal(first, again)
    assert not values("metric.extra.sharpness.floor=0.5")[1]
    source = own / "my_metric.py"
    source.write_text(source.read_text().replace(".square()", ".abs()"))
    monkeypatch.delitem(sys.modules, "my_metric")
    edited, taken = values()
    assert not taken
    assert (first != edited).any()

"""How much of a run is left, by earlier runs and by the studies that are done."""

from dataclasses import asdict

import pytest

from diffgeo.composition import composed
from diffgeo.config import flat
from diffgeo.report.formatting import time_left
from diffgeo.runner.durations import _FIRST, Remaining, expected
from diffgeo.runner.prepare import prepare
from diffgeo.studies import study_named


@pytest.fixture
def clock(monkeypatch):
    """``clock(seconds)``: let time pass."""
    now = [0.0]
    monkeypatch.setattr("diffgeo.runner.durations.perf_counter", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


def done(remaining, clock, study, seconds):
    remaining.begin()
    clock(seconds)
    remaining.end(study, seconds)


def test_earlier_runs_tell_what_is_left_and_time_that_passes_counts(clock):
    remaining = Remaining({"a": 30.0, "b": 20.0})
    remaining.begin()
    assert remaining.seconds() == 50
    clock(12)
    assert remaining.seconds() == 38


def test_what_is_to_come_is_as_much_slower_as_what_is_done_was(clock):
    remaining = Remaining({"a": 30.0, "b": 20.0, "c": 10.0})
    done(remaining, clock, "a", 60)
    remaining.begin()
    assert remaining.seconds() == 2 * (20 + 10)


def test_without_an_earlier_run_the_finished_studies_tell(clock):
    remaining = Remaining(dict.fromkeys("abc"))
    remaining.begin()
    assert remaining.seconds() is None
    remaining.end("a", 0.0)
    done(remaining, clock, "b", 8)
    remaining.begin()
    assert remaining.seconds() == (0 + 8) / 2


def test_what_the_store_has_takes_no_time_and_says_nothing_of_the_others(clock):
    remaining = Remaining({"a": 0.0, "b": 40.0, "c": 0.0})
    done(remaining, clock, "a", 0.5)
    remaining.begin()
    assert remaining.seconds() == 40 - 0.5
    unknown = Remaining({"a": 0.0, "b": None})
    done(unknown, clock, "a", 0.5)
    unknown.begin()
    assert unknown.seconds() is None


def test_a_study_that_takes_longer_than_expected_is_not_about_to_end(clock):
    remaining = Remaining({"a": 30.0, "b": 20.0})
    remaining.begin()
    clock(31)
    assert remaining.seconds() == 20, "the next one is still to come"
    remaining.end("a", 31)
    remaining.begin()
    clock(1000)
    assert remaining.seconds() is None


def test_processes_share_the_work(clock):
    remaining = Remaining({"a": 60.0, "b": 30.0, "c": 30.0}, processes=2)
    remaining.begin()
    assert remaining.seconds() == 60
    clock(60)
    remaining.end("a", 60)  # the other process has done b and c meanwhile
    for study in "bc":
        remaining.begin()
        remaining.end(study, 30)
    assert remaining.seconds() == 0


def test_the_default_run_has_times_for_whoever_has_no_earlier_run():
    cfg = composed([])
    assert all(study_named(name).seconds for name in cfg.study)
    settings = flat(asdict(cfg))
    assert {key: settings[key] for key in _FIRST} == _FIRST, "it is known by these"


@pytest.mark.slow
def test_only_the_default_run_is_given_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["store.enabled=false", "tracking=none", "device=cpu"]
    context = prepare(composed(words))
    assert expected(context, tmp_path / "run") == {name: study_named(name).seconds for name in context.cfg.study}
    for other in ("data.samples=5", "schedule.steps=8", "svd.rank=20", "model=factor_faces_4"):
        context = prepare(composed([*words, other]))
        assert set(expected(context, tmp_path / "run").values()) == {None}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0, "a few seconds left"),
        (12, "about 10 s left"),
        (52, "about 50 s left"),
        (99, "about 1 min 40 s left"),
        (100, "about 2 min left"),
        (3000, "about 50 min left"),
        (3600, "about 1 h left"),
        (8000, "about 2 h 13 min left"),
    ],
)
def test_an_estimate_is_told_no_finer_than_it_is(seconds, words):
    assert time_left(seconds) == words

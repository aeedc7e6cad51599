"""What a user is told on the console if local bases missed their tolerance."""

import json
import sys
from unittest import mock

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from diffgeo.cli import paper

FEW = "svd.max_passes=6"


def test_the_last_lines_say_how_many_bases_missed_their_tolerance(tiny_run):
    outcome = tiny_run(FEW)
    assert outcome.code == 0
    assert outcome.manifest["convergence"]["spectrum"]["missed"] == 1
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("Warning: Local bases missed svd.tol (1 of 1 in Traversals, 1 of 1 in Spectrum, 1 of 1 in ")
    assert "raise svd.max_passes" in last


@pytest.mark.filterwarnings("default::diffgeo.errors.ConvergenceWarning")
def test_every_finding_on_the_console_is_marked_and_the_advice_stands_once(tiny_run):
    outcome = tiny_run(FEW)
    lines = outcome.out.splitlines()
    marked = [line for line in lines if line.endswith("(not converged)")]
    assert len([line for line in marked if line.startswith("      ")]) >= 3, "findings"
    assert [line.split()[0] for line in marked if not line.startswith(" ")] == ["Traversals", "Spectrum", "Frequencies"]
    assert "spectrum: 1 of 1 local bases missed svd.tol" in outcome.out
    assert "ConvergenceWarning" not in outcome.out + outcome.err
    assert (outcome.out + outcome.err).count("raise svd.max_passes") == 1


def test_nothing_is_said_of_bases_that_met_it(tiny_run):
    outcome = tiny_run()
    assert outcome.manifest["convergence"]["spectrum"]["missed"] == 0
    assert "Warning" not in outcome.err


def test_a_run_that_fails_later_says_it_as_well(tiny_run):
    with mock.patch("diffgeo.studies.frequency.measure.run", side_effect=RuntimeError("later")):
        outcome = tiny_run(FEW)
    assert outcome.code == 1
    assert "1 of 1 in Traversals, 1 of 1 in Spectrum)" in outcome.err
    assert outcome.manifest["convergence"]["spectrum"]["missed"] == 1


@pytest.mark.slow
def test_a_sweep_names_its_jobs(tiny_settings, tmp_path, command):
    words = ["-m", *tiny_settings, "svd.max_passes=6,200", f"hydra.sweep.dir={tmp_path}"]
    with mock.patch("diffgeo.runner.finish.draw", return_value={}):
        outcome = command(*words)
    assert outcome.code == 0, outcome.err
    assert "Jobs with local bases that missed svd.tol or svd.share: 0\n" in outcome.err


@pytest.mark.slow
@pytest.mark.filterwarnings("default::diffgeo.errors.ConvergenceWarning")
def test_verdicts_of_the_papers_are_marked(capsys, tiny_pipeline, tmp_path):
    words = ["scale=smoke", f"out={tmp_path / 'out'}", "model=local", f"model.path={tiny_pipeline}", "schedule.steps=4"]
    words += ["schedule.edit=[1.0,0.5]", "tracking=none", "device=cpu", "only=[p23a/fig3b]", FEW]
    GlobalHydra.instance().clear()
    with (
        mock.patch.object(sys, "argv", ["diffgeo-paper", *words]),
        mock.patch("diffgeo.runner.finish.draw", return_value={}),
    ):
        paper.main()
    GlobalHydra.instance().clear()
    said = capsys.readouterr()
    assert "(not converged)" in said.out
    assert "in spectrum" in said.err.strip().splitlines()[-1]
    claim, *_ = pd.read_csv(tmp_path / "out" / "claims.csv").to_dict("records")
    assert "in spectrum" in claim["not_converged"]
    facts = json.loads((tmp_path / "out" / "p23a" / "fig3b" / "run.json").read_text())
    assert facts["convergence"]["spectrum"]["missed"] > 0

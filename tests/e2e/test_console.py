"""What a run says on the console: a line per study, its findings, and the page; the same in its log, with times."""

import json
import os
import re
import subprocess
import sys

import pytest

from diffgeo.runner.console import MOST
from diffgeo.studies import study_named

DEFAULT = (
    *("discovery", "spectrum", "frequency", "tangent_truth", "global_consistency", "curvedness", "tangent_distance"),
    *("denoiser", "comparison", "disentanglement"),
)
"""The studies of a run that is not told which, in their order."""
STAMP = re.compile(r"\[[\d :,-]{23}\]\[[\w.]+\]\[(\w+)\] - (.*)")
"""What a line of the log begins with, and its level and message."""


KNOWN = tuple(
    map(
        re.compile,
        (
            r".+ on \w+: \d+ samples?, edits at t = .+ of T \(log-SNR .+\)",
            r"LPIPS is left out: it needs .+",
            r"no derivatives by .+, which is quicker: .+",
            r"products one point at a time, which is slower: .+",
            r"max_memory=.+ at once",
            r".+ measured on this device: \d+",
            r"comparison leaves out .+: without masks there is no loco, .+",
            r"block .+ is left out: .+",
            r"Warning: .+",
            r"To sync with W&B: wandb sync .+",
            r"[\d.hmins ]+ in all",
            r".*report\.html",
        ),
    )
)
"""Lines that are no study's heading, finding or summary: what the run is of, what it does otherwise or leaves out, its
time and its page."""


def assert_told(lines, path, names):
    """A line and at most three findings per study, then a summary of a line each; the log says the same with times."""
    heads = [i for i, line in enumerate(lines) if re.match(r"\[\d+/\d+\] ", line)]
    expected = [study_named(name) for name in names]
    left = re.compile(r" \((about [\w ]+|a few seconds) left\)$")
    assert [left.sub("", lines[i]) for i in heads] == [
        f"[{k + 1}/{len(names)}] {study.title}. {study.question}" for k, study in enumerate(expected)
    ]
    summary = next(i for i, line in enumerate(lines) if line.startswith(f"{expected[0].title:<28}"))
    for start, end in zip(heads, [*heads[1:], summary], strict=True):
        findings = [line for line in lines[start + 1 : end] if line.startswith("      ")]
        assert len(findings) <= MOST, findings
    assert [line[:28].rstrip() for line in lines[summary : summary + len(names)]] == [s.title for s in expected]
    told = {*heads, *range(summary, summary + len(names))}
    told |= {i for i in range(heads[0], summary) if lines[i].startswith("      ")}
    others = [line for i, line in enumerate(lines) if i not in told]
    assert [line for line in others if not any(known.fullmatch(line) for known in KNOWN)] == []
    assert not re.search(r"\d{4}-\d\d-\d\d|\[INFO\]|\w/\w+/t_", "\n".join(lines)), "no times and no scalars"

    log = path.read_text(encoding="utf-8").splitlines()
    logged = [found for found in map(STAMP.fullmatch, log) if found]
    assert len(logged) == len(log), "every line of the log has a time"
    texts = [
        text if level == "INFO" else f"{level.capitalize()}: {text}" for level, text in (m.groups() for m in logged)
    ]
    assert texts == lines[:-1], "the same text"


def test_each_study_has_its_line_and_at_most_three_findings(good):
    lines = good.out.splitlines()
    assert len(lines) <= 60
    assert_told(lines, good.folder / "diffgeo.log", ("discovery", "spectrum", "frequency"))


def test_a_second_run_says_how_much_time_is_left_by_the_first(tiny_run, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    studies = ["study=[spectrum,frequency]", "store.enabled=false"]
    first = tiny_run(*studies, folder=tmp_path / "outputs" / "first")
    assert f"[1/2] Spectrum. {study_named('spectrum').question}\n" in first.out, "no earlier run, no estimate"
    run_json = first.folder / "run.json"
    facts = json.loads(run_json.read_text())
    run_json.write_text(json.dumps(facts | {"seconds": {"spectrum": 40.0, "frequency": 11.0}}))
    heads = [line for line in tiny_run(*studies, "data.samples=2").out.splitlines() if line.startswith("[")]
    assert heads[0].endswith("(about 50 s left)")
    assert heads[1].endswith("(a few seconds left)"), "scaled by how fast the first one was"


@pytest.mark.nightly
def test_a_run_of_all_default_studies_prints_at_most_sixty_lines_to_a_pipe(tiny_pipeline, colours, tmp_path):
    reader = ["predictor=classifier", f"predictor.path={colours}", "predictor.names=[red,green,blue]"]
    words = ["model=local", f"model.path={tiny_pipeline}", "scale=smoke", "device=cpu", *reader, "predictor.size=16"]
    words += ["schedule.steps=4", "svd.rank=3", "edit.frames=3", "study.disentanglement.min_spread=1e-4"]
    words += ["study.disentanglement.draws=5", "study.disentanglement.codes=12", "study.disentanglement.samples=4"]
    words += ["study.disentanglement.methods=[local,random]", "study.curvedness.paths=[lerp,slerp]"]
    done = subprocess.run(
        [sys.executable, "-m", "diffgeo", *words, "hydra.run.dir=out"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"HYDRA_FULL_ERROR": "0"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) + len(done.stderr.splitlines()) <= 60, done.stdout + done.stderr
    assert lines[-1] == str(tmp_path / "out" / "report.html") or lines[-1] == "out/report.html"
    assert_told(lines, tmp_path / "out" / "diffgeo.log", DEFAULT)

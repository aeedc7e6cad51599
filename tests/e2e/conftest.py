"""Runs of a tiny model by the command line, a browser, and other things that end-to-end tests share."""

import contextlib
import os
import shutil
from unittest import mock

import pytest
import torch
from command_line import run_cli
from torch import nn


@pytest.fixture(scope="session")
def chromium():
    """A headless browser; skipped where none is installed, unless DIFFGEO_NEEDS_BROWSER=1 says that there must be."""
    absent = pytest.fail if os.environ.get("DIFFGEO_NEEDS_BROWSER") == "1" else pytest.skip
    where = os.environ.get("DIFFGEO_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if where is None:
        absent("no chromium is installed: apt-get install chromium, or set DIFFGEO_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install 'diffgeo[dev]'")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=where, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_settings(tiny_pipeline):
    """Overrides of a run that takes about a second."""
    return [
        "model=local",
        f"model.path={tiny_pipeline}",
        "data.samples=1",
        "schedule.steps=4",
        "schedule.edit=[1.0]",
        "svd.rank=3",
        "edit.frames=3",
        "tracking=none",
        "device=cpu",
        "study=[discovery,spectrum,frequency]",
    ]


@pytest.fixture(scope="session")
def tiny_run(tiny_settings, tmp_path_factory):
    """``tiny_run(*more_overrides, folder=None, figures=False)``: a run of the tiny model, in this process."""

    def run(*overrides, folder=None, figures=False):
        folder = folder or tmp_path_factory.mktemp("run") / "out"
        chosen = any(word.startswith("study=") for word in overrides)
        settings = [word for word in tiny_settings if not (chosen and word.startswith("study="))]
        if not chosen:
            settings.append("study.discovery.directions=2")
        with contextlib.ExitStack() as stack:
            if not figures:  # drawing takes most of a tiny run's time
                stack.enter_context(mock.patch("diffgeo.runner.finish.draw", return_value={}))
                stack.enter_context(mock.patch("diffgeo.runner.manifest._draw_page"))
            return run_cli(*settings, f"hydra.run.dir={folder}", *overrides, folder=folder)

    return run


class Colours(nn.Module):
    """Logits: each channel's mean, ten times."""

    def forward(self, x):
        return 10 * x.mean(dim=(2, 3))


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """File of a network that reads three attributes off a picture, its colours."""
    path = tmp_path_factory.mktemp("network") / "colours.pt"
    torch.jit.save(torch.jit.trace(Colours(), torch.zeros(2, 3, 16, 16)), path)
    return path


@pytest.fixture(scope="session")
def command():
    """``command(*arguments, folder=None)``: any command line, in this process."""
    return run_cli


@pytest.fixture(scope="session")
def good(tiny_run):
    """One good run; tests only read it."""
    outcome = tiny_run("schedule.edit=[1.0,0.5]", "data.samples=2", figures=True)
    assert outcome.code == 0, outcome.err
    return outcome

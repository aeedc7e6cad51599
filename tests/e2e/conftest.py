"""The command line in this process: as a user types it, without paying for the imports every time."""

import contextlib
import io
import json
import logging
import os
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import nn

from diffgeo.cli import command as cli
from diffgeo.errors import ConvergenceWarning


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


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def manifest(self):
        return json.loads((self.folder / "run.json").read_text())

    def files(self, pattern="**/*"):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.glob(pattern) if p.is_file())

    def leftovers(self):
        """Files of atomic writes that were not cleaned up: hidden ones outside .hydra."""
        return [f for f in self.files() if Path(f).name.startswith(".") and ".hydra" not in f]

    def assert_failed(self, code, *words, table=False):
        """It failed with this code and a message that holds these words, and left nothing half-done."""
        assert self.code == code, self.err
        said = " ".join(self.err.lower().split())  # which line a hint is on does not matter
        for word in words:
            assert word.lower() in said, self.err
        assert "Traceback" not in self.err
        if (self.folder / "run.json").exists():
            assert self.manifest["status"] == "failed"
            assert self.manifest["error"]
        if not table:
            assert self.files("tables/*") == []
        assert self.leftovers() == []


def run_cli(*arguments, folder=None):
    """Run ``diffgeo ARGUMENTS`` in this process."""
    GlobalHydra.instance().clear()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    code = 0
    with (
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", ["diffgeo", *map(str, arguments)]),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        warnings.catch_warnings(),
    ):
        os.environ.pop("HYDRA_FULL_ERROR", None)
        warnings.simplefilter("default", ConvergenceWarning)  # the tests' own setting makes it an error
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            logging.captureWarnings(False)
            for handler in root.handlers[:]:
                root.removeHandler(handler)
                if handler not in handlers:
                    handler.close()
            root.handlers[:], root.level = handlers, level
            GlobalHydra.instance().clear()
    return Outcome(code, out.getvalue(), err.getvalue(), Path(folder) if folder else Path("nowhere"))


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

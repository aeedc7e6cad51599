"""The command line in this process: as a user types it, without paying for the imports every time."""

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from diffgeo.cli import command as cli
from diffgeo.errors import ConvergenceWarning


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
        # Hydra composes all settings once more, to ask for hydra.mode, which no test sets
        mock.patch.object(Hydra, "get_mode", return_value=None),
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

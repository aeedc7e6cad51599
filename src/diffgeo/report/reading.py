"""A run folder, read for its page: manifest, tables, pictures and the command line, without any model."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml  # type: ignore[import-untyped]
from safetensors import SafetensorError, safe_open

from diffgeo.claims import Claim, decide, judge
from diffgeo.config import Plain
from diffgeo.convergence import Convergence
from diffgeo.errors import DataError
from diffgeo.results import Row
from diffgeo.run_folders import belongs

log = logging.getLogger(__name__)

Frames = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: the run folder.
        facts: ``run.json``.
        tables: by file stem.
        overrides: the words of the command line, None for a run that Hydra did not start.
        claims: what its tables may be asked.
    """

    folder: Path
    facts: Plain
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    overrides: list[str] | None = None
    claims: Sequence[Claim] = ()

    @property
    def status(self) -> str:
        """``completed``, ``interrupted``, ``failed`` or ``running``."""
        return str(self.facts.get("status", "unknown"))

    @property
    def settings(self) -> Plain:
        """The resolved settings."""
        return dict(self.facts.get("settings", {}))

    @property
    def studies(self) -> list[str]:
        """Studies that were asked for, in their order."""
        return list(self.settings.get("study") or {})

    @property
    def model(self) -> Plain:
        """Name, source and conditioning; empty if the run failed before it was loaded."""
        return dict(self.facts.get("model") or {})

    @property
    def convergence(self) -> dict[str, Convergence]:
        """Of the local bases that each study used; empty for runs that did not get so far."""
        return Convergence.read(self.facts)

    def table(self, stem: str) -> pd.DataFrame | None:
        """A table with rows, or None."""
        found = self.tables.get(stem)
        return None if found is None or found.empty else found

    def pictures(self, study: str) -> Frames | None:
        """The frames of a study, shape (N, H, W, 3), uint8; None if it left none."""
        frames = self._tensor(study, "frames")
        return None if frames is None else _as_rgb(frames.transpose(0, 2, 3, 1))

    def directions(self, study: str, sample: int, t: int, count: int) -> Frames | None:
        """The leading v_i of a local basis as pictures (count, H, W, 3), uint8: each over its largest value, grey is 0.

        Latents with more than three channels show the first three.
        """
        shape = self._tensor(study, "latent_shape")
        v = self._tensor(study, f"V/{sample}/{t}", columns=count)
        if shape is None or v is None:
            return None
        grids = v.T.reshape(-1, *shape.tolist())[:, :3].transpose(0, 2, 3, 1)
        largest = np.abs(grids).max(axis=(1, 2, 3), keepdims=True)
        scaled = 0.5 + 0.5 * grids / np.where(largest > 0, largest, 1)
        return _as_rgb((scaled * 255).round().astype(np.uint8))

    @cached_property
    def verdicts(self) -> list[Row]:
        """The claims that this run can speak to, as rows of :func:`diffgeo.claims.decide`."""
        source, rows = str(self.model.get("source", "")), []
        for claim in self.claims if self.tables else ():
            try:
                rows.append(judge(claim, self.tables, source))
            except (IndexError, TypeError, ValueError) as error:  # tables cut short, or of another version
                log.debug("%s: %s cannot be judged (%s)", self.folder, claim.quantity, error)
        return decide([row for row in rows if row["n"] > 0])

    @property
    def command(self) -> str | None:
        """A shell command that gives the same run, seed and all; None if the command line is not known."""
        if self.overrides is None:
            return None
        words = list(self.overrides)
        if not any(word.lstrip("+").startswith("seed=") for word in words):
            words.append(f"seed={self.facts.get('seed', 0)}")
        return shlex.join(["diffgeo", *words])

    def _tensor(self, study: str, key: str, columns: int | None = None) -> Frames | None:
        path = self.folder / "tensors" / f"{study}.safetensors"
        if not belongs(self.facts, f"tensors/{path.name}"):
            return None
        try:
            with safe_open(path, "np") as file:
                part = file.get_slice(key)
                return np.asarray(part[:] if columns is None else part[:, :columns])
        except (OSError, SafetensorError):
            return None


def _as_rgb(pictures: Frames) -> Frames:
    """Grey, or any other number of channels, as three."""
    channels = pictures.shape[-1]
    if channels == 3:
        return pictures
    return np.repeat(pictures[..., :1], 3, axis=-1)


def read_run(folder: Path, claims: Sequence[Claim] = ()) -> Run:
    """Read a run folder.

    Args:
        folder: of the run.
        claims: what its tables may be asked.

    Raises:
        DataError: the folder holds no ``run.json`` that can be read.
    """
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no run.json that can be read ({error})", "give a run folder") from error
    if not isinstance(facts, dict):
        raise DataError(f"{folder / 'run.json'} is not the manifest of a run", "give a run folder")
    tables = {}
    for path in sorted((folder / "tables").glob("*.parquet")):
        if not belongs(facts, f"tables/{path.name}"):  # the user's own, or an earlier run's
            continue
        try:
            tables[path.stem] = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            log.warning("%s is left out of the page: it cannot be read (%s)", path, error)
    return Run(folder, facts, tables, _overrides(folder), claims)


def _overrides(folder: Path) -> list[str] | None:
    """Words of the command line, those that name further folders of settings included."""
    try:
        words = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    try:
        engine = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))["hydra"]["overrides"][
            "hydra"
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        engine = []
    return [str(word) for word in [*engine, *(words or [])] if not _is_engines(str(word))]


def _is_engines(word: str) -> bool:
    """Whether a word is of no account for the numbers: where a run goes, who starts it."""
    return word.startswith(("hydra.", "hydra/")) and not word.startswith("hydra.searchpath=")

"""Runs from Python: settings as on the command line, tables as data frames.

>>> import diffgeo
>>> settings = diffgeo.settings("study=[spectrum]", "scale=smoke")      # doctest: +SKIP
>>> outcome = diffgeo.run(settings)  # in a new outputs/DATE/TIME         # doctest: +SKIP
>>> outcome.tables["spectrum"].groupby("t_frac")["effective_dimension"].mean()  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from diffgeo.composition import check, composed
from diffgeo.config import Config
from diffgeo.errors import ConfigError
from diffgeo.report.page import PAGE
from diffgeo.report.reading import read_run
from diffgeo.results import Result
from diffgeo.run_folders import new_folder
from diffgeo.runner.prepare import prepare
from diffgeo.runner.run import execute
from diffgeo.session import Context
from diffgeo.studies import study_named


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left.

    Attributes:
        folder: the run folder.
        tables: by file stem, such as ``discovery`` and ``discovery_traversals``.
        scalars: headline numbers by study.
        context: the model with its samples, latents and bases; give it to the next :func:`run` to use it again.
    """

    folder: Path
    tables: dict[str, pd.DataFrame]
    scalars: dict[str, dict[str, float]]
    context: Context

    @property
    def page(self) -> Path:
        """The page of the run, one HTML file."""
        return self.folder / PAGE


def settings(*overrides: str) -> Config:
    """The settings of a run, checked.

    Args:
        overrides: words as on the command line, such as ``"svd.rank=10"`` or ``"model=factor_faces_4"``.

    Returns:
        Typed settings, whose fields can be changed with :func:`dataclasses.replace`.

    Raises:
        ConfigError: a setting that does not exist, has the wrong type or leaves its range.
        HydraException: a word that Hydra cannot read.
    """
    cfg = composed(overrides)
    check(cfg)
    return cfg


def run(cfg: Config, folder: str | Path | None = None, *, earlier: Context | None = None) -> Outcome:
    """Run the studies of ``cfg.study``, as the command ``diffgeo`` does: the folder gets tables, figures and a page.

    Args:
        cfg: from :func:`settings`.
        folder: the run folder; an earlier run's files in it are replaced. A new ``outputs/DATE/TIME`` if None.
        earlier: the context of an earlier run, whose model, latents and bases are used again if the settings allow.

    Returns:
        What the run left: its folder, tables, scalars and context.

    Raises:
        DiffgeoError: anything that a user can mend; what was finished stays in the folder.
    """
    if folder is None:
        place = new_folder(Path(f"{datetime.now():outputs/%Y-%m-%d/%H-%M-%S}"))
    else:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
    scalars, context = execute(cfg, place, earlier)
    return Outcome(place, read_run(place).tables, scalars, context)


def run_study(name: str, context: Context | Config, cfg: Any = None) -> Result:
    """Run one study and write nothing.

    Args:
        name: of the study.
        context: model, samples and what they share; or settings, from which the model is loaded.
        cfg: the study's settings; if None, those of ``study`` in the context's settings.

    Returns:
        Its result: ``table``, ``more_tables``, ``scalars``, ``tensors``.

    Raises:
        ConfigError: there is no such study, or the settings do not list it and ``cfg`` is None.
        DiffgeoError: what the study says that a user can mend.
    """
    study = study_named(name)
    settings = context.cfg if isinstance(context, Context) else context
    if cfg is None and name not in settings.study:
        raise ConfigError(f"the settings do not list the study {name}", f'compose them with "study=[{name}]"')
    if not isinstance(context, Context):
        check(context)
    at_hand = context if isinstance(context, Context) else prepare(context)
    if cfg is None:
        cfg = settings.study[name]
    return study.run(at_hand, cfg)

"""A study as one object: its question, settings, measurement, charts, tables, findings and claims, all in one folder.

The folder's modules are imported when they are needed, so that naming a study costs nothing:

    __init__.py   ``STUDY``, a :class:`Study`
    settings.py   a dataclass, what ``study.NAME.…`` sets, with ``check()`` across its fields and ``check_run(cfg)``
                  against the rest of the run; imports nothing heavy
    measure.py    ``run(context, settings) -> Result``
    plots.py      ``charts(result)``, drawn from the result alone; optional, as are all that follow
    page.py       ``tables(run)``, for a paper; ``pictures(run)`` and ``viewer(run)``; ``hero(run)`` and ``HEADLINE``
                  for the top of the page
    findings.py   ``findings(run)``, sentences with numbers
    claims.py     ``CLAIMS``, what the papers say and how it is measured

Studies of another package join by the entry-point group ``diffgeo.studies``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffgeo.config.experiments import order_of
from diffgeo.errors import ConfigError

if TYPE_CHECKING:
    from diffgeo.claims import Claim
    from diffgeo.results import Result
    from diffgeo.session import Context

GROUP = "diffgeo.studies"
"""Entry points of this group name the :class:`Study` objects of other packages."""
PROVENANCE = (
    *("model", "block", "tap", "pool", "solver", "svd_tol", "steps"),
    *("edit_method", "edit_normalise", "edit_rescale", "seed"),
)
"""Columns that say how a table was made; they are the same in all its rows."""
COLUMNS = (
    *("sample", "name", "t", "t_frac", "log_snr", "direction", "frame"),
    *("gamma", "variant", "method", "attribute", "label", "rank"),
    *("x_change", "change", "change_wanted", "matched", "perceptual_measure", "clipped_change", "chroma_change"),
    *("contrast_change", "normalised"),
    *("residual_change", "off_data", "noise_change"),
    *PROVENANCE,
    *("on_target", "off_target", "off_target_max", "off_target_distance", "precision"),
)
"""Columns that tables of edits share, how they were made included."""


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        name: as in ``study=[NAME]``; its tables and figures begin with it.
        title: of its section on a run's page.
        question: what it asks, one sentence.
        settings: dataclass of its settings.
        package: dotted name of its folder, ``__name__`` of the module that makes this object; empty if it is not there.
        place: orders studies on the page, smallest first.
        rows: columns of its main table that tell its rows apart; empty if it does not say.
        columns: of its tables of edits, beyond :data:`COLUMNS`; a metric of the user's own cannot be called like them.
        traverses: whether its edits are traversals (:meth:`diffgeo.session.editor.Edit.traverse`), not steps along
            offsets of its own; the column ``edit_method`` says which edits they are.
        seconds: that it took in the default run (two cores), by which those who have no earlier run are told how long
            theirs will take; None if it is not part of that.
    """

    name: str
    title: str
    question: str
    settings: type
    package: str
    place: int = 1000
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    traverses: bool = False
    seconds: float | None = None

    def part(self, module: str, name: str, default: Any = None) -> Any:
        """What one of the folder's modules defines, or the default if the study has no such module or name."""
        if not self.package:
            return default
        home = f"{self.package}.{module}"
        try:
            found = importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name != home:
                raise
            return default
        return getattr(found, name, default)

    def run(self, context: Context, settings: Any) -> Result:
        """Measure; samples are named in the tables, and the run's settings noted as columns.

        Args:
            context: model, samples, and what the run shares.
            settings: of this study, an instance of ``settings``.

        Raises:
            ConfigError: the study has no ``measure.run``.
            DiffgeoError: what the measurement says that a user can mend.

        Warns:
            ConvergenceWarning: some of its local bases missed their tolerance (one warning, whatever their number).
        """
        from diffgeo.studies.shared.provenance import measured

        run: Callable[[Context, Any], Result] | None = self.part("measure", "run")
        if run is None:
            where = f"{self.package}/measure.py" if self.package else "the folder of its package"
            raise ConfigError(f"the study {self.name} has nothing to run", f"define run(context, settings) in {where}")
        return measured(run, context, settings, traverses=self.traverses)

    @property
    def folder(self) -> Path | None:
        """Where its code lies if it is of another package; None if it is diffgeo's own."""
        if not self.package or self.package.startswith(f"{__name__.partition('.')[0]}."):
            return None
        return Path(str(importlib.import_module(self.package).__file__)).parent

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The papers' claims that its tables can speak to."""
        return tuple(self.part("claims", "CLAIMS", ()))


@cache
def studies() -> dict[str, Study]:
    """All studies by name, in the order of the page: the package's own, then those of other packages.

    Raises:
        ConfigError: an entry point cannot be loaded or holds no study, or two studies have the same name.
    """
    folders = [info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)]) if info.ispkg]
    modules = [importlib.import_module(f"{__package__}.{name}") for name in folders]
    found = [module.STUDY for module in modules if hasattr(module, "STUDY")]
    found += [_loaded(point) for point in entry_points(group=GROUP)]
    by_name: dict[str, Study] = {}
    for study in sorted(found, key=lambda one: one.place):
        if study.name in by_name:
            raise ConfigError(
                f"{study.package} and {by_name[study.name].package} both bring a study called {study.name}",
                "rename one, or uninstall its package",
            )
        by_name[study.name] = study
    return by_name


def _loaded(point: EntryPoint) -> Study:
    """The study that another package brings."""
    whose = f"the study {point.name} of {point.dist.name if point.dist else 'another package'}"
    try:
        study = point.load()
    except Exception as error:  # whatever an import raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ConfigError(f"{whose} cannot be loaded ({reason})", f"mend {point.value}, or uninstall it") from error
    if not (isinstance(study, Study) and study.name.isidentifier() and is_dataclass(study.settings)):
        raise ConfigError(
            f"{whose} is no study: {point.value} is {study!r}"[:400],
            "name a diffgeo.studies.Study, whose name is letters, digits and _, and whose settings are a dataclass",
        )
    return study


def study_named(name: str) -> Study:
    """The study of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in studies():
        raise ConfigError(f"there is no study {name}", f"known are {', '.join(studies())}")
    return studies()[name]


def all_claims() -> tuple[Claim, ...]:
    """The claims of all studies, in the order of the papers: tables before figures, figures by number."""
    claims = (claim for study in studies().values() for claim in study.claims)
    return tuple(sorted(claims, key=lambda claim: order_of(claim.experiment)))

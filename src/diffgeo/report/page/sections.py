"""Sections of the page: for every study its question, findings, pictures, charts and tables."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.page.charts import CHARTS, Chart, Tabs
from diffgeo.report.page.charts.geometry import PATHS
from diffgeo.report.findings import Finding, reading_of
from diffgeo.report.formatting import counted, name, timestep
from diffgeo.report.reading import PROVENANCE, Run
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.traversals import global_edits, picture_uri, traversals

log = logging.getLogger(__name__)

__all__ = ["TITLES", "Section", "claims_table", "sections"]


_RAW_CELLS = 6_000
"""Cells of a table that the page holds beside its summary; the file has all."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A table as it lies in the run folder, built by the page when it is opened."""

    id: str
    file: str
    data: dict[str, Any]


@dataclass(slots=True)
class Section:
    """One study on the page."""

    id: str
    title: str
    question: str
    findings: list[Finding] = field(default_factory=list)
    note: str = ""
    viewer: Viewer | None = None
    charts: Sequence[Chart | Tabs] = ()
    pictures: Sequence[Pictures] = ()
    tables: Sequence[Table] = ()
    raw: Sequence[Raw] = ()


def sections(run: Run, found: Sequence[Finding]) -> list[Section]:
    """A section for every study that the run was asked for, with its findings; one without rows says so."""
    known = [study for study in TITLES if study in run.studies]
    known += [study for study in run.studies if study not in TITLES]  # somebody's own
    return [_drawn(run, study, [f for f in found if f.study == study]) for study in known]


def _drawn(run: Run, study: str, found: list[Finding]) -> Section:
    """A section; what stands in its place where its tables are not what this version writes."""
    try:
        return _section(run, study, found)
    except Exception as error:  # one study's tables must not cost the others their page
        log.warning("%s: the section %s could not be drawn", run.folder, study, exc_info=True)
        note = f"This section could not be drawn from tables/{study}.parquet ({type(error).__name__}: {error})."
        return Section(study, *_title(study), found, note)


def _section(run: Run, study: str, found: list[Finding]) -> Section:
    title, question = _title(study)
    section = Section(study, title, question, found)
    if run.table(study) is None:
        reason = {"failed": "the run failed", "interrupted": "the run was interrupted"}.get(run.status)
        why = f", because {reason} before it" if reason else "; the log says why it was left out"
        section.note = f"This study left no rows{why}."
        return section
    section.charts = CHARTS[study](run) if study in CHARTS else ()
    section.tables = _SUMMARIES[study](run) if study in _SUMMARIES else ()
    section.raw = [_raw(stem, table) for stem, table in run.tables.items() if _belongs(stem, study) and len(table)]
    if study == "discovery":
        section.viewer = _traversal_viewer(run)
    elif study == "global_consistency":
        section.viewer = _global_viewer(run)
    elif study == "ablation":
        section.pictures = _ablation_pictures(run)
    elif study == "disentanglement":
        section.pictures = _scorecard_pictures(run)
    return section


def _title(study: str) -> tuple[str, str]:
    own = name(study)
    return TITLES.get(study, (own[:1].upper() + own[1:], "A study that the page has no charts for: its tables, whole."))


def _belongs(stem: str, study: str) -> bool:
    return stem == study or stem.startswith(f"{study}_")


def _raw(stem: str, table: pd.DataFrame) -> Raw:
    shown = table.drop(columns=[c for c in PROVENANCE if c in table.columns])
    most = max(10, _RAW_CELLS // max(1, shown.shape[1]))
    part = shown.head(most)
    rows = [[_plain(value) for value in row] for row in part.astype(object).to_numpy().tolist()]
    which = f"all {counted(len(table), 'row')}" if len(part) == len(table) else f"the first {most} of {len(table)} rows"
    name = stem if len(part) == len(table) else f"{stem}-first-{most}"
    data = {"columns": list(shown.columns), "rows": rows, "note": f"tables/{stem}.csv, {which}", "name": name}
    return Raw(stem, f"tables/{stem}.csv", data)


def _plain(value: Any) -> Any:
    """A cell as JSON has it, with all digits; None for what is missing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def claims_table(run: Run) -> Table | None:
    """The claims that this run can speak to, with their verdicts; None where there are none."""
    if not run.verdicts:
        return None
    rows = pd.DataFrame([row | {"said": reading_of(row)} for row in run.verdicts])
    columns = [
        Column("source", "source"),
        Column("claim", "quantity"),
        Column("published", "published"),
        Column("this run", ("ours", "low", "high")),
        Column("n", "n"),
        _p("p", "p"),
        Column("verdict", "said", style=lambda verdict: f"verdict-{str(verdict).split()[0]}"),
    ]
    note = (
        "A claim holds where the 95 % interval lies above 0 and the sign test has p ≤ 0.05, which takes five values at "
        "least; published values compare on the published model alone."
    )
    return as_table("table-claims", "Claims and verdicts", rows, columns, note=note)

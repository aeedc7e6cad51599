"""Sections of the page: for every study its question, findings, pictures, charts and tables."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from diffgeo.report.charts import Chart, Spec, embed
from diffgeo.report.figures import charts_of
from diffgeo.report.findings import Finding
from diffgeo.report.formatting import counted, name
from diffgeo.report.pictures import Data, Pictures, Viewer
from diffgeo.report.reading import Run
from diffgeo.report.tables import Table
from diffgeo.studies import PROVENANCE, Study, studies

log = logging.getLogger(__name__)

_RAW_CELLS = 4_000
"""Cells of a table that the page holds beside its summary; the file has all."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as the page holds it.

    Attributes:
        chart: with its texts.
        spec: for the browser.
    """

    chart: Chart
    spec: Spec


@dataclass(frozen=True, slots=True)
class Tabs:
    """Charts of which one is shown, picked by name.

    Attributes:
        id: unique in the page.
        label: what is picked.
        charts: by name; a single one, without a label, is shown as it is.
    """

    id: str
    label: str
    charts: dict[str, Drawn]

    @property
    def wide(self) -> bool:
        """Whether they need the page's whole width."""
        return any(drawn.chart.wide for drawn in self.charts.values())


@dataclass(frozen=True, slots=True)
class Raw:
    """A table as it lies in the run folder, built by the page when it is opened."""

    id: str
    file: str
    data: Data


@dataclass(slots=True)
class Section:
    """One study on the page."""

    id: str
    title: str
    question: str
    findings: list[Finding] = field(default_factory=list)
    note: str = ""
    viewer: Viewer | None = None
    charts: Sequence[Tabs] = ()
    pictures: Sequence[Pictures] = ()
    tables: Sequence[Table] = ()
    raw: Sequence[Raw] = ()


def asked_for(run: Run) -> list[Study]:
    """The studies of a run, in the order of the page; one that is not installed any more shows its tables alone."""
    known = [study for name, study in studies().items() if name in run.studies]
    return known + [_unknown(name) for name in run.studies if name not in studies()]


def _unknown(study: str) -> Study:
    title = name(study)
    return Study(study, title[:1].upper() + title[1:], "A study that is not installed here: its tables.", object, "")


def all_findings(run: Run) -> list[Finding]:
    """All findings of a run, study by study; none if nothing was measured."""
    found: list[Finding] = []
    for study in asked_for(run):
        try:
            found += study.part("findings", "findings", lambda _: ())(run)
        except Exception:  # one study's tables must not cost the others their findings
            log.warning("%s: the findings of %s could not be told", run.folder, study.name, exc_info=True)
    return found


def sections(run: Run, found: Sequence[Finding]) -> list[Section]:
    """A section for every study that the run was asked for, with its findings; one without rows says so."""
    return [_drawn(run, study, [f for f in found if f.study == study.name]) for study in asked_for(run)]


def _drawn(run: Run, study: Study, found: list[Finding]) -> Section:
    """A section; what stands in its place if its tables are not what this version writes."""
    try:
        return _section(run, study, found)
    except Exception as error:  # one study's tables must not cost the others their page
        log.warning("%s: the section %s could not be drawn", run.folder, study.name, exc_info=True)
        note = f"This section could not be drawn from tables/{study.name}.parquet ({type(error).__name__}: {error})."
        return Section(study.name, study.title, study.question, found, note)


def _section(run: Run, study: Study, found: list[Finding]) -> Section:
    section = Section(study.name, study.title, study.question, found)
    if run.table(study.name) is None:
        reason = {"failed": "the run failed", "interrupted": "the run was interrupted"}.get(run.status)
        why = f", because {reason} before it" if reason else "; the log says why it was left out"
        section.note = f"This study left no rows{why}."
        return section
    section.charts = _charts(run, study)
    section.tables = study.part("page", "tables", lambda _: ())(run)
    section.viewer = study.part("page", "viewer", lambda _: None)(run)
    section.pictures = study.part("page", "pictures", lambda _: ())(run)
    section.raw = [_raw(stem, one) for stem, one in run.tables.items() if _belongs(stem, study.name) and len(one)]
    return section


def _charts(run: Run, study: Study) -> list[Tabs]:
    """A study's charts, in their order; those among which a reader picks, together."""
    return in_tabs(charts_of(study, run.tables))


def in_tabs(charts: Iterable[Chart]) -> list[Tabs]:
    """Charts as the page holds them; those among which a reader picks, together."""
    groups: dict[str, Tabs] = {}
    for chart in charts:
        label, choice = chart.pick or ("", "")
        key = label or chart.id
        if key in groups and choice in groups[key].charts:  # another chart, with choices of the same name
            key = f"{label} {chart.title}"
        together = groups.setdefault(key, Tabs(f"tabs-{chart.name}", label, {}))
        together.charts[choice] = Drawn(chart, embed(chart))
    return list(groups.values())


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

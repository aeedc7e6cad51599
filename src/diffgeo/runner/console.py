"""What a run tells while it goes on: a line per study, then what it found in sentences, and a summary at the end.

On a terminal a line below says all the while which study is in hand and how much time is left.

Numbers are in ``run.json``, the tables and W&B; here are only the findings that the page has, too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffgeo.report.findings import Finding
from diffgeo.report.formatting import in_words, time_left
from diffgeo.report.reading import Run
from diffgeo.runner.durations import Remaining
from diffgeo.runner.finish import Finished
from diffgeo.studies import Study, all_claims

log = logging.getLogger(__name__)

MOST = 3
"""Findings of one study that are told."""


class Story:
    """Tells the log of a run, study by study.

    Args:
        folder: the run folder.
        facts: of its manifest, as far as they are known.
        expected: seconds of the studies that the run is asked for, as :class:`Remaining` has them.
        processes: that work at the run.

    Attributes:
        measured: whether each study that is done left rows.
    """

    def __init__(
        self, folder: Path, facts: Mapping[str, Any], expected: Mapping[str, float | None], processes: int = 1
    ) -> None:
        self._folder, self._facts, self._studies = folder, facts, list(expected)
        self._remaining = Remaining(expected, processes)
        self._tables: dict[str, pd.DataFrame] = {}
        self._lines: list[str] = []
        self.measured: dict[str, bool] = {}

    def begin(self, study: Study) -> None:
        """Name the study in hand."""
        self._remaining.begin()
        left = time_left(self._remaining.seconds())
        number, question = len(self._lines) + 1, study.question + f" ({left})" * bool(left)
        log.info("[%d/%d] %s. %s", number, len(self._studies), study.title, question)

    def progress(self) -> str:
        """Which study is in hand, and how much time is left at this moment."""
        left = time_left(self._remaining.seconds())
        return f"study {len(self._lines) + 1} of {len(self._studies)}" + f", {left}" * bool(left)

    def tell(self, study: Study, done: Finished) -> None:
        """What a study found, at most :data:`MOST` findings, and how long it took."""
        self._remaining.end(study.name, done.seconds)
        tables = done.result.tables()
        self._tables |= tables
        self.measured[study.name] = any(len(table) for table in tables.values())
        found, mark = self._findings(study), "" if done.result.convergence.complete else " (not converged)"
        for finding in found[:MOST]:
            log.info("      %s %s%s", finding.headline, finding.detail, mark)
        took = "from the store" if done.stored else in_words(done.seconds)
        first = found[0].headline if found else "no finding" if self.measured[study.name] else "left no rows"
        self._lines.append(f"{study.title:<28}{took:>15}   {first}{mark}")

    def _findings(self, study: Study) -> list[Finding]:
        run = Run(self._folder, dict(self._facts), self._tables, None, all_claims())
        try:
            return list(study.part("findings", "findings", lambda _: ())(run))
        except Exception:  # sentences must not cost a run its results
            log.debug("%s: the findings could not be told", study.name, exc_info=True)
            return []

    def end(self, seconds: float) -> None:
        """A line per study, and how long all took."""
        for line in self._lines:
            log.info("%s", line)
        log.info("%s in all", in_words(seconds))

"""What the study ``ablation`` found, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from diffgeo.metrics.statistics import INTERVAL_FROM
from diffgeo.report.findings import Finding, claim_of, headline
from diffgeo.report.formatting import interval, p_value
from diffgeo.report.reading import Run

__all__ = ["findings"]


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table, row = run.table("ablation"), claim_of(run, "p23a/fig9", "log precision")
    if table is None or row is None:
        return
    ratio = [math.exp(row[end]) for end in ("ours", "low", "high")]
    limit = ", too few for an interval" if row["n"] < INTERVAL_FROM else f", {p_value(row['p'])}"
    yield Finding(
        "ablation",
        headline(
            row,
            "Local directions change less beside their target than random ones",
            "Local directions change more beside their target than random ones",
            "local directions change less beside their target than random ones",
        ),
        f"At equal change, their edit precision is {interval(*ratio)} times that of random directions "
        f"(n = {row['n']}{limit}).",
    )

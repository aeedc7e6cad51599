"""What the study ``frequency`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, trend
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main finding of a run; none if this study left no rows."""
    table = run.table("frequency")
    if table is not None:
        yield trend(
            "frequency",
            table[table["radius"] == 0],
            "low_share",
            claim_of(run, "p23a/fig5b"),
            level="The low-frequency share of the directions is",
            yes="Directions grow finer {span}",
            opposite="Directions do not grow finer {span}: they grow coarser",
            whether="directions grow finer {span}",
            moved="Their share of low frequencies goes",
            by="a fall of",
        )

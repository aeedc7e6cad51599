"""What the study ``spectrum`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, trend
from diffgeo.report.formatting import counted
from diffgeo.report.reading import Run

__all__ = ["findings"]


def findings(run: Run) -> Iterator[Finding]:
    """The main finding of a run; none if this study left no rows."""
    table = run.table("spectrum")
    if table is not None:
        rank = counted(int(table["rank"].max()), "direction")
        yield trend(
            "spectrum",
            table,
            "effective_dimension",
            claim_of(run, "p23a/fig3b", "effective dimension"),
            level=f"The leading {rank} have an effective dimension of",
            yes="The spectrum flattens {span}",
            opposite="The spectrum does not flatten {span}: it grows steeper",
            whether="the spectrum flattens {span}",
            moved=f"The effective dimension of the leading {rank} goes",
            by="a change of",
        )

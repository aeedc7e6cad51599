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
        settings = run.settings["study"]["spectrum"]
        most = int(table["rank"].max())
        rank = counted(min(most, settings.get("rank", most)), "direction")
        yield trend(
            "spectrum",
            table,
            "effective_dimension",
            claim_of(run, "p23a/fig3b", "effective dimension"),
            level=f"The leading {rank} have an effective dimension of",
            yes="The spectrum of the leading directions flattens {span}",
            opposite="The spectrum of the leading directions does not flatten {span}: it grows steeper",
            whether="the spectrum of the leading directions flattens {span}",
            moved=f"The effective dimension of the leading {rank} goes",
            by="a change of",
        )

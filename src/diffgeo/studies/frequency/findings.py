"""What the study ``frequency`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, ends, estimate_of, headline, mean_of, means_of, tested
from diffgeo.report.formatting import counted, timestep
from diffgeo.report.reading import Run

__all__ = ["findings"]


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table, row = run.table("frequency"), claim_of(run, "p23a/fig5b")
    if table is None:
        return
    once = table[table["radius"] == 0]
    first, last = ends(once)
    at = {t: part["low_share"] for t, part in once.groupby("t_frac")}
    if row is None or first == last:
        yield Finding(
            "frequency",
            f"The low-frequency share of the directions is {mean_of(at[first])}",
            f"at {timestep(first)} (mean over {counted(once['sample'].nunique(), 'sample')}).",
        )
        return
    start, end, change = means_of([at[first], at[last]], estimate_of(row))
    span = f"from {timestep(first)} to {timestep(last)}"
    yield Finding(
        "frequency",
        headline(
            row,
            f"Directions grow finer {span}",
            f"Directions do not grow finer {span}: they grow coarser",
            f"directions grow finer {span}",
        ),
        f"Their share of low frequencies goes from {start} to {end}, a fall of {tested(row, shown=change)}.",
    )

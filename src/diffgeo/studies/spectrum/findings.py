"""What the study ``spectrum`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, ends, estimate_of, headline, mean_of, means_of, tested
from diffgeo.report.formatting import counted, timestep
from diffgeo.report.reading import Run

__all__ = ["findings"]


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table, row = run.table("spectrum"), claim_of(run, "p23a/fig3b", "effective dimension")
    if table is None:
        return
    first, last = ends(table)
    at = {t: part["effective_dimension"] for t, part in table.groupby("t_frac")}
    rank = counted(int(table["rank"].max()), "direction")
    if row is None or first == last:
        yield Finding(
            "spectrum",
            f"The leading {rank} have an effective dimension of {mean_of(at[first])}",
            f"at {timestep(first)} (mean over {counted(table['sample'].nunique(), 'sample')}).",
        )
        return
    start, end, change = means_of([at[first], at[last]], estimate_of(row))
    span = f"from {timestep(first)} to {timestep(last)}"
    yield Finding(
        "spectrum",
        headline(
            row,
            f"The spectrum flattens {span}",
            f"The spectrum does not flatten {span}: it grows steeper",
            f"the spectrum flattens {span}",
        ),
        f"The effective dimension of the leading {rank} goes from {start} to {end}, "
        f"a change of {tested(row, shown=change)}.",
    )

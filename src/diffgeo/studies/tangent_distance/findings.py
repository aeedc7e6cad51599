"""What the study ``tangent_distance`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, ends, headline, tested
from diffgeo.report.formatting import number, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table, row = run.table("tangent_distance"), claim_of(run, "p23b/samples")
    if table is None:
        return
    between = table[table["kind"] == "sample"]
    if between.empty or row is None:
        return
    first, last = ends(between, "t_frac_a")
    at = between.groupby("t_frac_a")["distance_normalized"].mean()
    span = f"from {timestep(first)} to {timestep(last)}"
    yield Finding(
        "tangent_distance",
        headline(
            row,
            f"Samples part {span}",
            f"Samples do not part {span}: their tangent spaces draw nearer",
            f"samples part {span}",
        ),
        f"Their tangent spaces' distance goes from {number(at[first], 2)} to {number(at[last], 2)} of the largest "
        f"possible, by {tested(row, ' rad')}.",
    )

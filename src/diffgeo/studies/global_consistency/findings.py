"""What the study ``global_consistency`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import SIGNIFICANT, Finding, ends, means_of
from diffgeo.report.formatting import number, p_value, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table = run.table("global_consistency")
    if table is None:
        return
    leading = table[(table["method"] == table["method"].iloc[0]) & (table["direction"] == 0)]
    first, last = ends(leading)
    at = dict(iter(leading.groupby("t_frac")))
    p, limit = at[first]["p_best_match"].iloc[0], at[first]["null_best_match_95"].iloc[0]
    shared = (
        "Samples share directions more than random subspaces do"
        if p <= SIGNIFICANT
        else "No direction is shown to be shared by the samples"
    )
    met, met_last = means_of(at[t]["best_match"] for t in (first, last))
    detail = (
        f"The first global direction meets a held-out sample's own with |cos| {met} "
        f"(n = {len(at[first])}, {p_value(p)} among random subspaces; 95 % of chance: {number(limit, 2)})"
    )
    if last < first:
        detail += f", at {timestep(last)} with {met_last}"
    yield Finding("global_consistency", f"{shared}, at {timestep(first)}.", f"{detail}.")

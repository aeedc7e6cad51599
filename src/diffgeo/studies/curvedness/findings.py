"""What the study ``curvedness`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.metrics.statistics import INTERVAL_FROM
from diffgeo.report.findings import FEWEST, Finding, means_of
from diffgeo.report.formatting import counted, name
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table = run.table("curvedness")
    if table is None:
        return
    pool = "none" if "none" in set(table["pool"]) else table["pool"].iloc[0]
    rows = table[table["pool"] == pool]
    means = rows.groupby("path", sort=False)["length"].mean().sort_values()
    named = {path: name(path).replace("shooting x", "shooting at equal steps in X") for path in means.index}
    lengths = means_of(rows.loc[rows["path"] == path, "length"] for path in means.index)
    parts = [f"{named[path]} {length}" for path, length in zip(means.index, lengths, strict=True)]
    pairs = rows["pair"].nunique()
    limit = ", too few for an interval" if pairs < INTERVAL_FROM else ""
    where = f"{'whole' if pool == 'none' else 'pooled'} h, {counted(pairs, 'pair')}{limit}"
    few = f"On {counted(pairs, 'pair')}, too few to rank paths, the tangent space"
    start = few if pairs < FEWEST else "The tangent space"
    yield Finding(
        "curvedness",
        f"{start} turns least along {named[means.index[0]]}, most along {named[means.index[-1]]}.",
        f"Semantic length in rad: {', '.join(parts)} ({where}).",
    )

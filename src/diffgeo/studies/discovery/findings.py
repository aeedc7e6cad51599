"""What the study ``discovery`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, ends, mean_of
from diffgeo.report.formatting import counted, number, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table = run.table("discovery")
    if table is None:
        return
    deltas = [c for c in table.columns if c.startswith("delta_")]
    samples = counted(table["sample"].nunique(), "sample")
    if not deltas:
        bases = table.drop_duplicates(["sample", "t"])
        yield Finding(
            "discovery",
            f"{int(bases['converged'].sum())} of {len(bases)} bases converged.",
            f"{counted(int(table['rank'].max()), 'direction')} each, {samples}; the largest residual is "
            f"{number(table[['residual_left', 'residual_right']].to_numpy().max())}.",
        )
        return
    moved = table.dropna(subset=deltas)
    named = int((moved["label"] != "no attribute").sum())
    first = ends(moved)[0]
    top = moved[moved["t_frac"] == first]
    per_sample = top[deltas].abs().max(axis=1).groupby(top["sample"]).mean()
    yield Finding(
        "discovery",
        f"{named} of {counted(len(moved), 'unlabelled direction')} change a predicted attribute by 0.15 or more.",
        f"At {timestep(first)} the one that moves most changes by {mean_of(per_sample)} from −γ to +γ; unedited "
        f"pictures score about −1 to 1 (n = {len(per_sample)}).",
    )

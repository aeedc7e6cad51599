"""What the study ``blocks`` found, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.findings import Finding, ends, mean_of
from diffgeo.report.formatting import counted, interval, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """Which block holds the most of the data's tangent space, near noise and near the picture; none if unknown."""
    table = run.table("blocks")
    if table is None or table["tangent_share"].isna().all():
        return
    own = table[table["map"] == table["map"].iloc[0]]
    best, words = {}, []
    for t_frac in dict.fromkeys(ends(own)):
        wide = own[own["t_frac"] == t_frac].pivot_table(index="sample", columns="block", values="tangent_share")
        first, second = wide.mean().sort_values(ascending=False).index[:2]
        best[t_frac] = first
        words.append(f"at {timestep(t_frac)} {first} holds {mean_of(wide[first])}, {_lead(wide, first, second)}")
    headline = " and ".join(f"{block} at {timestep(t_frac)}" for t_frac, block in best.items())
    samples = counted(own["sample"].nunique(), "sample")
    yield Finding(
        "blocks",
        f"The block whose directions hold most of the data's tangent space is {headline}.",
        f"Of {counted(own['block'].nunique(), 'block')}, {'; '.join(words)}. Random directions hold "
        f"{own['chance'].mean():.2g} ({samples}).",
    )


def _lead(wide: pd.DataFrame, first: str, second: str) -> str:
    """By how much the best block is ahead of the next; the best was chosen by this very mean, so no test is made."""
    mean, low, high = mean_interval((wide[first] - wide[second]).to_numpy())
    ahead = f"{interval(mean, low, high)} more than {second}, the next"
    return f"{ahead}, which may be chance" if not math.isnan(low) and low <= 0 else ahead

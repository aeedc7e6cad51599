"""What the study ``spectrum`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.findings import Finding, claim_of, lean, means_of, trend
from diffgeo.report.formatting import counted, timestep
from diffgeo.report.reading import Run
from diffgeo.studies.spectrum.kinds import of_kind
from diffgeo.studies.spectrum.settings import KINDS


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run, from the sampler's own paths; none if this study left no rows of these."""
    whole = run.table("spectrum")
    table = None if whole is None else of_kind(whole, "path")
    if whole is not None and table is not None and len(table):
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
        yield from _turn(table, of_kind(whole, "noised"), rank)


def _turn(table: pd.DataFrame, noised: pd.DataFrame, rank: str) -> Iterator[Finding]:
    """Where between its ends the curve turns, if it does by its intervals."""
    wide = table.pivot(index="sample", columns="t_frac", values="effective_dimension").dropna()
    times, means = wide.columns.to_numpy(float), wide.mean().to_numpy()
    first, last = float(times.max()), float(times.min())
    for turn, side, words in (
        (float(times[means.argmin()]), 1, ("steeper", "flatter again")),
        (float(times[means.argmax()]), -1, ("flatter", "steeper again")),
    ):
        ends = [side * (wide[end] - wide[turn]) for end in (first, last)]
        if turn in (first, last) or any(lean(*mean_interval(one.to_numpy())[1:], len(one)) != "yes" for one in ends):
            continue
        told = [_at(wide, (first, turn, last))]
        if len(noised):
            other = noised.pivot(index="sample", columns="t_frac", values="effective_dimension").dropna()
            told.append(f"{KINDS['noised']} {_at(other, (first, turn, last))}")
        yield Finding(
            "spectrum",
            f"The spectrum grows {words[0]} from {timestep(first)} to {timestep(turn)}, and {words[1]} from there to "
            f"{timestep(last)}.",
            f"The effective dimension of the leading {rank} is {'; of '.join(told)} "
            f"({counted(len(wide), 'sample')}, {counted(wide.shape[1], 'timestep')}).",
        )


def _at(wide: pd.DataFrame, times: tuple[float, ...]) -> str:
    """Means at these timesteps, in words."""
    return ", ".join(
        f"{mean} at {timestep(t)}" for mean, t in zip(means_of(wide[t] for t in times), times, strict=True)
    )

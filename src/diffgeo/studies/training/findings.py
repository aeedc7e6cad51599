"""What the study ``training`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.findings import Finding, ends
from diffgeo.report.formatting import counted, intervals, number, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """How the spectrum's trend changes in training, and how far trainings differ; none if neither can be told."""
    table = run.table("training")
    if table is None:
        return
    trainings = [rows for _, rows in table.groupby(["data", "settings"]) if rows["images"].nunique() > 1]
    if trainings and len(set(ends(table))) > 1:
        yield _turn(max(trainings, key=lambda rows: rows["images"].nunique() * rows["training_seed"].nunique()))
    moments = {
        key: rows for key, rows in table.groupby(["data", "settings", "images"]) if rows["training_seed"].nunique() > 1
    }
    if moments:
        yield _between(max(moments.values(), key=lambda rows: rows["images"].max()))


def _turn(own: pd.DataFrame) -> Finding:
    """Whether the spectrum grows flatter or steeper towards the picture, at the moments of training.

    Intervals are over trainings if each moment has three of them, else over samples of the one with most moments.
    """
    first, last = ends(own)
    wide = own.pivot_table(index=["images", "training_seed", "sample"], columns="t_frac", values="effective_dimension")
    change = wide[last] - wide[first]
    by_training = change.groupby(["images", "training_seed"]).mean()
    seeds = list(by_training.index.unique("training_seed"))
    over_trainings = by_training.groupby("images").count().min() > 2
    if not over_trainings:
        seeds = [by_training.groupby("training_seed").count().idxmax()]
        change = change.xs(seeds[0], level="training_seed")
    of_moments = (by_training if over_trainings else change).groupby("images")
    changes = {int(str(images)): mean_interval(values.to_numpy()) for images, values in of_moments}
    sides = [(low > 0) - (high < 0) for _, low, high in changes.values()]
    span, names = f"from {timestep(first)} to {timestep(last)}", {1: "flatter", -1: "steeper"}
    early, late = sides[0], sides[-1]
    if early * late < 0:
        told = f"Early in training the spectrum grows {names[early]} {span}, at its end {names[late]}."
    elif early and all(side == early for side in sides):
        told = f"The spectrum grows {names[early]} {span} at each of {counted(len(sides), 'moment')} of training."
    else:
        told = f"Whether training turns the spectrum's trend {span} stays open."
    told_by = [
        f"{value} after {images:,} pictures"
        for images, value in zip(changes, intervals(list(changes.values())), strict=True)
    ]
    samples, data = counted(own["sample"].nunique(), "sample"), own["data"].iloc[0]
    measured_on = (
        f"{counted(len(seeds), 'training')} on {data}, {samples} each"
        if over_trainings
        else f"{samples}, one training on {data}, seed {seeds[0]}"
    )
    return Finding(
        "training",
        told,
        f"The effective dimension of the leading {counted(int(own['rank'].max()), 'direction')} changes on that way by "
        f"{', '.join(told_by)} ({measured_on}).",
    )


def _between(moment: pd.DataFrame) -> Finding:
    """How far trainings that differ by their seed alone agree in the effective dimension at the largest t."""
    first, _ = ends(moment)
    own = moment[moment["t_frac"] == first]
    by_seed = own.groupby("training_seed")["effective_dimension"]
    means, samples = by_seed.mean(), float(np.sqrt(by_seed.var(ddof=1).mean()))
    spread = float(means.std(ddof=1))
    return Finding(
        "training",
        f"Trainings on {own['data'].iloc[0]} that differ by their seed alone have effective dimensions of "
        f"{', '.join(number(value) for value in means)} at {timestep(first)}.",
        f"Their standard deviation is {number(spread)}; that of the samples of one training {number(samples)} "
        f"({counted(len(means), 'training')}, {counted(own['sample'].nunique(), 'sample')} each).",
    )

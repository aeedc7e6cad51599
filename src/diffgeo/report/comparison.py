"""Scalars of many runs against the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from diffgeo.report.charts import Chart, by_time, save


def comparison(groups: pd.DataFrame, by: Sequence[str], folder: Path) -> list[Path]:
    """A figure per scalar: the first key along the axis, one line for every value of the others.

    Args:
        groups: of :func:`diffgeo.report.runs.grouped`.
        by: its keys; nothing is drawn without any.
        folder: where to write.

    Returns:
        The PNG files.
    """
    written: list[Path] = []
    for scalar, part in groups.groupby("scalar", sort=False) if by else ():
        warning = "not converged, in some of the runs" if part["unconverged"].any() else ""
        written.append(save([_one(str(scalar), part, list(by))], folder / stem_of(str(scalar)), warning=warning)[0])
    return written


def stem_of(scalar: str) -> str:
    """What the files of a scalar's figure are called, without their suffixes."""
    return scalar.replace("/", "_").replace(" ", "_")


def _one(scalar: str, part: pd.DataFrame, by: list[str]) -> Chart:
    first, others = by[0], by[1:]
    if pd.api.types.is_bool_dtype(part[first]) or not pd.api.types.is_numeric_dtype(part[first]):
        part = part.assign(**{first: part[first].map(str)})
    lines = {}
    for values, rows in part.groupby(others, sort=False, dropna=False) if others else [((), part)]:
        label = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in zip(others, values, strict=True))
        lines[label or "all runs"] = rows.rename(columns={first: "x"})[["x", "mean", "low", "high"]]
    title = scalar.replace("_", " ")
    return by_time("comparison", title, "Means with 95 % intervals over runs.", lines, title, x=first, reverse=False)

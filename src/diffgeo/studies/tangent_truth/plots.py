"""Charts of ``tangent_truth``: how much of the true tangent space each map's directions hold, by noise."""

from __future__ import annotations

import math

import pandas as pd

from diffgeo.report.charts import Chart, Tables, by_time, in_figure, name

_KINDS = {"render": "known portraits with noise", "path": "the sampler's own paths"}
_MAPS = {"x0": "x̂0", "eps": "ε"}
_PICK = "x_t from"
_SHARES = {
    "all": ("share", "Share of the true tangent space in the leading directions"),
    "coarse": ("scales", "Coarse factors"),
    "fine": ("scales", "Fine factors"),
}
"""Factors → figure and title."""


def charts(tables: Tables) -> list[Chart]:
    """Share of the span by log-SNR, a line a map; that of coarse and of fine factors; matched axes."""
    found: list[Chart] = []
    table = _drawn(tables["tangent_truth"])
    spans = table[table["factor"] == "span"]
    for scale, (figure, title) in _SHARES.items():
        for kind, rows in spans[spans["scale"] == scale].groupby("kind", sort=False):
            where = _KINDS.get(str(kind), str(kind))
            caption = (
                f"n = {rows['n'].median():.0f} directions, as many as the data have dimensions; x_t from {where}. "
                "Dotted: random directions."
            )
            chance = (float(rows["null"].mean()), "chance")
            label = "share of the span" if scale == "all" else "share of their span"
            chart = _by_noise(f"{scale}-{kind}", title, caption, rows, "share", label, chance, limits=(0, 1))
            found += in_figure([chart], figure, (_PICK, where))
    if "tangent_truth_axes" in tables:
        found += _axes(tables["tangent_truth_axes"])
    return found


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at n = the dimension of the data, without the control; without noise alone, whose log-SNR is −∞."""
    kept = (table["n"] == table["tangent_rank"]) & (table["map"] != "random")
    return table[kept & (table["log_snr"].abs() < math.inf)]


def _axes(table: pd.DataFrame) -> list[Chart]:
    """Mean |cos| of the matched axes beyond that of random rotations of the same span."""
    found: list[Chart] = []
    mean = _drawn(table)
    for kind, rows in mean[mean["factor"] == "mean"].groupby("kind", sort=False):
        where = _KINDS.get(str(kind), str(kind))
        caption = (
            "Mean |cos| of every factor with a direction of its own, less that of random rotations of the same span; "
            f"x_t from {where}."
        )
        gain = rows.assign(gain=rows["cos"] - rows["null"])
        title, label = "Are single directions single factors?", "|cos| beyond random rotations"
        chart = _by_noise(f"axes-{kind}", title, caption, gain, "gain", label, (0.0, "chance"))
        found += in_figure([chart], "axes", (_PICK, where))
    return found


def _by_noise(
    identifier: str,
    title: str,
    caption: str,
    rows: pd.DataFrame,
    column: str,
    label: str,
    chance: tuple[float, str],
    *,
    limits: tuple[float, float] | None = None,
) -> Chart:
    """A column by log-SNR (to a digit, as all its values are ticks), a line a map."""
    values = pd.DataFrame({"x": rows["log_snr"].round(1), "y": rows[column], "sample": rows["sample"]})
    return by_time(
        f"tangent-truth-{identifier}",
        title,
        caption,
        {_MAPS.get(str(key), name(key)): values.loc[part.index] for key, part in rows.groupby("map", sort=False)},
        label,
        x="log-SNR (noise on the left)",
        reverse=False,
        limits=limits,
        chance=chance,
    )

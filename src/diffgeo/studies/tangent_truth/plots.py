"""Charts of ``tangent_truth``: how much of the true tangent space each map's directions hold, by noise."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.charts import Chart, Tables, by_time, in_figure, name

__all__ = ["charts"]

_KINDS = {"render": "known portraits with noise", "path": "the sampler's own paths"}
_MAPS = {"x0": "x̂0", "eps": "ε"}
_PICK = "x_t from"
_AXIS = "log-SNR (noise on the left)"


def charts(tables: Tables) -> list[Chart]:
    """Share of the span by log-SNR, a line a map; that of coarse and of fine factors; matched axes."""
    found: list[Chart] = []
    for kind, part in tables["tangent_truth"].groupby("kind", sort=False):
        where, pick = _KINDS.get(str(kind), str(kind)), (_PICK, _KINDS.get(str(kind), str(kind)))
        own = part[(part["n"] == part["tangent_rank"]) & (part["factor"] == "span")]
        if own.empty:
            continue
        n, chance = own["n"].median(), float(own["null"].mean())
        caption = f"n = {n:.0f} directions, the dimension of the data; x_t from {where}. Dotted: random directions."
        share = by_time(
            f"tangent-truth-share-{kind}",
            "Share of the true tangent space in the leading directions",
            caption,
            _lines(own[own["scale"] == "all"], "share"),
            "share of the span",
            x=_AXIS,
            reverse=False,
            limits=(0, 1),
            chance=(chance, "chance"),
        )
        found += in_figure([share], "share", pick)
        for scale in ("coarse", "fine"):
            rows = own[(own["scale"] == scale) & (own["map"] != "random")]
            if len(rows):
                chart = by_time(
                    f"tangent-truth-{scale}-{kind}",
                    f"{scale.capitalize()} factors",
                    caption,
                    _lines(rows, "share"),
                    "share of their span",
                    x=_AXIS,
                    reverse=False,
                    limits=(0, 1),
                    chance=(chance, "chance"),
                )
                found += in_figure([chart], "scales", pick)
    axes = tables.get("tangent_truth_axes")
    if axes is not None:
        found += _axes(axes)
    return found


def _axes(table: pd.DataFrame) -> list[Chart]:
    """Mean |cos| of the matched axes beyond that of random rotations of the same span."""
    found: list[Chart] = []
    mean = table[(table["factor"] == "mean") & (table["n"] == table["tangent_rank"])]
    for kind, rows in mean.groupby("kind", sort=False):
        where = _KINDS.get(str(kind), str(kind))
        chart = by_time(
            f"tangent-truth-axes-{kind}",
            "Are single directions single factors?",
            f"Mean |cos| of every factor with its own direction, less that of random rotations of the same span; x_t "
            f"from {where}.",
            _lines(rows.assign(gain=rows["cos"] - rows["null"]), "gain"),
            "|cos| beyond random rotations",
            x=_AXIS,
            reverse=False,
            chance=(0.0, "random axes of the span"),
        )
        found += in_figure([chart], "axes", (_PICK, where))
    return found


def _lines(rows: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """Single values by map; log-SNR to a digit, as all its values are ticks."""
    values = pd.DataFrame({"x": rows["log_snr"].round(1), "y": rows[column], "sample": rows["sample"]})
    groups = ((str(label), part) for label, part in rows.groupby("map", sort=False))
    return {_MAPS.get(label, name(label)): values.loc[part.index] for label, part in groups}

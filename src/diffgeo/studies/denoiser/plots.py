"""Charts of ``denoiser``: linearity by length, dimension by noise; and the posterior's components as pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.charts import Chart, Tables, curves, in_figure, number, rows_of_points, t_name
from diffgeo.report.picture_grids import Figure, picture_grid, plain
from diffgeo.results import Result

SUMS = {"flipd": "FLIPD, at the clean picture", "posterior_dimension": "a tr J, with noise"}
"""Column of an estimate by a sum over the whole of J → its name in words."""
COUNTS = {
    "resolved": "singular values a s > 1/2",
    "normal_bundle_centred": "normal bundle, centred",
    "normal_bundle": "normal bundle",
}
"""Column of an estimate that counts directions → its name in words."""


def charts(tables: Tables) -> list[Chart]:
    """How linear the denoiser is, and how many dimensions the data have by each estimate."""
    found = []
    if "denoiser_linearity" in tables:
        found += _linearity(tables["denoiser_linearity"])
    if "denoiser_dimension" in tables:
        found += _dimension(tables["denoiser_dimension"])
    return found


def _linearity(table: pd.DataFrame) -> list[Chart]:
    rows = table.assign(length=table["lambda_share"].abs())
    parts = {
        "cosine": ("Cosine to the linear prediction", "cos(x̂0(x + λv), x̂0(x) + λJv)", (0.0, 1.0)),
        "change_error": ("Error of the change", "‖x̂0(x + λv) − x̂0(x) − λJv‖ / ‖λJv‖", None),
    }
    caption = (
        "Steps λ along the leading directions of ∂x̂0/∂x, both ways; bands reach from the least to the most of samples "
        "and directions. "
    )
    how = {
        "cosine": "1 is linear, or a short step.",
        "change_error": "0 is linear; 1 if x̂0 does not move at all.",
    }
    made = [
        curves(
            f"denoiser-{column.replace('_', '-')}",
            title,
            caption + how[column],
            rows,
            x=("length", "|λ| / √d"),
            y=(column, label),
            by="t_frac",
            label=t_name,
            of="length",
            limits=limits,
        )
        for column, (title, label, limits) in parts.items()
    ]
    return in_figure(made, "linearity")


def _dimension(table: pd.DataFrame) -> list[Chart]:
    return in_figure(
        [
            _estimates(
                table, "sums", "Dimension by sums over J", "The small errors of a network add up in a sum over J.", SUMS
            ),
            _estimates(
                table, "counts", "Dimension by counts", "What is counted is one of the n leading directions.", COUNTS
            ),
        ],
        "dimension",
    )


def _estimates(table: pd.DataFrame, which: str, title: str, how: str, columns: Mapping[str, str]) -> Chart:
    """Estimates of the dimension, a row each."""
    points = []
    for column, label in columns.items():
        for t_frac, part in table.dropna(subset=[column]).groupby("t_frac", sort=False):
            mean, low, high = mean_interval(part[column].to_numpy(float))
            points.append({"row": label, "series": t_name(t_frac), "x": mean, "low": low, "high": high})
    words = [f"{one['row']} at {one['series']}: {number(one['x'])}" for one in points]
    known = "; the dotted line is the true dimension" if "true_dimension" in table else ""
    return rows_of_points(
        f"denoiser-dimension-{which}",
        title,
        f"Estimates around the pictures of {table['sample'].nunique()} samples, means over them. All agree for an "
        f"exact denoiser and little noise{known}. {how}",
        f"{title}. {'; '.join(words)}.",
        pd.DataFrame(points, columns=["row", "series", "x", "low", "high"]),
        "dimension",
        chance=float(table["true_dimension"].median()) if "true_dimension" in table else None,
    )


def figures(result: Result) -> dict[str, Figure]:
    """The first sample's posterior components: rows are timesteps and components, columns −2 sd, x̂0, +2 sd."""
    table = result.more_tables["components"]
    mine = table[table["sample"] == table["sample"].iloc[0]]
    pictures = result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    rows: list[list[np.ndarray]] = []
    left, right = [], []
    for row in mine.to_dict("records"):
        rows.append([pictures[row["frame"] + side] for side in range(3)])
        left.append(f"{row['t_frac']:g} T, {row['component'] + 1}")
        right.append(f"{row['variance_share']:.1%} of the variance")
    title = f"{plain(mine['name'].iloc[0])}: x̂0 along the posterior's components"
    return {"components": picture_grid(rows, title=title, left=left, top=["−2 sd", "x̂0", "+2 sd"], right=right)}

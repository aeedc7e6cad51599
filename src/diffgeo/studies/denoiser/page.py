"""What a run's page shows of the study ``denoiser``, beside its charts."""

from __future__ import annotations

import math

import pandas as pd

from diffgeo.report.formatting import number, timestep
from diffgeo.report.pictures import Picture, Pictures, Row
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of, means_table
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.traversals import picture_uri
from diffgeo.studies.denoiser.plots import COUNTS, SUMS

MAPS = {"h": "x ↦ h", "x0": "x ↦ x̂0"}
"""Map → its name in words."""


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("denoiser")
    assert table is not None
    parts = {"components": _components, "dimension": _dimension, "isometry": _isometry}
    found = [(make, run.table(f"denoiser_{part}")) for part, make in parts.items()]
    return [_jacobian(table), *(make(part) for make, part in found if part is not None)]


def _jacobian(table: pd.DataFrame) -> Table:
    means = means_of(table, ["t_frac"], ["asymmetry", "norm_share", "trace", "posterior_variance"])
    groups = [part for _, part in table.groupby("t_frac", sort=False)]
    means["numerical_rank"] = [_median_rank(part) for part in groups]
    means["error"] = [f"{part['asymmetry_error'].max():.2g}" for part in groups]
    columns = [
        T_COLUMN,
        mean_column("‖J − Jᵀ‖ / ‖J‖", "asymmetry"),
        Column("its largest standard error", "error"),
        Column("numerical rank", "numerical_rank"),
        mean_column(f"share of ‖J‖ in {table['rank'].max()} directions", "norm_share"),
        mean_column("tr J", "trace"),
        mean_column("posterior variance", "posterior_variance"),
        N_COLUMN,
    ]
    note = (
        f"{INTERVALS} 0 in the second column is an exact denoiser, √2 a J without symmetry. The numerical rank is the "
        "least number of directions with more than 0.99 of ‖J‖, the median over samples. "
        f"Sums over all of J by {table['probes'].max()} random probes."
    )
    return as_table("table-denoiser-jacobian", "The denoiser's Jacobian", means, columns, note=note)


def _median_rank(part: pd.DataFrame) -> str:
    middle = part["numerical_rank"].fillna(math.inf).median()
    return f"{middle:.0f}" if math.isfinite(middle) else f"more than {part['rank'].max()}"


def _components(table: pd.DataFrame) -> Table:
    means = means_of(table.assign(number=table["component"] + 1), ["t_frac", "number"], ["variance", "variance_share"])
    means["residual"] = [part["residual"].max() for _, part in table.groupby(["t_frac", "component"], sort=False)]
    columns = [
        T_COLUMN,
        Column("component", "number"),
        mean_column("variance", "variance"),
        mean_column("share of the posterior's variance", "variance_share"),
        Column("largest residual", "residual", lambda value: number(value, 2)),
        N_COLUMN,
    ]
    return as_table("table-denoiser-components", "Posterior principal components", means, columns, note=INTERVALS)


def _dimension(table: pd.DataFrame) -> Table:
    estimates = SUMS | COUNTS | {"true_dimension": "true"}
    columns = [T_COLUMN, *(mean_column(label, column) for column, label in estimates.items())]
    return means_table("table-denoiser-dimension", "Dimension of the data", table, ["t_frac"], columns)


def _isometry(table: pd.DataFrame) -> Table:
    means = means_of(table.sort_values("map", kind="stable"), ["map", "t_frac"], ["condition", "log_spread"])
    means["label"] = means["map"].map(lambda name: MAPS.get(name, name))
    columns = [
        Column("map", "label"),
        T_COLUMN,
        mean_column("σ₁ / σₙ", "condition"),
        mean_column("spread of log σ", "log_spread"),
        N_COLUMN,
    ]
    note = f"{INTERVALS} On the leading n = {table['rank'].min()} directions; an isometry up to scale has 1 and 0."
    return as_table("table-denoiser-isometry", "Isometry", means, columns, note=note)


def pictures(run: Run) -> list[Pictures]:
    """The first sample's x̂0 along the posterior's components."""
    table, frames = run.table("denoiser_components"), run.pictures("denoiser")
    if table is None or frames is None:
        return []
    mine = table[table["sample"] == table["sample"].iloc[0]]
    sides = ("−2 standard deviations", "x̂0", "+2 standard deviations")
    rows = []
    for row in mine.to_dict("records"):
        name = f"{timestep(row['t_frac'])}, component {row['component'] + 1}"
        captions = ("", f"{row['variance_share']:.1%} of the variance", "")
        shown = [
            Picture(picture_uri(frames[row["frame"] + side]), f"{name}, {words}", captions[side])
            for side, words in enumerate(sides)
        ]
        rows.append(Row(name, shown))
    caption = f"{mine['name'].iloc[0]}: x̂0 along the posterior's principal components"
    return [Pictures("pictures-denoiser", caption, sides, rows, frames.shape[2] <= 64)]

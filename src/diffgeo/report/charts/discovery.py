"""Charts of ``discovery``: singular values, and what the directions change."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.charts.toolkit import Chart, Tables, curves, heat_map, in_figure, name, number, t_name, timestep

__all__ = ["charts"]


def charts(tables: Tables) -> list[Chart]:
    """Spectra; with a predictor of attributes also their changes."""
    table = tables["discovery"]
    deltas = [column for column in table.columns if column.startswith("delta_")]
    found = _spectra(table)
    return [*_attributes(table.dropna(subset=deltas), deltas), *found] if deltas else found


def _spectra(table: pd.DataFrame) -> list[Chart]:
    """Singular values by direction, absolute and relative to the first."""
    first = table.groupby(["t_frac", "sample"])["singular_value"].transform("max")
    rows = table.assign(number=table["direction"] + 1, relative=table["singular_value"] / first)
    values = curves(
        "spectrum-values",
        "Singular values of ∂h/∂x",
        "A steep curve means that few directions carry most of the effect; bands reach from the least to the most of "
        "the samples.",
        rows,
        x=("number", "direction i"),
        y=("singular_value", "σᵢ"),
        by="t_frac",
        label=t_name,
        of="direction",
        log=True,
    )
    relative = curves(
        "spectrum-relative",
        "Singular values relative to the first",
        "The lower the curve, the fewer directions matter beside the first; bands reach from the least to the most of "
        "the samples.",
        rows,
        x=("number", "direction i"),
        y=("relative", "σᵢ / σ₁"),
        by="t_frac",
        label=t_name,
        of="direction",
        limits=(0, 1),
    )
    return in_figure([values, relative], "spectrum")


def _attributes(table: pd.DataFrame, deltas: list[str]) -> list[Chart]:
    """Mean size of every attribute's change by direction and timestep."""
    if table.empty:
        return []
    sizes = (
        table[deltas].abs().groupby([table["t_frac"], table["direction"]]).mean().sort_index(ascending=[False, True])
    )
    matrix = sizes.set_axis([f"{timestep(float(t))} v{d + 1}" for t, d in sizes.index]).set_axis(
        [name(column.removeprefix("delta_")) for column in deltas], axis=1
    )
    strongest = [f"{row}: {values.idxmax()} {number(float(values.max()))}" for row, values in matrix.iterrows()]
    chart = heat_map(
        "discovery-attributes",
        "What the directions change",
        "Each cell is how far an attribute moves from −γ to +γ, on average over samples and without its sign; "
        "unedited pictures score about −1 to 1.",
        f"Strongest attribute by timestep and direction. {'; '.join(strongest)}.",
        matrix,
        "mean |Δ|",
    )
    return in_figure([chart], "attributes")

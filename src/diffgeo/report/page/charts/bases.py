"""Charts of local bases: spectra, effective dimension, frequencies."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from diffgeo.report.formatting import name, number, timestep
from diffgeo.report.page.charts.base import (
    SEQUENTIAL,
    Chart,
    band,
    bar,
    by_time,
    chart,
    line,
    log_ticks,
    means_by,
    series_text,
    t_name,
)
from diffgeo.report.reading import Run

__all__ = ["discovery", "frequency", "spectrum"]


def discovery(run: Run) -> list[Chart]:
    """What directions change; their singular values, too, where no other study shows them."""
    table = run.table("discovery")
    if table is None:
        return []
    deltas = [c for c in table.columns if c.startswith("delta_")]
    charts = [_attributes(table.dropna(subset=deltas), deltas)] if deltas else []
    return charts if run.table("spectrum") is not None else [*charts, _singular_values(table)]


def _attributes(table: pd.DataFrame, deltas: list[str]) -> Chart:
    """Mean size of every attribute's change by direction and timestep."""
    sizes = (
        table[deltas].abs().groupby([table["t_frac"], table["direction"]]).mean().sort_index(ascending=[False, True])
    )
    rows = [f"{timestep(float(t))} v{d + 1}" for t, d in sizes.index]
    names = [name(c.removeprefix("delta_")) for c in deltas]
    strongest = [
        f"{row}: {names[int(values.argmax())]} {number(float(values.max()))}"
        for row, values in zip(rows, sizes.to_numpy(), strict=True)
    ]
    return chart(
        "chart-discovery-attributes",
        "What the directions change",
        "Each cell is how far an attribute moves from −γ to +γ, on average over samples and without its sign; "
        "unedited pictures score about −1 to 1.",
        f"Strongest attribute by timestep and direction. {'; '.join(strongest)}.",
        [
            go.Heatmap(
                z=sizes.to_numpy(),
                x=names,
                y=rows,
                colorscale=SEQUENTIAL,
                zmin=0,
                xgap=2,
                ygap=2,
                texttemplate="%{z:.1f}",
                textfont={"size": 10.5, "color": "var(--ink)"},
                colorbar=bar("mean |Δ|"),
                hovertemplate="%{y}, %{x}: %{z:.2f}<extra></extra>",
            )
        ],
        x={"tickangle": -45, "showline": False, "ticks": ""},
        y={"autorange": "reversed", "showgrid": False, "showline": False, "ticks": "", "type": "category"},
        height=130 + 26 * len(rows),
        wide=True,
    )


def spectrum(run: Run) -> list[Chart]:
    """Singular values, effective dimension and flatness."""
    charts = []
    values, table = run.table("discovery"), run.table("spectrum")
    if values is not None:
        charts += [_singular_values(values)]
    if table is not None:
        reading = "Dots are samples; the line is their mean with its 95 % interval."
        for column, title, label in (
            ("effective_dimension", "Effective dimension", "effective dimension"),
            ("flatness", "Flatness of the spectrum", "σₙ / σ₁"),
        ):
            single = table.rename(columns={"t_frac": "x", column: "y"})[["x", "y"]]
            lines = [("mean over samples", means_by(table[column], table["t_frac"]), single)]
            charts.append(by_time(f"chart-spectrum-{column}", title, reading, lines, label))
    return charts


def _singular_values(table: pd.DataFrame) -> Chart:
    traces, said = [], []
    for i, (t_frac, rows) in enumerate(table.groupby("t_frac", sort=False)):
        by = rows.groupby(rows["direction"] + 1)["singular_value"]
        mean = by.mean()
        traces += [
            band(mean.index, by.min(), by.max(), i),
            line(mean, t_name(t_frac), i, "σ<sub>%{x}</sub> = %{y:.3g}"),
        ]
        said.append(f"{t_name(t_frac)}, direction {series_text(mean)}")
    return chart(
        "chart-spectrum-values",
        "Singular values of ∂h/∂x",
        "A steep curve means that few directions carry most of the effect; bands reach from the least to the most of "
        "the samples.",
        f"Mean singular value by direction. {'. '.join(said)}.",
        traces,
        x={"title": "direction i"},
        y={"title": "σᵢ"} | log_ticks(table["singular_value"]),
    )


def frequency(run: Run) -> list[Chart]:
    """Radial power, and its low share against t."""
    table = run.table("frequency")
    if table is None:
        return []
    traces, said = [], []
    for i, (t_frac, rows) in enumerate(table.groupby("t_frac", sort=False)):
        by = rows.groupby("nyquist_fraction")["power"]
        mean = by.mean()
        traces += [
            band(mean.index, by.min(), by.max(), i),
            line(mean, t_name(t_frac), i, "%{x:.2f} of Nyquist: %{y:.2g}"),
        ]
        said.append(f"{t_name(t_frac)}, frequency {series_text(mean, 2)}")
    density = chart(
        "chart-frequency-power",
        "Power spectral density of the directions",
        "Curves that fall faster belong to coarser directions; bands reach from the least to the most of the samples.",
        f"Mean share of power by radial frequency over Nyquist. {'. '.join(said)}.",
        traces,
        x={"title": "radial frequency / Nyquist"},
        y={"title": "share of power"} | log_ticks(table["power"]),
    )
    once = table[table["radius"] == 0]
    single = once.rename(columns={"t_frac": "x", "low_share": "y"})[["x", "y"]]
    share = by_time(
        "chart-frequency-share",
        "Low-frequency share",
        "Dots are samples; the line is their mean with its 95 % interval. It falls where directions grow finer.",
        [("mean over samples", means_by(once["low_share"], once["t_frac"]), single)],
        "share of power at low frequencies",
        range_=(0, 1),
    )
    return [density, share]

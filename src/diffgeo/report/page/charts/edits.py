"""Charts of edits compared: ablation and scorecard."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from diffgeo.report.formatting import interval, name, number, timestep
from diffgeo.report.page.charts.base import (
    DIVERGING,
    SEQUENTIAL,
    Chart,
    Tabs,
    bar,
    chart,
    colour,
    safe,
    strips,
    symbol,
    t_name,
)
from diffgeo.report.reading import Run

__all__ = ["CARD", "ablation", "disentanglement"]

CARD = {
    "precision": "edit precision",
    "precision_gain": "edit precision above random",
    "dependency_mean": "collateral / sd",
    "local_success": "local success",
    "transfer_success": "transfer success",
    "effect_disentanglement": "disentanglement of effects",
    "dci_d": "DCI disentanglement of codes",
}
"""Metrics of the scorecard that are drawn, with their labels."""
_DAMAGE = {
    "precision": ("Edit precision", "target change / mean other change"),
    "clipped_change": ("Colours at their limits", "more colours at their limits (share)"),
    "chroma_change": ("Chroma", "more chroma"),
}


def ablation(run: Run) -> list[Chart]:
    """Each variant against the local directions, at equal strength."""
    table = run.table("ablation")
    if table is None:
        return []
    charts = []
    for column, (title, label) in _DAMAGE.items():
        if column in table:
            groups = {name(v): part[column] for v, part in table.groupby("variant", sort=False)}
            reading = (
                "All edits change the picture equally; dots are edits, diamonds means, local directions in dark blue."
            )
            charts.append(strips(f"chart-ablation-{column}", title, reading, groups, label, marked="local"))
    return charts


def disentanglement(run: Run) -> list[Chart | Tabs]:
    """Scorecard, re-scoring maps, Pareto curves, timing and subspace."""
    charts: list[Chart | Tabs] = []
    card, rescoring = run.table("disentanglement_scorecard"), run.table("disentanglement_rescoring")
    if rescoring is not None:
        maps = {t_name(t): _rescoring(part, float(str(t))) for t, part in rescoring.groupby("t_frac", sort=False)}
        charts.append(Tabs("tabs-rescoring", "Timestep of the re-scoring matrix", maps))
    if card is not None:
        charts += [
            _metric(card, metric) for metric in CARD if card.loc[card["metric"] == metric, "value"].notna().any()
        ]
    pareto, timing = run.table("disentanglement_pareto"), run.table("disentanglement_timing")
    if pareto is not None:
        curves = {t_name(t): _pareto(part, float(str(t))) for t, part in pareto.groupby("t_frac", sort=False)}
        charts.append(Tabs("tabs-pareto", "Timestep of the trade-off", curves))
    if timing is not None and timing["t_frac"].nunique() > 1:
        charts.append(_timing(timing))
    subspace = run.table("disentanglement_subspace")
    if subspace is not None:
        charts.append(_subspace(subspace))
    return charts


def _id(stem: str, t_frac: float) -> str:
    """``chart-pareto-0-25``: CSS reads a dot as a class."""
    return f"{stem}-{t_frac:g}".replace(".", "-")


def _rescoring(table: pd.DataFrame, t_frac: float) -> Chart:
    """Rows are directions with their labels, columns attributes."""
    attributes = list(table["attribute"].unique())
    values, rows, said = [], [], []
    for method, block in table.groupby("method", sort=False):
        matrix = block.pivot_table(index="direction", columns="attribute", values="score")[attributes]
        labels: dict[Any, Any] = dict(zip(block["direction"], block["label"], strict=True))
        for k, scores in matrix.iterrows():
            label = safe(name(labels[k]).split(", ")[0])
            rows.append(f"{safe(name(method))} {int(str(k)) + 1} · {label}")
            values.append(list(scores))
            most = int(scores.abs().argmax())
            said.append(f"{name(method)} {int(str(k)) + 1}: {name(attributes[most])} {number(scores.iloc[most])}")
    limit = max(abs(v) for row in values for v in row) or 1.0
    return chart(
        _id("chart-rescoring", t_frac),
        f"Re-scoring matrix at {timestep(t_frac)}",
        "Each row is a direction with its automatic label (and the share of samples on which it comes true), each cell "
        "the mean change of an attribute in standard deviations; a good direction colours one cell.",
        f"Attribute that each direction moves most, in standard deviations. {'; '.join(said)}.",
        [
            go.Heatmap(
                z=values,
                x=[name(a) for a in attributes],
                y=rows,
                colorscale=DIVERGING,
                zmin=-limit,
                zmax=limit,
                xgap=2,
                ygap=2,
                texttemplate="%{z:.1f}" if len(rows) <= 40 else None,
                textfont={"size": 10.5, "color": "var(--ink)"},
                colorbar=bar("mean change / sd"),
                hovertemplate="%{y}<br>%{x}: %{z:.2f} sd<extra></extra>",
            )
        ],
        x={"tickangle": -45, "showline": False, "ticks": ""},
        y={"autorange": "reversed", "showgrid": False, "showline": False, "ticks": "", "type": "category"},
        height=140 + 27 * len(rows),
        wide=True,
    )


def _metric(card: pd.DataFrame, metric: str) -> Chart:
    """One metric: methods in rows, a point with its interval for every timestep."""
    table = card[(card["metric"] == metric) & card["value"].notna()]
    methods, times = list(table["method"].unique()), list(table["t_frac"].unique())
    gain = metric.startswith("precision_gain")  # whose null is 0; its column holds the precision of random directions
    compared = "0 is no gain over random directions" if gain else "a grey tick is what chance gives"
    traces, said = [], []
    for i, t_frac in enumerate(times):
        rows = table[table["t_frac"] == t_frac]
        y = [methods.index(m) + 0.6 * ((i + 0.5) / len(times) - 0.5) for m in rows["method"]]
        traces.append(
            go.Scatter(
                x=list(rows["value"]),
                y=y,
                mode="markers",
                name=t_name(t_frac),
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": list((rows["high"] - rows["value"]).fillna(0)),
                    "arrayminus": list((rows["value"] - rows["low"]).fillna(0)),
                    "thickness": 1.4,
                    "width": 3,
                },
                marker={"color": colour(i), "symbol": symbol(i), "size": 8},
                customdata=[safe(name(m)) for m in rows["method"]],
                hovertemplate="%{customdata}: %{x:.3g}<extra>" + t_name(t_frac) + "</extra>",
            )
        )
        null = rows["null"].notna()
        if null.any() and not gain:
            traces.append(
                go.Scatter(
                    x=list(rows.loc[null, "null"]),
                    y=[at for at, known in zip(y, null, strict=True) if known],
                    mode="markers",
                    name="chance",
                    showlegend=i == 0,
                    marker={"color": "var(--muted)", "symbol": "line-ns-open", "size": 9, "line": {"width": 2}},
                    hovertemplate="null %{x:.3g}<extra>" + t_name(t_frac) + "</extra>",
                )
            )
        parts = [f"{name(r['method'])} {interval(r['value'], r['low'], r['high'])}" for r in rows.to_dict("records")]
        said.append(f"{t_name(t_frac)}: {', '.join(parts)}")
    return chart(
        f"chart-scorecard-{metric}",
        CARD[metric].capitalize() if not CARD[metric].startswith("DCI") else CARD[metric],
        f"Points are methods by timestep, bars 95 % intervals over samples; {compared}.",
        f"{CARD[metric]} with 95 % intervals. {'. '.join(said)}.",
        traces,
        x={"title": CARD[metric], "showgrid": True, "zeroline": True, "zerolinecolor": "var(--muted)"}
        | ({"range": [-0.04, 1.04]} if metric.endswith("success") else {}),
        y={
            "tickvals": list(range(len(methods))),
            "ticktext": [safe(name(m)) for m in methods],
            "range": [len(methods) - 0.5, -0.5],
            "showgrid": False,
        },
        height=170 + (18 * len(times) + 14) * len(methods),
    )


def _pareto(table: pd.DataFrame, t_frac: float) -> Chart:
    """Wanted change against collateral as the strength grows, one line a method."""
    traces, said = [], []
    for i, (method, rows) in enumerate(table.groupby("method", sort=False)):
        traces.append(
            go.Scatter(
                x=list(rows["collateral"]), y=list(rows["on_target"]), mode="markers", showlegend=False,
                marker={"color": colour(i), "size": 4, "opacity": 0.4}, hoverinfo="skip",
            )
        )  # fmt: skip
        mean = rows.groupby("level")[["collateral", "on_target"]].mean()
        traces.append(
            go.Scatter(
                x=[0, *mean["collateral"]],
                y=[0, *mean["on_target"]],
                mode="lines+markers",
                name=safe(name(method)),
                line={"color": colour(i), "width": 2},
                marker={"symbol": symbol(i), "size": 8},
                hovertemplate="collateral %{x:.2f}, target %{y:.2f}<extra>" + safe(name(method)) + "</extra>",
            )
        )
        points = "; ".join(f"{number(r['on_target'])} for {number(r['collateral'])}" for _, r in mean.iterrows())
        said.append(f"{name(method)} {points}")
    return chart(
        _id("chart-pareto", t_frac),
        f"What an edit wins against what it costs at {timestep(t_frac)}",
        "Each line follows a method as its edits grow stronger; higher and further left is better. Dots are edits.",
        f"Mean change of the target for mean collateral, both in standard deviations. {'. '.join(said)}.",
        traces,
        x={"title": "collateral / sd", "rangemode": "tozero"},
        y={"title": "change of the target / sd", "rangemode": "tozero"},
    )


def _timing(table: pd.DataFrame) -> Chart:
    """On which attribute an edit's effect falls, by timestep; coarse attributes on top."""
    method = "local" if "local" in set(table["method"]) else str(table["method"].iloc[0])
    rows = table[table["method"] == method]
    matrix = rows.pivot_table(index="attribute", columns="t_frac", values="share")
    matrix = matrix[sorted(matrix.columns, reverse=True)]
    scale = rows.groupby("attribute")["scale"].first().reindex(matrix.index)
    matrix = matrix.loc[scale.sort_values(ascending=False).index]
    best = [f"{name(a)} at {timestep(float(str(values.idxmax())))}" for a, values in matrix.iterrows()]
    return chart(
        "chart-timing",
        f"When each attribute is decided ({name(method)} directions)",
        "Each cell is the share of the edits' effect at a timestep that falls on an attribute; attributes run from "
        "coarse (top) to fine.",
        f"Timestep with the largest share, coarse attributes first. {'; '.join(best)}.",
        [
            go.Heatmap(
                z=matrix.to_numpy(),
                x=[timestep(float(t)) for t in matrix.columns],
                y=[name(a) for a in matrix.index],
                colorscale=SEQUENTIAL,
                zmin=0,
                xgap=2,
                ygap=2,
                texttemplate="%{z:.2f}",
                textfont={"size": 10.5, "color": "var(--ink)"},
                colorbar=bar("share of the effect"),
                hovertemplate="%{y} at %{x}: %{z:.3f}<extra></extra>",
            )
        ],
        x={"showline": False, "ticks": "", "type": "category"},
        y={"autorange": "reversed", "showgrid": False, "showline": False, "ticks": ""},
        height=90 + 22 * len(matrix),
    )


def _subspace(table: pd.DataFrame) -> Chart:
    """Shares of each attribute's gradient, inside the tangent space and along the best of its axes, at the first t."""
    first = table["t_frac"].max()
    rows = table[table["t_frac"] == first].groupby("attribute", sort=False).mean(numeric_only=True)
    kinds = {
        "subspace": "whole tangent space",
        "single": "best vᵢ",
        "varimax": "best after varimax",
        "random": "best of random axes",
    }
    chance, traces = float(rows["chance"].mean()), []
    for i, (kind, label) in enumerate(kinds.items()):
        traces.append(
            go.Scatter(
                x=list(rows[kind]), y=[name(a) for a in rows.index], mode="markers", name=label,
                marker={"color": colour(i), "symbol": symbol(i), "size": 8},
                hovertemplate="%{y}: %{x:.2f}<extra>" + label + "</extra>",
            )
        )  # fmt: skip
    said = [
        f"{name(a)}: {number(r['subspace'], 2)} in the tangent space, {number(r['single'], 2)} along one direction"
        for a, r in rows.iterrows()
    ]
    return chart(
        "chart-subspace",
        f"Are attributes in the tangent space, and along one axis? At {timestep(float(first))}",
        "The share of an attribute's gradient that the tangent space holds, and that one of its axes holds; the dotted "
        "line is what a random space of this size would hold.",
        f"Share of each attribute's gradient; chance {number(chance, 2)}. {'; '.join(said)}.",
        traces,
        x={"title": "share of the attribute's gradient", "range": [0, 1.02], "showgrid": True},
        y={"autorange": "reversed", "showgrid": False},
        height=130 + 24 * len(rows),
        shapes=[
            {
                "type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": chance, "x1": chance,
                "line": {"color": "var(--muted)", "width": 1.2, "dash": "dot"},
            }
        ],
    )  # fmt: skip

"""Charts of ``disentanglement``: re-scoring maps, scorecard, trade-offs, timing and the tangent space's share."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.charts import (
    Chart,
    Tables,
    heat_map,
    in_figure,
    interval,
    name,
    number,
    rows_of_points,
    scatter,
    t_name,
    timestep,
)

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
KINDS = {
    "subspace": "whole tangent space",
    "single": "best vᵢ",
    "varimax": "best after varimax",
    "random": "best of random axes",
}
"""Column of the table ``subspace`` → its name in words."""


def charts(tables: Tables) -> list[Chart]:
    """Re-scoring maps, scorecard, Pareto curves, timing and subspace."""
    own = {stem.removeprefix("disentanglement_"): table for stem, table in tables.items()}
    found: list[Chart] = []
    for t_frac, part in own["rescoring"].groupby("t_frac", sort=False) if "rescoring" in own else ():
        pick = ("Timestep of the re-scoring matrix", t_name(t_frac))
        found += in_figure([_rescoring(part, float(str(t_frac)))], f"rescoring_{t_frac:g}T", pick)
    if "scorecard" in own:
        card = own["scorecard"]
        measured = [metric for metric in CARD if card.loc[card["metric"] == metric, "value"].notna().any()]
        found += in_figure([_metric(card, metric) for metric in measured], "scorecard")
    for t_frac, part in own["pareto"].groupby("t_frac", sort=False) if "pareto" in own else ():
        found += in_figure([_pareto(part, float(str(t_frac)))], "pareto", ("Timestep of the trade-off", t_name(t_frac)))
    if "timing" in own and own["timing"]["t_frac"].nunique() > 1:
        found += in_figure([_timing(own["timing"])], "timing")
    if "subspace" in own:
        times = sorted(own["subspace"]["t_frac"].unique(), reverse=True)
        for t_frac in times:
            pick = ("Timestep of the tangent space", t_name(t_frac))
            found += in_figure([_subspace(own["subspace"], float(t_frac))], "subspace", pick)
    return found


def _name(stem: str, t_frac: float) -> str:
    """``pareto-0-25``: CSS reads a dot as a class."""
    return f"{stem}-{t_frac:g}".replace(".", "-")


def _rescoring(table: pd.DataFrame, t_frac: float) -> Chart:
    """Rows are directions with their labels, columns attributes."""
    attributes, blocks, words = list(table["attribute"].unique()), [], []
    for method, block in table.groupby("method", sort=False):
        matrix = block.pivot_table(index="direction", columns="attribute", values="score")[attributes]
        labels = block.groupby("direction")["label"].first()
        rows = [f"{name(method)} {k + 1}" for k in matrix.index]
        for row, scores in zip(rows, matrix.to_numpy(), strict=True):
            most = int(abs(scores).argmax())
            words.append(f"{row}: {name(attributes[most])} {number(float(scores[most]))}")
        named = [f"{row} · {name(labels[k]).split(', ')[0]}" for row, k in zip(rows, matrix.index, strict=True)]
        blocks.append(matrix.set_axis(named))
    return heat_map(
        _name("rescoring", t_frac),
        f"Re-scoring matrix at {timestep(t_frac)}",
        "Each row is a direction with its automatic label (and the share of samples on which it comes true), each cell "
        "the mean change of an attribute in standard deviations; a good direction colours one cell.",
        f"Attribute that each direction moves most, in standard deviations. {'; '.join(words)}.",
        pd.concat(blocks).rename(columns=name),
        "mean change / sd",
        signed=True,
    )


def _metric(card: pd.DataFrame, metric: str) -> Chart:
    """One metric: methods in rows, a point with its interval for every timestep."""
    table = card[(card["metric"] == metric) & card["value"].notna()]
    gain = metric.startswith("precision_gain")  # whose null is 0; its column holds the precision of random directions
    compared = "0 is no gain over random directions" if gain else "a grey tick is what chance gives"
    words = []
    for t_frac, rows in table.groupby("t_frac", sort=False):
        parts = [f"{name(r['method'])} {interval(r['value'], r['low'], r['high'])}" for r in rows.to_dict("records")]
        words.append(f"{t_name(t_frac)}: {', '.join(parts)}")
    label = CARD[metric]
    points = pd.DataFrame(
        {
            "row": table["method"].map(name),
            "series": table["t_frac"].map(t_name),
            "x": table["value"],
            "low": table["low"],
            "high": table["high"],
            "null": float("nan") if gain else table["null"],
        }
    )
    return rows_of_points(
        f"scorecard-{metric}",
        label if label.startswith("DCI") else label.capitalize(),
        f"Points are methods by timestep, bars 95 % intervals over samples; {compared}.",
        f"{label} with 95 % intervals. {'. '.join(words)}.",
        points,
        label,
        limits=(0, 1) if metric.endswith("success") else None,
    )


def _pareto(table: pd.DataFrame, t_frac: float) -> Chart:
    """Wanted change against collateral as the strength grows, one line a method."""
    lines, words = [], []
    for method, rows in table.groupby("method", sort=False):
        mean = rows.groupby("level")[["collateral", "on_target"]].mean()
        from_zero = pd.concat([pd.DataFrame({"collateral": [0.0], "on_target": [0.0]}), mean])
        lines.append(from_zero.assign(series=name(method), order=range(len(from_zero))))
        points = [f"{number(target)} for {number(cost)}" for cost, target in mean.to_numpy()]
        words.append(f"{name(method)} {'; '.join(points)}")
    axes = {"collateral": "x", "on_target": "y"}
    return scatter(
        _name("pareto", t_frac),
        f"What an edit wins against what it costs at {timestep(t_frac)}",
        "Each line follows a method as its edits grow stronger; higher and further left is better. Dots are edits.",
        f"Mean change of the target for mean collateral, both in standard deviations. {'. '.join(words)}.",
        table.assign(series=table["method"].map(name)).rename(columns=axes)[["series", "x", "y"]],
        "collateral / sd",
        "change of the target / sd",
        lines=pd.concat(lines).rename(columns=axes),
    )


def _timing(table: pd.DataFrame) -> Chart:
    """On which attribute an edit's effect falls, by timestep; coarse attributes on top if that is known."""
    method = "local" if "local" in set(table["method"]) else str(table["method"].iloc[0])
    rows = table[table["method"] == method]
    matrix = rows.pivot_table(index="attribute", columns="t_frac", values="share")
    matrix = matrix[sorted(matrix.columns, reverse=True)]
    scale = rows.groupby("attribute")["scale"].first().reindex(matrix.index)
    matrix = matrix.loc[scale.sort_values(ascending=False).index].rename(index=name, columns=timestep)
    best = [f"{attribute} at {values.idxmax()}" for attribute, values in matrix.iterrows()]
    return heat_map(
        "timing",
        f"When each attribute is decided ({name(method)} directions)",
        "Each cell is the share of the edits' effect at a timestep that falls on an attribute; attributes run from "
        "coarse (top) to fine, and a frame marks the timestep of each one's largest share.",
        f"Timestep with the largest share, coarse attributes first. {'; '.join(best)}.",
        matrix,
        "share of the effect",
        framed=True,
        decimals=2,
        wide=False,
    )


def _subspace(table: pd.DataFrame, t_frac: float) -> Chart:
    """Shares of each attribute's gradient, inside the tangent space and along the best of its axes."""
    rows = table[table["t_frac"] == t_frac].groupby("attribute", sort=False).mean(numeric_only=True)
    chance = float(rows["chance"].mean())
    points = [
        {"row": name(attribute), "series": label, "x": values[kind]}
        for kind, label in KINDS.items()
        for attribute, values in rows.iterrows()
    ]
    words = [
        f"{name(a)}: {number(r['subspace'], 2)} in the tangent space, {number(r['single'], 2)} along one direction"
        for a, r in rows.iterrows()
    ]
    return rows_of_points(
        _name("subspace", t_frac),
        f"Are attributes in the tangent space, and along one axis? At {timestep(t_frac)}",
        "The share of an attribute's gradient that the tangent space holds, and that one of its axes holds; the dotted "
        f"line is what a random space of this size would hold ({number(chance, 2)}).",
        f"Share of each attribute's gradient; chance {number(chance, 2)}. {'; '.join(words)}.",
        pd.DataFrame(points),
        "share of the attribute's gradient",
        limits=(0, 1),
        apart=False,
        chance=chance,
    )

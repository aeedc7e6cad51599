"""Charts of the geometry: shared directions, curved paths, distances of tangent spaces."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from diffgeo.report.formatting import name, number
from diffgeo.report.page.charts.base import (
    Chart,
    by_time,
    chart,
    colour,
    level,
    line,
    means_by,
    safe,
    series_text,
    strips,
    symbol,
    t_name,
)
from diffgeo.report.reading import Run
from diffgeo.studies.curvedness.settings import PATHS

__all__ = ["curvedness", "dataset_complexity", "global_consistency", "prompts", "tangent_distance"]

KINDS = {
    "time": "along a sample: x and t vary",
    "x_fixed": "x fixed, t varies",
    "t_fixed": "t fixed, x varies",
}
_DISTANCE = "distance / largest possible"


def global_consistency(run: Run) -> list[Chart]:
    """Best matches against chance, held-out matches by method, agreement of edits."""
    table, charts = run.table("global_consistency"), []
    if table is None:
        return []
    null, limit = float(table["null_best_match"].iloc[0]), float(table["null_best_match_95"].iloc[0])
    chance = level(limit, f"95 % of chance: {number(limit, 2)}")
    overlaps = run.table("global_consistency_overlaps")
    if overlaps is not None:
        charts.append(_overlap(overlaps, chance, limit))
    first = table[table["direction"] == 0]
    lines = []
    for method, rows in first.groupby("method", sort=False):
        single = rows.rename(columns={"t_frac": "x", "best_match": "y"})[["x", "y"]]
        lines.append((name(method), means_by(rows["best_match"], rows["t_frac"]), single))
    charts.append(
        by_time(
            "chart-consistency-held-out",
            "The first global direction on samples unseen",
            "How well ū₁, made from the other samples, meets a held-out sample's own directions; dots are held-out "
            "samples, bars 95 % intervals, the dotted line what chance stays below in 95 % of cases.",
            lines,
            "best |cos|, held out",
            range_=(0, 1),
            shapes=[chance],
            more=f"Chance gives {number(null, 2)} on average, and less than {number(limit, 2)} in 95 % of cases.",
        )
    )
    agreement = run.table("global_consistency_agreement")
    if agreement is not None:
        charts.append(_agreement(agreement))
    return charts


def _overlap(overlaps: pd.DataFrame, chance: tuple[dict[str, object], dict[str, object]], limit: float) -> Chart:
    traces, said = [], []
    for i, (t_frac, rows) in enumerate(overlaps.groupby("t_frac", sort=False)):
        mean = rows.groupby(rows["direction"] + 1)["best_match"].mean()
        traces.append(line(mean, t_name(t_frac), i, "u<sub>%{x}</sub>: %{y:.2f}"))
        said.append(f"{t_name(t_frac)}, direction {series_text(mean)}")
    return chart(
        "chart-consistency-overlap",
        "Do two samples share their directions?",
        "The best |cos| of each direction uᵢ with any direction of another sample, mean over pairs; 1 is the same "
        "direction, the dotted line what chance stays below in 95 % of cases.",
        f"Mean best match by direction. {'. '.join(said)}. Chance stays below {number(limit, 2)} in 95 % of cases.",
        traces,
        x={"title": "direction i"},
        y={"title": "best |cos| in another sample", "range": [0, 1]},
        shapes=[chance[0]],
        annotations=[chance[1]],
    )


def _agreement(table: pd.DataFrame) -> Chart:
    """Cosines of two held-out samples' attribute changes, by the same and by different directions."""
    same = table["direction"] == table["other_direction"]
    values = table["cosine"].where(same, table["cosine"].abs())
    lines = []
    for label, chosen in (("the same direction (cos)", same), ("different directions (|cos|)", ~same)):
        rows = table[chosen]
        pairs = values[chosen].groupby([rows["t_frac"], rows["sample"], rows["other"]]).mean().reset_index(name="y")
        lines.append((label, means_by(pairs["y"], pairs["t_frac"]), pairs.rename(columns={"t_frac": "x"})))
    return by_time(
        "chart-consistency-agreement",
        "Does one direction do the same to different samples?",
        "The cosine of two held-out samples' attribute changes; directions mean the same everywhere where the first "
        "line lies above the second. Dots are pairs of samples.",
        [one for one in lines if len(one[1])],
        "cosine of attribute changes",
        range_=(-1, 1),
    )


def curvedness(run: Run) -> list[Chart]:
    """Path lengths, and profiles along the paths, for each pooling."""
    table, segments = run.table("curvedness"), run.table("curvedness_segments")
    charts: list[Chart] = []
    for pool in table["pool"].unique() if table is not None else ():
        assert table is not None
        rows, what = table[table["pool"] == pool], "whole h" if pool == "none" else "pooled h"
        groups = {PATHS.get(p, str(p)): part["length"] for p, part in rows.groupby("path", sort=False)}
        charts.append(
            strips(
                f"chart-curvedness-length-{pool}",
                f"Semantic path length, {what}",
                "How much the tangent space turns along each path between two samples; dots are pairs, diamonds means.",
                groups,
                "semantic path length / rad",
            )
        )
        if segments is not None:
            charts.append(_profile(segments[segments["pool"] == pool], str(pool), what))
    return charts


def _profile(segments: pd.DataFrame, pool: str, what: str) -> Chart:
    traces, said = [], []
    for i, (path, rows) in enumerate(segments.groupby("path", sort=False)):
        mean = rows.groupby("position")["curvedness"].mean()
        label = PATHS.get(str(path), str(path))
        traces.append(line(mean, label, i, "%{x:.2f} of the way: %{y:.3g} rad"))
        said.append(f"{label} at {series_text(mean)}")
    return chart(
        f"chart-curvedness-profile-{pool}",
        f"Curvedness along the paths, {what}",
        "Where on the way the tangent space turns: 0 is the first sample, 1 the second.",
        f"Mean curvedness of a segment in rad, by its position. {'. '.join(said)}.",
        traces,
        x={"title": "position along the path", "range": [0, 1]},
        y={"title": "curvedness of a segment / rad", "rangemode": "tozero"},
    )


def tangent_distance(run: Run) -> list[Chart]:
    """Distances between samples and between timesteps, with the controls."""
    table = run.table("tangent_distance")
    if table is None:
        return []
    charts = []
    between = table[table["kind"] == "sample"]
    if len(between):
        single = between.rename(columns={"t_frac_a": "x", "distance_normalized": "y"})[["x", "y"]]
        charts.append(
            by_time(
                "chart-distance-samples",
                "Between samples",
                "How far apart two samples' tangent spaces lie at one timestep; dots are pairs. Bars resample pairs, "
                "which share samples and so are not independent.",
                [("mean over pairs", means_by(between["distance_normalized"], between["t_frac_a"]), single)],
                _DISTANCE,
                range_=(0, 1),
            )
        )
    lines = []
    for kind, label in KINDS.items():
        rows = table[table["kind"] == kind]
        if len(rows):
            apart = (rows["t_frac_a"] - rows["t_frac_b"]).abs().round(6)
            single = pd.DataFrame({"x": apart, "y": rows["distance_normalized"]})
            lines.append((label, means_by(rows["distance_normalized"], apart), single))
    if lines:
        charts.append(
            by_time(
                "chart-distance-timesteps",
                "Between timesteps",
                "How far a tangent space moves from one timestep to another, and whether the network's timestep or "
                "the latent moves it; dots are pairs.",
                lines,
                _DISTANCE,
                x="|t − s| / T",
                reverse=False,
                range_=(0, 1),
            )
        )
    return charts


def dataset_complexity(run: Run) -> list[Chart]:
    """Distances between samples by t, one line a data set."""
    table = run.table("dataset_complexity")
    if table is None:
        return []
    lines = []
    for model, rows in table.groupby("data_model", sort=False):
        single = rows.rename(columns={"t_frac": "x", "distance_normalized": "y"})[["x", "y"]]
        lines.append((str(model), means_by(rows["distance_normalized"], rows["t_frac"]), single))
    return [
        by_time(
            "chart-complexity",
            "Between samples, by data set",
            "How far apart two samples' tangent spaces lie, for models that differ in how much varies in their data; "
            "dots are pairs.",
            lines,
            _DISTANCE,
            range_=(0, 1),
        )
    ]


def prompts(run: Run) -> list[Chart]:
    """Distance against similarity of prompts, and the mean distance against t."""
    table, summary = run.table("prompts"), run.table("prompts_similarity")
    if table is None:
        return []
    charts = [_similarity(table)]
    if summary is not None:
        lines = []
        for (kind, guidance), rows in summary.groupby(["kind", "guidance"], sort=False):
            means = rows.set_index("t_frac").rename(columns={"distance_normalized": "mean"})
            lines.append((_prompt_line(str(kind), guidance), means[["mean", "low", "high"]], None))
        charts.append(
            by_time(
                "chart-prompts-time",
                "How much the prompt matters, by timestep",
                "The mean distance of all pairs of prompts, with 95 % intervals over samples; it falls where the "
                "prompt matters less.",
                lines,
                _DISTANCE,
                range_=(0, 1),
            )
        )
    return charts


def _prompt_line(kind: str, guidance: Any) -> str:
    return "the same latent, prompts differ" if kind == "fixed" else f"own paths, guidance {guidance:g}"


def _similarity(table: pd.DataFrame) -> Chart:
    """One point a pair of prompts on their own paths, by timestep, mean over samples."""
    chosen = table[(table["kind"] == "path") & (table["guidance"] == table["guidance"].max())]
    traces, said = [], []
    for i, (t_frac, rows) in enumerate(chosen.groupby("t_frac", sort=False)):
        by = rows.groupby(["prompt_a", "prompt_b"])
        x, y = by["similarity"].first(), by["distance_normalized"].mean()
        pairs = [safe(f"{a} / {b}") for a, b in by[["text_a", "text_b"]].first().itertuples(index=False)]
        traces.append(
            go.Scatter(
                x=list(x),
                y=list(y),
                mode="markers",
                name=t_name(t_frac),
                text=pairs,
                marker={"color": colour(i), "symbol": symbol(i), "size": 8},
                hovertemplate="%{text}<br>similarity %{x:.2f}, distance %{y:.2f}<extra></extra>",
            )
        )
        nearest, farthest = y.idxmin(), y.idxmax()
        said.append(
            f"{t_name(t_frac)}: from {number(y[nearest])} at similarity {number(x[nearest])} "
            f"to {number(y[farthest])} at similarity {number(x[farthest])}"
        )
    measure = {"clip": "CLIP"}.get(str(table["similarity_measure"].iloc[0]), name(table["similarity_measure"].iloc[0]))
    return chart(
        "chart-prompts-similarity",
        "Are similar prompts near?",
        "Each point is a pair of prompts, mean over samples, on their own paths at the largest guidance; points that "
        "fall to the right say that similar prompts have near tangent spaces.",
        f"Smallest and largest distance by timestep. {'. '.join(said)}.",
        traces,
        x={"title": f"similarity of the prompts ({measure})"},
        y={"title": _DISTANCE, "range": [0, 1]},
    )

"""Charts of ``prompts``: distances of tangent spaces under pairs of prompts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from diffgeo.report.charts import Chart, Tables, by_time, in_figure, name, number, scatter, t_name

_DISTANCE = "distance / largest possible"
_PICK = "Tangent spaces compared"


def charts(tables: Tables) -> list[Chart]:
    """Distance against similarity of prompts, and the mean distance against t."""
    table, found = tables["prompts"], []
    lines = list(table[["kind", "guidance"]].drop_duplicates().itertuples(index=False, name=None))
    lines.sort(key=lambda line: (line[0] != "path", -line[1]))  # own paths under the strongest guidance first
    for kind, guidance in lines:
        chart = _similarity(table[(table["kind"] == kind) & (table["guidance"] == guidance)], kind, guidance)
        found += in_figure([chart], "similarity", (_PICK, _line(kind, guidance)))
    if "prompts_similarity" in tables:
        means = {
            _line(kind, guidance): rows.rename(columns={"t_frac": "x", "distance_normalized": "mean"})
            for (kind, guidance), rows in tables["prompts_similarity"].groupby(["kind", "guidance"], sort=False)
        }
        chart = by_time(
            "prompts-time",
            "How much the prompt matters, by timestep",
            "The mean distance of all pairs of prompts, with 95 % intervals over samples; it falls if the prompt "
            "matters less.",
            {line: rows[["x", "mean", "low", "high"]] for line, rows in means.items()},
            _DISTANCE,
            limits=(0, 1),
        )
        found += in_figure([chart], "similarity")
    return found


def _line(kind: Any, guidance: Any) -> str:
    return "the same latent, prompts differ" if kind == "fixed" else f"own paths, guidance {guidance:g}"


def _similarity(table: pd.DataFrame, kind: Any, guidance: Any) -> Chart:
    """One point a pair of prompts, by timestep, mean over samples."""
    parts, words = [], []
    for t_frac, rows in table.groupby("t_frac", sort=False):
        pairs = rows.groupby(["prompt_a", "prompt_b"])
        points = pd.DataFrame({"x": pairs["similarity"].first(), "y": pairs["distance_normalized"].mean()})
        points["text"] = (pairs["text_a"].first() + " / " + pairs["text_b"].first()).astype(str)
        parts.append(points.assign(series=t_name(t_frac)))
        ordered = points.sort_values("y")
        near, far = ordered.iloc[0], ordered.iloc[-1]
        words.append(
            f"{t_name(t_frac)}: from {number(near['y'])} at similarity {number(near['x'])} "
            f"to {number(far['y'])} at similarity {number(far['x'])}"
        )
    measure, rank, samples = str(table["similarity_measure"].iloc[0]), table["rank"].iloc[0], table["sample"].nunique()
    return scatter(
        f"prompts-similarity-{kind}-{guidance:g}".replace(".", "-"),
        f"Are similar prompts near? ({_line(kind, guidance)})",
        f"Each point is a pair of prompts (n = {rank}), mean over {samples} samples; "
        "points that fall to the right say that similar prompts have near tangent spaces.",
        f"Smallest and largest distance by timestep. {'. '.join(words)}.",
        pd.concat(parts),
        f"similarity of the prompts ({'CLIP' if measure == 'clip' else name(measure)})",
        _DISTANCE,
        limits=(0, 1),
        text="prompts",
    )

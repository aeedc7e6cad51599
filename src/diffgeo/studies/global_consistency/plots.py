"""Charts of ``global_consistency``: matches of directions between samples, against chance."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.charts import Chart, Tables, by_time, curves, in_figure, name, number, t_name
from diffgeo.report.edit_lengths import length_note
from diffgeo.report.picture_grids import Figure, picture_grid, plain
from diffgeo.results import Result


def charts(tables: Tables) -> list[Chart]:
    """Best matches against chance, held-out matches by method, agreement of edits."""
    table, found = tables["global_consistency"], []
    null, limit = float(table["null_best_match"].iloc[0]), float(table["null_best_match_95"].iloc[0])
    chance = (limit, f"95 % of chance: {number(limit, 2)}")
    if "global_consistency_overlaps" in tables:
        overlaps = tables["global_consistency_overlaps"]
        found.append(
            curves(
                "consistency-overlap",
                "Do two samples share their directions?",
                "The best |cos| of each direction uᵢ with any direction of another sample, mean over pairs; 1 is the "
                "same direction, the dotted line what chance stays below in 95 % of cases.",
                overlaps.assign(number=overlaps["direction"] + 1),
                x=("number", "direction i"),
                y=("best_match", "best |cos| in another sample"),
                by="t_frac",
                label=t_name,
                of="direction",
                band=False,
                limits=(0, 1),
                chance=chance,
            )
        )
    first = table[table["direction"] == 0].rename(columns={"t_frac": "x", "best_match": "y"})
    found.append(
        by_time(
            "consistency-held-out",
            "The first global direction on samples unseen",
            "How well ū₁, made from the other samples, meets a held-out sample's own directions; dots are held-out "
            f"samples, bars 95 % intervals, the dotted line what chance (mean {number(null, 2)}) stays below in 95 % "
            "of cases.",
            {name(method): rows[["x", "y"]] for method, rows in first.groupby("method", sort=False)},
            "best |cos|, held out",
            limits=(0, 1),
            chance=chance,
            more=f"Chance gives {number(null, 2)} on average, and less than {number(limit, 2)} in 95 % of cases.",
        )
    )
    for column, what in (("cosine", "attribute"), ("picture_cosine", "picture")):
        if column in tables.get("global_consistency_agreement", ()):
            found += _agreement(tables["global_consistency_agreement"], column, what)
    return in_figure(found, "overlap")


def _agreement(table: pd.DataFrame, column: str, what: str) -> list[Chart]:
    """Cosines of two held-out samples' changes, by the same and by different directions."""
    same = table["direction"] == table["other_direction"]
    lines = {}
    for label, chosen in (("the same direction", same), ("different directions", ~same)):
        rows = table[chosen]
        pairs = rows[column].groupby([rows["t_frac"], rows["sample"], rows["other"]]).mean()
        if len(pairs):
            lines[label] = pairs.reset_index(name="y").rename(columns={"t_frac": "x"})[["x", "y"]]
    if not lines:
        return []
    chart = by_time(
        f"consistency-agreement-{what}",
        f"Does one direction change the {what}{'s' if what == 'attribute' else ''} of different samples alike?",
        f"The cosine of two held-out samples' {what} changes; directions mean the same everywhere if the first line "
        "lies above the second. Dots are pairs of samples.",
        lines,
        f"cosine of {what} changes",
        limits=(-1, 1),
    )
    return [chart]


def figures(result: Result) -> dict[str, Figure]:
    """Rows: held-out samples; columns: −γ, 0, +γ of every global direction; one figure a timestep."""
    if "edits" not in result.more_tables:
        return {}
    edits, pictures = result.more_tables["edits"], result.tensors["frames"].permute(0, 2, 3, 1).numpy()
    figures = {}
    for t_frac in edits["t_frac"].unique():
        part = edits[edits["t_frac"] == t_frac]
        rows = [
            [pictures[row.frame + j] for row in of.sort_values("direction").itertuples() for j in _ends(row.frames)]
            for _, of in part.groupby("held_out", sort=False)
        ]
        top = [
            f"$\\bar u_{{{k + 1}}}$\n{sign}" if sign == "0" else f"\n{sign}"
            for k in sorted(part["direction"].unique())
            for sign in ("−γ", "0", "+γ")
        ]
        figures[f"edits_{t_frac:g}T"] = picture_grid(
            rows,
            title=f"global directions, held-out samples; t = {t_frac:g} T, γ = {part['gamma'].iloc[0]:.1f}"
            + length_note(part),
            left=[plain(name) for name in part["name"].unique()],
            top=top,
        )
    return figures


def _ends(frames: int) -> tuple[int, int, int]:
    """Places of −γ, 0 and +γ among a traversal's frames."""
    return 0, frames // 2, frames - 1

"""What a run's page shows of the study ``global_consistency``, beside its charts."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffgeo.report.formatting import counted, label, timestep
from diffgeo.report.pictures import Data, Viewer
from diffgeo.report.reading import Frames, Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, T_COLUMN, mean_column, means_of, p_column
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.traversals import BUDGET, SMALL, Strip, choose_quality, strip


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("global_consistency")
    assert table is not None
    keys = ["t_frac", "method", "direction"]
    means = means_of(table, keys, ["best_match", "share"])
    once = table.drop_duplicates(keys)[[*keys, "null_best_match", "p_best_match", "p_share"]]
    means = means.merge(once, on=keys)
    means["direction"] += 1
    columns = [
        T_COLUMN,
        Column("method", "method"),
        Column("direction", "direction"),
        mean_column("best |cos|", "best_match"),
        Column("chance", "null_best_match"),
        p_column("p", "p_best_match"),
        mean_column("share in the tangent space", "share"),
        p_column("p of the share", "p_share"),
        N_COLUMN,
    ]
    return [
        as_table(
            "table-consistency-means", "Global directions on held-out samples", means, columns,
            note=f"{INTERVALS} n counts held-out samples; p is by Monte Carlo, under random subspaces.",
        )
    ]  # fmt: skip


def viewer(run: Run) -> Viewer | None:
    """Pictures under a slider; None if the run left none."""
    data = global_edits(run)
    if data is None:
        return None
    left = data["left_out"]
    note = f"{counted(left, 'further held-out sample')} would not fit into one file; tensors/ has all." if left else ""
    return Viewer("viewer-global", "global", data, note)


def global_edits(run: Run, budget: int = BUDGET // 4) -> Data | None:
    """What the page needs for a slider per global direction, which moves all held-out samples at once."""
    table, pictures = run.table("global_consistency_edits"), run.pictures("global_consistency")
    if table is None or pictures is None:
        return None

    def film(row: Any) -> Frames:
        found: Frames = pictures[int(row["frame"]) : int(row["frame"]) + int(row["frames"])]
        return found

    groups = [part.sort_values("held_out") for _, part in table.groupby(["t", "direction"], sort=False)]
    frames = [film(row) for part in groups for row in part.to_dict("records")]
    quality, fit = choose_quality(frames, budget)
    held_out = table["held_out"].nunique()
    most = max(1, min(held_out, fit * held_out // len(frames)))
    cards: dict[str, list[Data]] = {}
    first: Strip | None = None
    for part in groups:
        items = []
        for row in part.head(most).to_dict("records"):
            encoded = strip(film(row), quality)
            first = first or encoded
            items.append({"name": str(row["name"]), "strip": encoded.uri, "label": label(row.get("label"))})
        gamma, count = float(part["gamma"].iloc[0]), int(part["frames"].iloc[0])
        gammas = [round(x, 4) for x in np.linspace(-gamma, gamma, count).tolist()]
        card = {"direction": int(part["direction"].iloc[0]) + 1, "gammas": gammas, "items": items}
        cards.setdefault(str(part["t"].iloc[0]), []).append(card)
    times = table[["t_frac", "t"]].drop_duplicates()
    assert first is not None
    return {
        "width": first.width,
        "height": first.height,
        "pixelated": first.width <= SMALL,
        "times": [{"t": int(t), "label": timestep(f)} for f, t in times.itertuples(index=False)],
        "left_out": held_out - most,
        "cards": cards,
    }

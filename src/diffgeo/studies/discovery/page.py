"""What a run's page shows of the study ``discovery``, beside its charts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from diffgeo.report.edit_lengths import length_note
from diffgeo.report.formatting import counted, label, name, timestep
from diffgeo.report.pictures import Data, Picture, Viewer
from diffgeo.report.reading import Frames, Run
from diffgeo.report.summaries import T_COLUMN
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.traversals import BUDGET, SMALL, Strip, choose_quality, picture_uri, small_strip, strip

HEADLINE = "Directions in the latent space of"
"""The title of a page with this study, before the model's name."""
_DIRECTIONS = 240
"""Directions that are shown as pictures; beyond that none is."""


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("discovery")
    assert table is not None
    followed = table[table["path_length"].notna()] if "path_length" in table else table
    columns = [
        Column("sample", "name"),
        T_COLUMN,
        Column("direction", "number"),
        Column("σ", "singular_value"),
        Column("automatic label", "label", lambda x: label(x) or "–"),
        Column("low-frequency share of the change", "change_low_share"),
        Column("perceptual length", "path_length"),
        Column("largest step", "largest_step"),
    ]
    rows = followed.assign(number=followed["direction"] + 1)
    note = (
        "Directions with a traversal. A label names the attributes that move most from −γ to +γ, strongest first. The "
        "largest step is the share "
        "of a traversal's perceptual length between two neighbouring frames."
    )
    return [as_table("table-labels", "Automatic labels", rows, columns, note=note, total=len(table))]


def viewer(run: Run) -> Viewer | None:
    """Pictures under a slider; None if the run left none."""
    data = traversals(run)
    if data is None:
        return None
    notes = []
    if data["left_out"]:
        notes.append(f"{counted(data['left_out'], 'further sample')} would not fit into one file; tensors/ has all.")
    if not data["lossless"]:
        notes.append("Pictures are compressed here; tensors/discovery.safetensors has them as they are.")
    if data["attributes"]:
        notes.append(
            "Bars show the predicted change of each attribute from the first picture of a strip (−γ) to the one "
            "that the slider picks; at the last one (+γ) they are what the label names, at the first they are empty."
        )
    return Viewer("viewer-traversals", "traversals", data, " ".join(notes))


def hero(run: Run) -> list[Picture]:
    """The first sample's leading traversals, as strips under the page's title."""
    kept = _kept(run)
    if kept is None:
        return []
    table, directions, pictures = kept
    labels = directions.set_index(["sample", "t", "direction"])["label"]
    shown = []
    for _, part in list(table.groupby(["sample", "t", "direction"], sort=False))[:2]:
        sample, t, direction = part[["sample", "t", "direction"]].iloc[0]
        words = label(labels.get((sample, t, direction)))
        low, high = (f"{abs(g):.1f}" for g in (part["gamma"].iloc[0], part["gamma"].iloc[-1]))
        caption = (
            f"{part['name'].iloc[0]} at {timestep(float(part['t_frac'].iloc[0]))} along direction {direction + 1}, "
            f"γ from −{low} to +{high}{length_note(part)}{f': {words}' if words else ''}"
        )
        encoded = small_strip(pictures[part["frame"]])
        shown.append(Picture(encoded.uri, caption, caption, encoded.width <= SMALL))
    return shown


def _kept(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, Frames] | None:
    """Tables of traversals and of directions, and the frames, if the run left all of them."""
    table, directions, pictures = run.table("discovery_traversals"), run.table("discovery"), run.pictures("discovery")
    if table is None or directions is None or pictures is None or len(pictures) < len(table):
        return None
    return table, directions, pictures


def traversals(run: Run, budget: int = BUDGET) -> Data | None:
    """What the page needs to show the traversals.

    Returns:
        ``width``, ``height``, ``times`` and ``samples`` to pick from, ``attributes`` by name, and ``cards``: for every
        sample and timestep (``"0/999"``), one card per direction with its γ, strip, label, σ and attributes by frame.
        ``left_out`` counts samples that did not fit. None if the run has no frames.
    """
    kept = _kept(run)
    if kept is None:
        return None
    table, directions, pictures = kept
    samples = list(table["sample"].unique())
    groups = dict(iter(table.groupby(["sample", "t", "direction"], sort=False)))
    quality, fit = choose_quality([pictures[part["frame"]] for part in groups.values()], budget)
    per_sample = len(groups) / len(samples)
    shown = samples[: max(1, int(fit / per_sample))]
    facts: dict[Any, Any] = directions.set_index(["sample", "t", "direction"]).to_dict("index")
    attributes = [c.removeprefix("delta_") for c in directions.columns if c.startswith("delta_")]
    cards: dict[str, list[Data]] = {}
    first: Strip | None = None
    for key, part in groups.items():
        sample, t, direction = part[["sample", "t", "direction"]].iloc[0]
        if sample not in shown:
            continue
        encoded = strip(pictures[part["frame"]], quality)
        first = first or encoded
        row = facts[key]
        card = {
            "direction": int(direction) + 1,
            "gammas": [round(g, 4) for g in part["gamma"]],
            "strip": encoded.uri,
            "label": label(row.get("label")),
            "sigma": round(float(row["singular_value"]), 4),
            "values": [[round(v, 3) for v in values] for values in part[attributes].to_numpy().tolist()],
        }
        cards.setdefault(f"{sample}/{t}", []).append(card)
    _add_directions(run, cards)
    times = table[["t_frac", "t"]].drop_duplicates()
    named = table.drop_duplicates("sample").set_index("sample")["name"]
    assert first is not None
    return {
        "width": first.width,
        "height": first.height,
        "pixelated": first.width <= SMALL,
        "lossless": quality.lossless and first.width == pictures.shape[2],
        "times": [{"t": int(t), "label": timestep(f)} for f, t in times.itertuples(index=False)],
        "samples": [{"key": str(s), "name": str(named[s])} for s in shown],
        "left_out": len(samples) - len(shown),
        "attributes": [name(a) for a in attributes],
        "cards": cards,
    }


def _add_directions(run: Run, cards: dict[str, list[Data]]) -> None:
    """The latent directions themselves, as small pictures, where the run kept its bases and they are not too many."""
    if sum(map(len, cards.values())) > _DIRECTIONS:
        return
    for place, of in cards.items():
        sample, t = map(int, place.split("/"))
        found = run.directions("discovery", sample, t, max(card["direction"] for card in of))
        for card in of if found is not None else ():
            assert found is not None
            if card["direction"] <= len(found):
                card["itself"] = picture_uri(found[card["direction"] - 1], side=SMALL)

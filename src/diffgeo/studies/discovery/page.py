"""What a run's page shows of the study ``discovery``, beside its charts."""

from __future__ import annotations

import pandas as pd

from diffgeo.report.formatting import counted, name
from diffgeo.report.pictures import Viewer
from diffgeo.report.reading import Run
from diffgeo.report.summaries import T_COLUMN
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.report.traversals import traversals

__all__ = ["tables", "viewer"]


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
        Column("automatic label", "label", lambda x: "–" if x is None or pd.isna(x) else name(x)),
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

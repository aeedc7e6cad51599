"""How long edits are beside their γ, for titles and captions."""

from __future__ import annotations

import pandas as pd

SAME = 0.01
"""Relative difference up to which ‖x'−x‖ counts as |γ|."""


def length_note(edits: pd.DataFrame) -> str:
    """What a title adds after γ: whether edits are normalised, and ‖x'−x‖ / |γ| if it is not 1.

    Args:
        edits: rows with ``gamma``, and ``x_change`` and ``edit_normalise`` if the run has recorded them.

    Returns:
        Empty for edits of length |γ| without normalisation.
    """
    moved = edits[edits["gamma"] != 0]
    note = ", normalised" if "edit_normalise" in edits and bool(edits["edit_normalise"].any()) else ""
    if "x_change" not in edits or moved.empty:
        return note
    ratio = float((moved["x_change"] / moved["gamma"].abs()).mean())
    return note if abs(ratio - 1) <= SAME else f"{note}, ‖x' − x‖ = {ratio:.2g} |γ|"

"""Edits that drive colours to their limits: what a log and a page warn of.

A picture of which many colour values lie at −1 or 1 has lost what it showed there, so that no attribute that is read
off it afterwards can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

SATURATED = 0.05
"""Share of colour values at their limits, beyond the unedited picture's, above which edits are warned of."""
ADVICE = "Lower edit.strength, or take edit.rescale=true or edit.normalise=false"


def saturation(tables: Iterable[pd.DataFrame]) -> str:
    """How many colour values a study's edits drive to their limits, by timestep.

    Args:
        tables: of the study; those with the columns ``clipped_change``, ``gamma`` and ``t_frac`` count.

    Returns:
        ``53 % at T, 17 % at 0.75 T``: means over the edits of a table, the largest of several tables; empty if all stay
        at or below :data:`SATURATED`.

    Example:
        >>> saturation([pd.DataFrame({"t_frac": [1.0, 1.0], "gamma": [0.0, 2.0], "clipped_change": [0.0, 0.5]})])
        '50 % at T'
    """
    found: dict[Any, float] = {}
    for table in tables:
        if {"clipped_change", "gamma", "t_frac"} <= set(table.columns):
            edited = table[table["gamma"] != 0]
            for t_frac, part in edited.groupby("t_frac", sort=False):
                share = float(part["clipped_change"].mean())
                if share > SATURATED:
                    found[t_frac] = max(share, found.get(t_frac, 0.0))
    parts = ((share, "T" if t_frac == 1 else f"{t_frac:g} T") for t_frac, share in found.items())
    return ", ".join(f"{100 * share:.0f} % at {t}" for share, t in parts)

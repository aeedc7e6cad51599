"""Where the x_t of a spectrum come from: the sampler's own paths, or known pictures with noise."""

from __future__ import annotations

import pandas as pd


def of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows whose x_t is of this kind; runs of earlier versions have paths alone."""
    return table[table.get("kind", pd.Series("path", table.index)) == kind]

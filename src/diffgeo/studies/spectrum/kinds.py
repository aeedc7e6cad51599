"""Where the x_t of a spectrum come from: the sampler's own paths, or known pictures with noise."""

from __future__ import annotations

import pandas as pd


def of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows whose x_t is of this kind."""
    return table[table["kind"] == kind]

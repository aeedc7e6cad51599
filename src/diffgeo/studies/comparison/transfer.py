"""Whether an edit's success carries over to the next sample, as every table, rank, finding and claim counts it."""

from __future__ import annotations

import pandas as pd


def transferred(table: pd.DataFrame) -> pd.Series[float]:
    """1 for an edit that succeeds at its own sample and at the next, 0 for another, NaN where there is no next sample.

    An edit that fails has nothing to carry over; to leave it out would compare methods on the few that succeed.

    Args:
        table: ``comparison``, with ``transfer_success`` (NaN unless the edit is a local success) and ``transfer`` (NaN
            unless its direction was tried on the next sample).
    """
    found: pd.Series[float] = table["transfer_success"].fillna(0.0).where(table["transfer"].notna())
    return found

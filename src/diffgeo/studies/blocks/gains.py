"""What edits along a block's directions gain over edits along random ones."""

from __future__ import annotations

import numpy as np
import pandas as pd


def gains(edits: pd.DataFrame) -> pd.DataFrame:
    """The mean log precision of a sample's edits along a block's directions, less that along random ones.

    Args:
        edits: table ``blocks_edits``.

    Returns:
        Columns ``sample``, ``t_frac``, ``block`` and ``gain``; above 0 is more precise than random.
    """
    keys = [edits[column] for column in ("sample", "t_frac", "block")]
    wide = np.log(edits["precision"].clip(lower=1e-8)).groupby(keys, sort=False).mean().unstack("block")
    gained: pd.DataFrame = wide.drop(columns="random").sub(wide["random"], axis=0).stack().rename("gain").reset_index()
    return gained

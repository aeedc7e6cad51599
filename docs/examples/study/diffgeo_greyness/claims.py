"""What is claimed of ``greyness``, and how it is measured: one value per sample, which a sign test can judge."""

from __future__ import annotations

import numpy as np

from diffgeo.claims import Claim, Tables

__all__ = ["CLAIMS"]


def _above_random(tables: Tables) -> np.ndarray:
    table = tables["greyness"]
    return (table["greyness"] - table["random"]).groupby(table["sample"]).mean().to_numpy()


CLAIMS = (
    Claim(
        source="Greyness",
        experiment="greyness",
        quantity="directions are greyer than random ones by",
        published="claim",
        measure=_above_random,
    ),
)

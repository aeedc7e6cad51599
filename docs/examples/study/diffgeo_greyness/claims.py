"""What is claimed of ``greyness``, and how it is measured: one value per sample, positive if it is true."""

from __future__ import annotations

import numpy as np

from diffgeo.claims import Claim, Tables


def _above_random(tables: Tables) -> np.ndarray:
    table = tables["greyness"]
    return (table["greyness"] - table["random"]).groupby(table["sample"]).mean().to_numpy()


CLAIMS = (
    Claim(
        source="Greyness",
        experiment="greyness",
        quantity="directions are greyer than random ones by",
        measure=_above_random,
        asserts="Local directions hold less colour than random ones.",
        because="Greyness of the v_i less that of random directions of the same sample.",
        refuted="Local directions are more colourful.",
    ),
)

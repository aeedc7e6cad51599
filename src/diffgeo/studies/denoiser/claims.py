"""What ``denoiser`` can say of LOCO Edit's claims (arXiv 2409.02374)."""

from __future__ import annotations

import numpy as np

from diffgeo.claims import Claim, Tables, Values

__all__ = ["CLAIMS"]

PUBLISHED = 0.96
"""Cosine of x̂0(x + λv) and its linear prediction up to λ = 40 on CelebA-HQ, which is 0.09 √d."""


def _linear(tables: Tables) -> Values:
    """Mean cosine over directions and signs at the longest step less the published one, one per sample."""
    table = tables["denoiser_linearity"]
    longest = table[table["lambda_share"].abs() == table["lambda_share"].abs().max()]
    return np.asarray(longest.groupby("sample")["cosine"].mean() - PUBLISHED)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "LOCO linearity",
        "loco/linearity",
        f"cosine of x̂0(x + λv) and x̂0(x) + λJv at 0.6T, above the {PUBLISHED} of CelebA-HQ by",
        _linear,
        asserts="The predicted picture is nearly linear in x along the leading directions: cosines of about 0.96 and "
        "more to λ = 40 at 0.6T.",
        because="The same quantity at the same length relative to √d, 0.09, for the leading three directions, both "
        "ways.",
        refuted="Cosines stay below 0.96.",
    ),
)

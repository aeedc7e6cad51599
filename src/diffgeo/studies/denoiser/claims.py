"""What ``denoiser`` can say of LOCO Edit's claims (arXiv 2409.02374)."""

from __future__ import annotations

import numpy as np

from diffgeo.claims import Claim, Tables, Values, no_test

PUBLISHED = 0.96
"""Cosine of x̂0(x + λv) and its linear prediction up to λ = 40 on CelebA-HQ, which is 0.09 √d."""


def _linear(tables: Tables) -> Values:
    """Mean cosine over directions and signs at the longest step, one per sample."""
    table = tables["denoiser_linearity"]
    longest = table[table["lambda_share"].abs() == table["lambda_share"].abs().max()]
    return np.asarray(longest.groupby("sample")["cosine"].mean())


def _error(tables: Tables) -> Values:
    """Mean error of the predicted change at the longest step, as a share of the change, one per sample."""
    table = tables["denoiser_linearity"]
    longest = table[table["lambda_share"].abs() == table["lambda_share"].abs().max()]
    return np.asarray(longest.groupby("sample")["change_error"].mean())


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "LOCO linearity",
        "loco/linearity",
        "cosine of x̂0(x + λv) and x̂0(x) + λJv at 0.6T, λ = 0.09 √d",
        _linear,
        role="value",
        published=f"{PUBLISHED} and more",
        interval=(PUBLISHED, 1.0),
    ),
    Claim(
        "LOCO linearity",
        "loco/linearity",
        "error of the predicted change λJv there, as a share of it (a cosine of whole pictures is near 1 by itself)",
        _error,
        role="second",
        test=no_test,
    ),
)

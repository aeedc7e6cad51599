"""The papers' claims that ``ablation`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffgeo.claims import Claim, Tables, Values

__all__ = ["CLAIMS"]


def _against_local(variant: str, column: str, sign: int) -> Callable[[Tables], Values]:
    """± (variant − local) of a column at equal perceptual change, one a sample, where both were matched.

    Ratios (``precision``) are compared by their logarithm.
    """

    def measure(tables: Tables) -> Values:
        table = tables["ablation"]
        wide = table[table["matched"]].pivot_table(index=["sample", "direction"], columns="variant", values=column)
        wide = wide.apply(np.log) if column == "precision" else wide
        return np.asarray(sign * (wide[variant] - wide["local"]).groupby("sample").mean())

    return measure


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 9",
        "p23a/fig9",
        "log precision of local above random directions by",
        "claim",
        _against_local("random", "precision", -1),
    ),
    Claim(
        "P23a Fig. 9",
        "p23a/fig9",
        "colours at the limit, random above local directions by",
        "claim",
        _against_local("random", "clipped_change", 1),
    ),
    Claim(
        "P23a Fig. 10",
        "p23a/fig10",
        "chroma without above with the normalisation by",
        "claim",
        _against_local("no_normalisation", "chroma_change", 1),
    ),
    Claim(
        "P23a Fig. 10",
        "p23a/fig10",
        "colours at the limit without above with the normalisation by",
        "claim",
        _against_local("no_normalisation", "clipped_change", 1),
    ),
    Claim(
        "P23a Fig. 11",
        "p23a/fig11",
        "log precision of local directions above PCA of h by",
        "claim",
        _against_local("pca_h", "precision", -1),
    ),
    Claim(
        "P23a Fig. 12",
        "p23a/fig12",
        "log precision of ∂h/∂x above ∂x̂0/∂x by",
        "claim",
        _against_local("x0", "precision", -1),
    ),
    Claim(
        "P23a Fig. 12",
        "p23a/fig12",
        "log precision of ∂h/∂x above ∂ε/∂x by",
        "claim",
        _against_local("eps", "precision", -1),
    ),
)

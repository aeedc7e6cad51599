"""The papers' claims that ``ablation`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffgeo.claims import Claim, Role, Tables, Values

__all__ = ["CLAIMS"]

CHANGE, LENGTH = "ablation", "ablation_equal_length"
"""Tables: edits of equal perceptual change; edits of equal length ‖x'−x‖."""


def _over_local(variant: str, column: str, table: str = CHANGE) -> Callable[[Tables], Values]:
    """Variant − local of a column, one per sample: the mean over all directions, however well they were matched.

    To leave out edits that did not reach the wanted change would choose among them by what is compared. An edit that
    falls short does less damage, so that counting it speaks against the claim. Ratios (``precision``) are compared by
    their logarithm.
    """

    def measure(tables: Tables) -> Values:
        wide = tables[table].pivot_table(index=["sample", "direction"], columns="variant", values=column)
        wide = wide.apply(np.log) if column == "precision" else wide
        return np.asarray((wide[variant] - wide["local"]).groupby("sample").mean())

    return measure


def _purer(variant: str) -> Callable[[Tables], Values]:
    """Log precision of local directions less that of the variant."""
    return lambda tables: -_over_local(variant, "precision")(tables)


def _unmatched(tables: Tables) -> str:
    """How many edits are not at the wanted change."""
    missed = int((~tables[CHANGE]["matched"]).sum())
    return f"{missed} of {len(tables[CHANGE])} edits missed the wanted change" if missed else ""


def _claim(
    source: str,
    quantity: str,
    measure: Callable[[Tables], Values],
    *words: str,
    role: Role = "claim",
) -> Claim:
    experiment = f"p23a/fig{source.rpartition(' ')[2]}"
    asserts, because, refuted = words or ("", "", "")
    remark = (lambda _: "") if "equal length" in quantity else _unmatched
    return Claim(source, experiment, quantity, measure, asserts, because, refuted, role=role, remark=remark)


RESIDUAL = (
    "The residual is how badly the network denoises the picture after a little noise (0.1T): it grows as a picture "
    "leaves the data that the network knows, and needs no factors."
)

CLAIMS: tuple[Claim, ...] = (
    _claim(
        "P23a Fig. 9",
        "denoising residual of edits of equal length, random above local directions by",
        _over_local("random", "residual_change", LENGTH),
        "Random directions of the same length damage the picture.",
        f"Lengths as the figure has them: ‖x'−x‖ of the local edits. {RESIDUAL}",
        "Local directions of the same length raise the residual more.",
    ),
    _claim(
        "P23a Fig. 9",
        "denoising residual at equal perceptual change, random above local directions by",
        _over_local("random", "residual_change"),
        "Random directions damage the picture, also where they change it as much as local ones.",
        f"Equal change leaves strength out of the comparison. {RESIDUAL}",
        "Local directions raise the residual more at equal change.",
    ),
    _claim(
        "P23a Fig. 9",
        "distance from the data at equal perceptual change, random above local directions by",
        _over_local("random", "off_data"),
        role="second",
    ),
    _claim("P23a Fig. 9", "log precision of local above random directions by", _purer("random"), role="second"),
    _claim(
        "P23a Fig. 9",
        "colours at the limit, random above local directions by",
        _over_local("random", "clipped_change"),
        role="second",
    ),
    _claim(
        "P23a Fig. 10",
        "colours at the limit of edits of equal length, decoded without clipping, without above with the "
        "normalisation by",
        _over_local("no_normalisation", "clipped_change", LENGTH),
        "Without the distortion normalisation edits over-saturate.",
        "Share of values beyond the limits, edited less unedited; clipping x̂0 while decoding would hide it, and equal "
        "length leaves out that the normalisation rescales the step.",
        "Edits with the normalisation drive more colours to their limits.",
    ),
    _claim(
        "P23a Fig. 10",
        "chroma of edits of equal length, decoded without clipping, without above with the normalisation by",
        _over_local("no_normalisation", "chroma_change", LENGTH),
        role="second",
    ),
    _claim(
        "P23a Fig. 10",
        "colours at the limit at equal perceptual change, without above with the normalisation by",
        _over_local("no_normalisation", "clipped_change"),
        role="second",
    ),
    _claim(
        "P23a Fig. 11",
        "denoising residual at equal perceptual change, PCA of h above local directions by",
        _over_local("pca_h_gradient", "residual_change"),
        "Principal components of h (GANSpace) distort the picture …",
        f"Components pulled back by Jᵀ as they are: projected to the tangent space first, they would be made of local "
        f"directions. {RESIDUAL}",
        "Local directions raise the residual more.",
    ),
    _claim(
        "P23a Fig. 11",
        "log precision of local directions above PCA of h by",
        _purer("pca_h_gradient"),
        "… or entangle attributes.",
        "Change of the attribute that moves most over the mean change of the others, in logarithms.",
        "Components of h change attributes more purely.",
    ),
    _claim(
        "P23a Fig. 11",
        "log precision of local directions above PCA of h, projected to the tangent space, by",
        _purer("pca_h"),
        role="second",
    ),
    *(
        claim
        for variant, name in (("x0", "∂x̂0/∂x"), ("eps", "∂ε/∂x"))
        for claim in (
            _claim(
                "P23a Fig. 12",
                f"log precision of ∂h/∂x above {name} by",
                _purer(variant),
                "Directions of h edit better than those of the network's output (the figure could not be read; this is "
                "what the text compares).",
                "Purity: change of the attribute that moves most over the mean change of the others, in logarithms.",
                f"Directions of {name} change attributes more purely.",
            ),
            _claim(
                "P23a Fig. 12",
                f"denoising residual at equal perceptual change, {name} above ∂h/∂x by",
                _over_local(variant, "residual_change"),
                "The same of damage: directions of the output leave the data.",
                RESIDUAL,
                "Directions of h raise the residual more.",
            ),
        )
    ),
)

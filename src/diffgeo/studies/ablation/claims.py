"""The papers' claims that ``ablation`` can answer, and how each is measured.

A row is a difference between two variants' edits of the same sample, at equal perceptual change unless it says
otherwise. All edits count, however well they were matched: to leave some out would choose among edits by what is
compared. How many missed the wanted change is told beside the number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from diffgeo.claims import Claim, Tables, Values, at_time

__all__ = ["CLAIMS"]

CHANGE, LENGTH, TIMES = "ablation", "ablation_equal_length", "ablation_times"
"""Tables: edits of equal perceptual change; edits of equal length ‖x'−x‖; those of equal change at several t."""
NAMES = {
    "local": "local",
    "random": "random",
    "no_normalisation": "plain",
    "pca_h_gradient": "PCA of h",
    "pca_h": "PCA of h in the tangent space",
    "x0": "∂x̂0/∂x",
    "eps": "∂ε/∂x",
}


def _edits(tables: Tables, table: str, t_frac: float | None = None) -> pd.DataFrame:
    """The rows of a table; those at one timestep if a fraction of T is given."""
    return tables[table] if t_frac is None else at_time(tables[table], t_frac)


def _difference(
    first: str, second: str, column: str, table: str = CHANGE, t_frac: float | None = None
) -> Callable[[Tables], Values]:
    """A column of one variant less that of another, mean over directions, one per sample; precision in logarithms."""

    def measure(tables: Tables) -> Values:
        edits = _edits(tables, table, t_frac)
        wide = edits.pivot_table(index=["sample", "direction"], columns="variant", values=column)
        wide = wide.apply(np.log) if column == "precision" else wide
        return np.asarray((wide[first] - wide[second]).groupby("sample").mean())

    return measure


def _unmatched(*variants: str, table: str = CHANGE, t_frac: float | None = None) -> Callable[[Tables], str]:
    """How many edits of these variants are not at the wanted change."""

    def remark(tables: Tables) -> str:
        edits = _edits(tables, table, t_frac).query("variant in @variants", local_dict={"variants": variants})
        missed = int((~edits["matched"]).sum())
        return f"{missed} of {len(edits)} edits missed the wanted change" if missed else ""

    return remark


def _claim(figure: int, what: str, column: str, first: str, second: str, *, asserts: str = "", **words: str) -> Claim:
    """A row about two variants; a second measure if it asserts nothing."""
    return Claim(
        f"P23a Fig. {figure}",
        f"p23a/fig{figure}",
        f"{what}, {NAMES[first]} − {NAMES[second]}, at equal change",
        _difference(first, second, column),
        asserts,
        **words,  # type: ignore[arg-type]
        role="claim" if asserts else "second",
        remark=_unmatched(first, second),
    )


def _of_length(
    figure: int, what: str, column: str, first: str, second: str, *, asserts: str = "", **words: str
) -> Claim:
    """The same for edits of equal length."""
    return Claim(
        f"P23a Fig. {figure}",
        f"p23a/fig{figure}",
        f"{what}, {NAMES[first]} − {'normalised' if first == 'no_normalisation' else NAMES[second]}, at equal length",
        _difference(first, second, column, LENGTH),
        asserts,
        **words,  # type: ignore[arg-type]
        role="claim" if asserts else "second",
    )


def _at(t_frac: float, what: str, column: str, first: str, second: str, *, asserts: str = "", **words: str) -> Claim:
    """A row about two variants at one of several timesteps; a second measure if it asserts nothing."""
    return Claim(
        "P23a Fig. 12 by t",
        "p23a/fig12",
        f"{what} at {t_frac:g}T, {NAMES[first]} − {NAMES[second]}, at equal change",
        _difference(first, second, column, TIMES, t_frac),
        asserts,
        **words,  # type: ignore[arg-type]
        role="claim" if asserts else "second",
        remark=_unmatched(first, second, table=TIMES, t_frac=t_frac),
    )


RESIDUAL = (
    "The residual is how badly the network denoises the picture after a little noise (0.1T): it grows as a picture "
    "leaves the data that the network knows, and needs no factors."
)
PURITY = "Change of the attribute that moves most over the mean change of the others, in logarithms."

CLAIMS: tuple[Claim, ...] = (
    _of_length(
        9,
        "denoising residual",
        "residual_change",
        "random",
        "local",
        asserts="Random directions of the same length damage the picture.",
        because=f"Lengths as the figure has them: ‖x'−x‖ of the local edits. {RESIDUAL}",
        refuted="Local directions of the same length raise the residual more.",
    ),
    _claim(
        9,
        "denoising residual",
        "residual_change",
        "random",
        "local",
        asserts="Random directions damage the picture, also if they change it as much as local ones.",
        because=f"Equal perceptual change leaves strength out of the comparison. {RESIDUAL}",
        refuted="Local directions raise the residual more at equal change.",
    ),
    _claim(9, "distance from the data", "off_data", "random", "local"),
    _claim(9, "log precision", "precision", "local", "random"),
    _claim(9, "colours at the limit", "clipped_change", "random", "local"),
    _of_length(9, "distance from the data", "off_data", "random", "local"),
    _claim(9, "high-frequency power", "noise_change", "random", "local"),
    _of_length(
        10,
        "colours at the limit, decoded without clipping",
        "clipped_change",
        "no_normalisation",
        "local",
        asserts="Without the distortion normalisation edits over-saturate.",
        because="Share of values beyond the limits, edited less unedited. Clipping x̂0 while decoding would hide "
        "saturation, and equal length leaves out that the normalisation rescales the step.",
        refuted="Edits with the normalisation drive more colours to their limits.",
    ),
    _of_length(10, "chroma, decoded without clipping", "chroma_change", "no_normalisation", "local"),
    _claim(10, "colours at the limit", "clipped_change", "no_normalisation", "local"),
    _claim(
        11,
        "denoising residual",
        "residual_change",
        "pca_h_gradient",
        "local",
        asserts="Principal components of h (GANSpace) distort the picture …",
        because="Components pulled back by Jᵀ as they are: projected to the tangent space first, they would be made of "
        f"local directions. {RESIDUAL}",
        refuted="Local directions raise the residual more.",
    ),
    _claim(
        11,
        "log precision",
        "precision",
        "local",
        "pca_h_gradient",
        asserts="… or entangle attributes.",
        because=PURITY,
        refuted="Components of h change attributes more purely.",
    ),
    _claim(11, "distance from the data", "off_data", "pca_h_gradient", "local"),
    _claim(11, "log precision", "precision", "local", "pca_h"),
    *(
        claim
        for variant in ("x0", "eps")
        for claim in (
            _claim(
                12,
                "log precision",
                "precision",
                "local",
                variant,
                asserts=f"Directions of h edit better than those of {NAMES[variant]} (the figure could not be read; "
                "this is what the text compares).",
                because=PURITY,
                refuted=f"Directions of {NAMES[variant]} change attributes more purely.",
            ),
            _claim(12, "denoising residual", "residual_change", variant, "local"),
            _claim(12, "distance from the data", "off_data", variant, "local"),
        )
    ),
    *(
        claim
        for variant in ("x0", "eps")
        for t_frac in (0.5, 0.25)
        for claim in (
            _at(
                t_frac,
                "log precision",
                "precision",
                "local",
                variant,
                asserts=f"Directions of h edit better than those of {NAMES[variant]} at {t_frac:g}T, too.",
                because=f"{PURITY} The paper edits at several t, and the tangent space of the data tells that the maps "
                "change places between T and the picture.",
                refuted=f"Directions of {NAMES[variant]} change attributes more purely there.",
            ),
            _at(t_frac, "distance from the data", "off_data", variant, "local"),
        )
    ),
)

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

CHANGE, LENGTH, TIMES = "ablation", "ablation_equal_length", "ablation_times"
"""Tables: edits of equal perceptual change; edits of equal length ‖x'−x‖; those of equal change at several t."""
NAMES = {
    "local": "local",
    "random": "random",
    "no_normalisation": "plain",
    "random_no_normalisation": "plain random",
    "pca_h_gradient": "PCA of h",
    "pca_h": "PCA of h in the tangent space",
    "x0": "∂x̂0/∂x",
    "eps": "∂ε/∂x",
}
PLAIN = {"no_normalisation": "local", "random_no_normalisation": "random"}
"""Variants whose edits are x + γv and nothing else; where no edits are normalised, the others themselves."""


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


def _random_less_local(column: str, table: str, *, normalised: bool) -> Callable[[Tables], Values]:
    """Edits along random directions less those along local ones, all with the normalisation or all without it."""

    def measure(tables: Tables) -> Values:
        edits = tables[table]
        edits = edits[edits["normalised"] == normalised]
        return _difference("random", "local", column, table)({table: edits.replace({"variant": PLAIN})})

    return measure


def _of_spread(column: str, unedited: str) -> Callable[[Tables], Values]:
    """Edits of equal length without the normalisation less those with it, over the unedited pictures' spread."""

    def measure(tables: Tables) -> Values:
        spread = tables[LENGTH].groupby("sample")[unedited].first().std()
        return _difference("no_normalisation", "local", column, LENGTH)(tables) / spread

    return measure


def _moves(tables: Tables) -> str:
    """How much of the moves of normalised random and local edits of equal length lies along their directions."""
    edits = tables[LENGTH]
    means = edits[edits["normalised"]].groupby("variant")["cosine"].mean()
    return f"cosine of the move with its direction {means['random']:.2f}, local {means['local']:.2f}"


def _unmatched(
    *variants: str, table: str = CHANGE, t_frac: float | None = None, normalised: bool | None = None
) -> Callable[[Tables], str]:
    """How many edits of these variants, with the normalisation, without it or of either kind, missed the change."""

    def remark(tables: Tables) -> str:
        edits = _edits(tables, table, t_frac).query("variant in @variants", local_dict={"variants": variants})
        edits = edits if normalised is None else edits[edits["normalised"] == normalised]
        missed = int((~edits["matched"]).sum())
        return f"{missed} of {len(edits)} edits missed the wanted change" if missed else ""

    return remark


def _remark(table: str, *, normalised: bool) -> Callable[[Tables], str]:
    """What to know of random and local edits: which missed the change, or of equal length where they went."""
    if table == CHANGE:
        return _unmatched("random", "local", *PLAIN, normalised=normalised)
    return _moves if normalised else lambda _: ""


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
OFF = "Distance to the nearest picture that the renderer can make, by its factors: exact, where the data are known."
PURITY = "Change of the attribute that moves most over the mean change of the others, in logarithms."

CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            "P23a Fig. 9",
            "p23a/fig9",
            f"{what}, random − local, {how}at equal {'length' if table == LENGTH else 'change'}",
            _random_less_local(column, table, normalised=normalised),
            asserts=f"Random directions {of_what} damage the picture{'' if normalised else ' by themselves'}.",
            because=f"{why} {told}",
            refuted="Local directions damage it more.",
            remark=_remark(table, normalised=normalised),
        )
        for normalised, how, why in (
            (True, "", "Edits with the distortion normalisation, as the paper makes them."),
            (
                False,
                "without the normalisation, ",
                "The normalisation moves x on its own account, and of a random step it leaves little: x + γv alone "
                "tells what the direction does.",
            ),
        )
        for table, of_what in ((LENGTH, "of the same length"), (CHANGE, "that change the picture as much"))
        for what, column, told in (
            ("denoising residual", "residual_change", RESIDUAL),
            ("distance from the data", "off_data", OFF),
        )
    ),
    _claim(9, "log precision", "precision", "local", "random"),
    _claim(9, "colours at the limit", "clipped_change", "random", "local"),
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
    *(
        Claim(
            "P23a Fig. 10",
            "p23a/fig10",
            f"{what} of the picture over its spread among unedited pictures, plain − normalised, at equal length",
            _of_spread(f"{column}_change", f"{column}_unedited"),
            asserts=f"Without the distortion normalisation edits raise the {word}.",
            because=f"Change of the {what}, decoded without clipping, over the standard deviation that it has among "
            "the unedited samples.",
            refuted=f"Edits with the normalisation raise the {word} more.",
        )
        for what, word, column in (("mean chroma", "saturation", "chroma"), ("contrast", "contrast", "contrast"))
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
    _claim(
        11,
        "distance from the data",
        "off_data",
        "pca_h_gradient",
        "local",
        asserts="Principal components of h (GANSpace) distort the picture.",
        because=OFF,
        refuted="Local directions lead farther from the data.",
    ),
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
            _claim(
                12,
                "distance from the data",
                "off_data",
                variant,
                "local",
                asserts=f"Directions of {NAMES[variant]} lead farther from the data than those of h.",
                because=OFF,
                refuted="Directions of h lead farther from the data.",
            ),
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
            _at(
                t_frac,
                "distance from the data",
                "off_data",
                variant,
                "local",
                asserts=f"Directions of {NAMES[variant]} lead farther from the data than those of h at {t_frac:g}T.",
                because=OFF,
                refuted="Directions of h lead farther from the data there.",
            ),
        )
    ),
)

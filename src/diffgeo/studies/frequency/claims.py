"""The papers' claims that ``frequency`` can answer, and how each is measured."""

from __future__ import annotations

from diffgeo.claims import Claim, Tables, Values, first_last


def _low_share_falls(tables: Tables) -> Values:
    table = tables["frequency"]
    return -first_last(table[table["radius"] == 0], "sample", "t_frac", "low_share")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 5b",
        "p23a/fig5b",
        "low-frequency share of directions falls from T by",
        _low_share_falls,
        asserts="Directions at T hold low spatial frequencies, directions nearer the picture higher ones.",
        because="The figure shows the power spectrum of the v_i at several t; its share below a quarter of Nyquist, "
        "mean over the n directions, is that spectrum in one number.",
        refuted="The share grows from T to the lowest t.",
    ),
)

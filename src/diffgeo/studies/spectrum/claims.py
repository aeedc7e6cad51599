"""The papers' claims that ``spectrum`` can answer, and how each is measured."""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

from diffgeo.claims import Claim, Tables, Values, first_last
from diffgeo.studies.spectrum.kinds import of_kind

TIMES = 10
"""Timesteps that a trend over t needs."""


def _half_energy_rises(tables: Tables, kind: str = "path") -> Values:
    """− Kendall's τ_b of t and the number of directions that hold half of ‖J‖², one per sample."""
    table = of_kind(tables["spectrum"], kind)
    if table["half_energy_rank"].isna().all():
        return np.array([])
    ranks = table["half_energy_rank"].fillna(np.inf)  # more than were computed
    parts = [part for _, part in table.assign(ranks=ranks).groupby("sample") if part["t_frac"].nunique() >= TIMES]
    trends: Values = np.array([-kendalltau(part["t_frac"], part["ranks"]).statistic for part in parts], dtype=float)
    return np.where(np.isnan(trends), 0.0, trends)  # equal at every t


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 3b",
        "p23a/fig3b",
        "rank trend (− Kendall's τ) over t of the directions that hold half of ‖J‖²",
        _half_energy_rises,
        asserts="The singular spectrum of J grows flatter from noise (T) to the picture (0).",
        because="P23a counts directions up to half of the spectrum (25 at T, 100 near 0): a number of the whole J, "
        "which depends on no n of ours. The trend is over ten or more timesteps down to 0.02T on the "
        "sampler's own path, as the figure shows a development and not two ends.",
        refuted="A trend that is negative on average: fewer directions hold half of ‖J‖² towards the picture.",
    ),
    Claim(
        "P23a Fig. 3b",
        "p23a/fig3b",
        "effective dimension of the leading n, lowest t minus T",
        lambda tables: first_last(of_kind(tables["spectrum"], "path"), "sample", "t_frac", "effective_dimension"),
        role="second",
    ),
    Claim(
        "P23a Fig. 3b",
        "p23a/fig3b",
        "the same rank trend at known pictures with noise, off the sampler's path",
        lambda tables: _half_energy_rises(tables, "noised"),
        role="second",
    ),
)

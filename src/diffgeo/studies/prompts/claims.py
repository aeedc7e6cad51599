"""The papers' claims that ``prompts`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from diffgeo.claims import Claim, Tables, Values, first_last

__all__ = ["CLAIMS"]


def _alike_near(tables: Tables) -> Values:
    """− Spearman's ρ of the prompts' similarity and the distance along their own paths, mean over t, one a sample."""
    table = tables["prompts"]
    rows = table[(table["kind"] == "path") & (table["guidance"] == table["guidance"].max())]
    rho = [
        (sample, -spearmanr(part["similarity"], part["distance"]).statistic)
        for (sample, _), part in rows.groupby(["sample", "t_frac"])
    ]
    return np.asarray(pd.DataFrame(rho, columns=["sample", "rho"]).groupby("sample")["rho"].mean())


def _prompt_fades(kind: str) -> Callable[[Tables], Values]:
    """Distance between prompts at T minus at the lowest timestep, mean over pairs, one a sample."""

    def measure(tables: Tables) -> Values:
        table = tables["prompts"]
        rows = table[(table["kind"] == kind) & (table["guidance"] == table["guidance"].max())]
        mean = rows.groupby(["sample", "t_frac"], as_index=False)["distance"].mean()
        return -first_last(mean, "sample", "t_frac", "distance")

    return measure


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "rank correlation of the prompts' similarity and nearness of tangent spaces, mean over t",
        "claim",
        _alike_near,
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "distance between prompts on their own paths falls from T to the lowest t by / rad",
        "claim",
        _prompt_fades("path"),
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "the same at one x_t / rad",
        "control",
        _prompt_fades("fixed"),
    ),
)

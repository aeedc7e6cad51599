"""The papers' claims that ``prompts`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from diffgeo.claims import Claim, Tables, Values, first_last
from diffgeo.metrics.statistics import centred_ranks, mantel_test


def _alike_near(column: str) -> Callable[[Tables], Values]:
    """− Spearman's ρ of the prompts' likeness and the distance along their own paths, mean over t, one per sample.

    Captions that say nothing have nothing in common: their likeness is 0.
    """

    def measure(tables: Tables) -> Values:
        table = tables["prompts"].fillna({column: 0.0})
        rows = table[(table["kind"] == "path") & (table["guidance"] == table["guidance"].max())]
        rho = [
            (sample, -spearmanr(part[column], part["distance"]).statistic)
            for (sample, _), part in rows.groupby(["sample", "t_frac"])
            if part[column].nunique() > 1
        ]
        return np.asarray(pd.DataFrame(rho, columns=["sample", "rho"]).groupby("sample")["rho"].mean())

    return measure


def _mantel(tables: Tables) -> float:
    """P-value of that correlation over all samples and timesteps, prompts shuffled: they are the same for all."""
    table = tables["prompts"]
    rows = table[(table["kind"] == "path") & (table["guidance"] == table["guidance"].max())]
    count = int(rows[["prompt_a", "prompt_b"]].to_numpy().max()) + 1
    alike, matrices = np.zeros((count, count)), []
    for _, part in rows.groupby(["sample", "t_frac"]):
        a, b, far = part["prompt_a"].to_numpy(), part["prompt_b"].to_numpy(), np.zeros((count, count))
        far[a, b] = far[b, a] = part["distance"]
        alike[a, b] = alike[b, a] = part["factor_overlap"].fillna(0)
        matrices.append(far)
    return mantel_test(alike, matrices, centred_ranks)[1]


def _prompt_fades(kind: str) -> Callable[[Tables], Values]:
    """Distance between prompts at T minus at the lowest timestep, mean over pairs, one per sample."""

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
        "rank correlation of the captions' common factors and nearness of tangent spaces, mean over t",
        _alike_near("factor_overlap"),
        asserts="Similar prompts give similar tangent spaces.",
        because="What a caption says of the portrait's factors is known, so that likeness is the share of what two "
        "captions say that both say. All samples share the prompts, so that p is of Mantel's test, which shuffles "
        "them. The network's own conditioning, taken before, shapes its tangent spaces by "
        "itself.",
        refuted="Captions with more in common have tangent spaces that are further apart.",
        test=_mantel,
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "rank correlation of the conditioning's similarity and nearness of tangent spaces, mean over t",
        _alike_near("similarity"),
        role="second",
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "distance between prompts on their own paths falls from T to the lowest t by / rad",
        _prompt_fades("path"),
        asserts="The prompt matters less at later steps (small t).",
        because="Distance of the tangent spaces of two prompts that start from the same noise, at T and at the lowest "
        "t.",
        refuted="Prompts lie further apart at the lowest t.",
    ),
    Claim(
        "P23b prompts",
        "p23b/prompts",
        "the same at one x_t / rad",
        _prompt_fades("fixed"),
        role="control",
    ),
)

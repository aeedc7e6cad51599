"""The papers' claims that ``global_consistency`` can answer, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd

from diffgeo.claims import Claim, Tables, Values, no_test, pseudo_values


def _leading(tables: Tables, column: str) -> pd.DataFrame:
    """Mean of a column over the first three directions at T, per pair of samples."""
    table = tables["global_consistency_overlaps"]
    top = table[(table["t_frac"] == table["t_frac"].max()) & (table["direction"] < 3)]
    means: pd.DataFrame = top.dropna(subset=[column]).groupby(["sample", "other"], as_index=False)[column].mean()
    return means


def _overlap_above_untrained(tables: Tables) -> Values:
    """Mean best match of the first three directions at T, less that of the network with random weights."""
    trained, untrained = _leading(tables, "best_match"), _leading(tables, "untrained_best_match")
    pairs = trained.merge(untrained, on=["sample", "other"])
    above = pairs["best_match"] - pairs["untrained_best_match"]
    return pseudo_values(pairs.assign(above=above), "sample", "other", "above")


def _overlap_above_chance(tables: Tables) -> Values:
    """Mean best match of the first three directions at T minus what chance exceeds in 5 % of cases."""
    pairs, limit = _leading(tables, "best_match"), tables["global_consistency"]["null_best_match_95"].iloc[0]
    return pseudo_values(pairs.assign(above=pairs["best_match"] - limit), "sample", "other", "above")


def _overlap_leads(tables: Tables) -> Values:
    """Mean best match at T of the first three directions minus that of the last third."""
    table = tables["global_consistency_overlaps"]
    top = table[table["t_frac"] == table["t_frac"].max()]
    keys = ["sample", "other"]
    leading = top[top["direction"] < 3].groupby(keys)["best_match"].mean()
    trailing = top[top["direction"] >= 2 * top["rank"] / 3].groupby(keys)["best_match"].mean()
    return pseudo_values((leading - trailing).rename("ahead").reset_index(), "sample", "other", "ahead")


def _shares_alike(tables: Tables) -> pd.DataFrame:
    """How often two held-out samples' attributes move alike at T: by one global direction, and by two different ones.

    What counts is the attribute that moves most, with its sign. Columns sample, other, same, different; a row a pair.
    """
    table = tables["global_consistency_edits"]
    top = table[table["t_frac"] == table["t_frac"].max()]
    columns = [column for column in top if column.startswith("delta_")]
    if not columns:
        raise KeyError("no predictor read attributes")
    deltas = top[columns].to_numpy()
    most = np.abs(deltas).argmax(axis=1)
    moves = (most + 1) * np.sign(deltas[np.arange(len(deltas)), most])  # attribute and sign in one number
    wide = top.assign(moves=moves).pivot_table(index="held_out", columns="direction", values="moves")
    rows = []
    for a, b in combinations(wide.index, 2):
        equal = wide.loc[a].to_numpy()[:, None] == wide.loc[b].to_numpy()[None, :]
        k = len(equal)
        others = (equal.sum() - equal.trace()) / (k * (k - 1)) if k > 1 else np.nan
        rows.append({"sample": a, "other": b, "same": equal.trace() / k, "different": others})
    return pd.DataFrame(rows, columns=["sample", "other", "same", "different"])


def _same_attribute(tables: Tables) -> Values:
    """The share of one direction less that of two, one pseudo-value per sample."""
    pairs = _shares_alike(tables)
    return pseudo_values(pairs.assign(ahead=pairs["same"] - pairs["different"]), "sample", "other", "ahead")


def _share_of(column: str) -> Callable[[Tables], Values]:
    return lambda tables: pseudo_values(_shares_alike(tables), "sample", "other", column)


def _cosine_agrees(column: str) -> Callable[[Tables], Values]:
    """Cosine of two held-out samples' changes by one global direction, less the same by different ones, at T."""

    def measure(tables: Tables) -> Values:
        table = tables["global_consistency_agreement"]
        top = table[table["t_frac"] == table["t_frac"].max()]
        same = top["direction"] == top["other_direction"]
        keys = ["sample", "other"]
        alike, unlike = (top[one].groupby(keys)[column].mean() for one in (same, ~same))
        return pseudo_values((alike - unlike).rename("ahead").reset_index(), "sample", "other", "ahead")

    return measure


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 3a",
        "p23a/fig3a",
        "best match of leading directions at T, trained − untrained networks",
        _overlap_above_untrained,
        asserts="Leading directions of different samples overlap in H at T.",
        because="A random frame has hardly any overlap, but so little that any network beats it: what the architecture "
        "gives without training is the null. Best match of the first three u_i, the same noise through the network and "
        "through three with random weights.",
        refuted="Directions overlap less than those of the untrained network.",
    ),
    Claim(
        "P23a Fig. 3a",
        "p23a/fig3a",
        "best match of leading directions at T − 95 % limit of random subspaces",
        _overlap_above_chance,
        role="second",
    ),
    Claim(
        "P23a Fig. 3a",
        "p23a/fig3a",
        "best match at T, leading − trailing directions",
        _overlap_leads,
        asserts="It is the leading directions that overlap.",
        because="Best match of the first three u_i less that of the last third.",
        refuted="Trailing directions overlap more.",
    ),
    Claim(
        "P23a Fig. 6",
        "p23a/fig6",
        "share of edits that move the same attribute the same way, same global direction − different ones",
        _same_attribute,
        asserts="A global direction changes the same attribute in every sample.",
        because="“In every sample” cannot be tested, “more often than chance” can: two rows below have the shares "
        "themselves. Held-out samples; the attribute that moves most, with its sign. The null permutes the directions: "
        "the mean over different directions of the same pairs of samples is its expectation.",
        refuted="Different directions agree more often than one direction with itself.",
    ),
    Claim(
        "P23a Fig. 6",
        "p23a/fig6",
        "signed cosine of changes, same global direction − different ones",
        _cosine_agrees("cosine"),
        role="second",
    ),
    Claim(
        "P23a Fig. 6",
        "p23a/fig6",
        "signed cosine of changes of the picture, same global direction − different ones",
        _cosine_agrees("picture_cosine"),
        asserts="A global direction changes the picture of every sample alike.",
        because="The figure shows pictures. Held-out samples, without a predictor. Where motifs lie in the same place, "
        "as in portraits, a like change of the motif is a like change of the picture.",
        refuted="Two different directions change the pictures of two samples more alike.",
    ),
    *(
        Claim(
            "P23a Fig. 6",
            "p23a/fig6",
            f"share of pairs of samples in which the same attribute moves most and the same way, {words}",
            _share_of(column),
            role="control",
            test=no_test,
        )
        for column, words in (("same", "by one global direction"), ("different", "by two different ones"))
    ),
)

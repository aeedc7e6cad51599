"""The papers' claims that ``global_consistency`` can answer, and how each is measured."""

from __future__ import annotations

from diffgeo.claims import Claim, Tables, Values, pseudo_values

__all__ = ["CLAIMS"]


def _overlap_above_chance(tables: Tables) -> Values:
    """Mean best match of the first three directions at T minus what chance exceeds in 5 % of cases."""
    table = tables["global_consistency_overlaps"]
    top = table[(table["t_frac"] == table["t_frac"].max()) & (table["direction"] < 3)]
    pairs = top.groupby(["sample", "other"], as_index=False)["best_match"].mean()
    limit = tables["global_consistency"]["null_best_match_95"].iloc[0]
    return pseudo_values(pairs.assign(above=pairs["best_match"] - limit), "sample", "other", "above")


def _overlap_leads(tables: Tables) -> Values:
    """Mean best match at T of the first three directions minus that of the last third."""
    table = tables["global_consistency_overlaps"]
    top = table[table["t_frac"] == table["t_frac"].max()]
    keys = ["sample", "other"]
    leading = top[top["direction"] < 3].groupby(keys)["best_match"].mean()
    trailing = top[top["direction"] >= 2 * top["rank"] / 3].groupby(keys)["best_match"].mean()
    return pseudo_values((leading - trailing).rename("ahead").reset_index(), "sample", "other", "ahead")


def _same_direction_agrees(tables: Tables) -> Values:
    """Cosine of two held-out samples' changes by one global direction, less |cos| by different ones, at T."""
    table = tables["global_consistency_agreement"]
    top = table[table["t_frac"] == table["t_frac"].max()]
    same = top["direction"] == top["other_direction"]
    keys = ["sample", "other"]
    alike = top[same].groupby(keys)["cosine"].mean()
    unlike = top[~same].assign(cosine=top["cosine"].abs()).groupby(keys)["cosine"].mean()
    return pseudo_values((alike - unlike).rename("ahead").reset_index(), "sample", "other", "ahead")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 3a",
        "p23a/fig3a",
        "overlap of leading directions at T above chance by",
        "claim",
        _overlap_above_chance,
    ),
    Claim(
        "P23a Fig. 3a", "p23a/fig3a", "overlap of leading above trailing directions at T by", "claim", _overlap_leads
    ),
    Claim(
        "P23a Fig. 6",
        "p23a/fig6",
        "agreement of a global direction's changes at T above that of different directions by",
        "claim",
        _same_direction_agrees,
    ),
)

"""The papers' claims that ``curvedness`` can answer, and how each is measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from diffgeo.claims import Claim, Tables, Values, interval_of

__all__ = ["CLAIMS"]


def _length(path: str, over: str | None = None) -> Callable[[Tables], Values]:
    def measure(tables: Tables) -> Values:
        table = tables["curvedness"]
        wide = table[table["pool"] == "sum"].pivot_table(index="pair", columns="path", values="length")
        return np.asarray(wide[path] / wide[over] if over else wide[path])

    return measure


def _longer(path: str, other: str) -> Callable[[Tables], Values]:
    return lambda tables: _length(path)(tables) - _length(other)(tables)


def _lerp_ends(tables: Tables) -> Values:
    """Mean of the first and last segment minus mean of the middle third, one a pair."""
    table = tables["curvedness_segments"]
    rows = table[(table["path"] == "lerp") & (table["pool"] == "sum")]
    ends = rows[rows["segment"].isin([0, rows["segment"].max()])].groupby("pair")["curvedness"].mean()
    middle = rows[rows["position"].between(1 / 3, 2 / 3)].groupby("pair")["curvedness"].mean()
    return np.asarray(ends - middle)


def _ratio(path: str) -> tuple[float, float]:
    """Of a published ratio to shooting, from the two published means and spreads (first order, independent)."""
    means, sds = {"lerp": 10.29, "slerp": 7.69, "shooting": 5.98}, {"lerp": 0.87, "slerp": 0.76, "shooting": 0.76}
    ratio = means[path] / means["shooting"]
    return interval_of(ratio, ratio * math.hypot(sds[path] / means[path], sds["shooting"] / means["shooting"]))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length of lerp / rad",
        "10.29 ± 0.87",
        _length("lerp"),
        interval_of(10.29, 0.87),
    ),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length of slerp / rad",
        "7.69 ± 0.76",
        _length("slerp"),
        interval_of(7.69, 0.76),
    ),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length of shooting / rad",
        "5.98 ± 0.76",
        _length("shooting"),
        interval_of(5.98, 0.76),
    ),
    Claim("P23a Table 1", "p23a/table1", "lerp over shooting", "1.72", _length("lerp", "shooting"), _ratio("lerp")),
    Claim("P23a Table 1", "p23a/table1", "slerp over shooting", "1.29", _length("slerp", "shooting"), _ratio("slerp")),
    Claim("P23a Table 1", "p23a/table1", "lerp longer than slerp by / rad", "claim", _longer("lerp", "slerp")),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "slerp longer than shooting, which ends near its start, by / rad",
        "claim",
        _longer("slerp", "shooting"),
    ),
    Claim("P23a Fig. 7c", "p23a/fig7", "lerp's end segments more curved than its middle by / rad", "claim", _lerp_ends),
    Claim(
        "P23a Fig. 7",
        "p23a/fig7",
        "slerp longer than shooting of equal length in X by / rad",
        "control",
        _longer("slerp", "shooting_x"),
    ),
)

"""The papers' claims that ``curvedness`` can answer, and how each is measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from diffgeo.claims import Claim, Tables, Values, interval_of

__all__ = ["CLAIMS"]


def _of_paths(pool: str, column: str, formula: Callable[..., Values], *paths: str) -> Callable[[Tables], Values]:
    """One value per pair of samples: a formula of one column, or of an expression of columns, on several paths."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness"]
        table = table.assign(value=np.asarray(table.eval(column)))
        wide = table[table["pool"] == pool].pivot_table(index="pair", columns="path", values="value")
        return np.asarray(formula(*(wide[path] for path in paths)))

    return measure


def _length(path: str) -> Callable[[Tables], Values]:
    return _of_paths("sum", "length", lambda a: a, path)


def _ratio(path: str, other: str) -> Callable[[Tables], Values]:
    return _of_paths("sum", "length", lambda a, b: a / b, path, other)


def _longer(path: str, other: str, *, pool: str = "sum", column: str = "length") -> Callable[[Tables], Values]:
    return _of_paths(pool, column, lambda a, b: a - b, path, other)


def _ends(path: str, column: str) -> Callable[[Tables], Values]:
    """Mean of the first and last segment minus mean of the middle third, one per pair."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness_segments"]
        rows = table[(table["path"] == path) & (table["pool"] == "sum")]
        ends = rows[rows["segment"].isin([0, rows["segment"].max()])].groupby("pair")[column].mean()
        middle = rows[rows["position"].between(1 / 3, 2 / 3)].groupby("pair")[column].mean()
        return np.asarray(ends - middle)

    return measure


def _not_flat(metric: str) -> Callable[[Tables], Values]:
    """R − 1 of lerp, one per pair; never below 0, and 0 for a map that is linear along it."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness_flatness"]
        rows = table[(table["path"] == "lerp") & (table["metric"] == metric)]
        return np.asarray(rows.groupby("pair")["flatness_ratio"].mean() - 1)

    return measure


MEANS, SPREADS = {"lerp": 10.29, "slerp": 7.69, "shooting": 5.98}, {"lerp": 0.87, "slerp": 0.76, "shooting": 0.76}
"""P23a's Table 1 in rad, 50 pairs."""


def _published_ratio(path: str) -> tuple[float, float]:
    """Of a published ratio to shooting, from the two published means and spreads (first order, independent)."""
    ratio = MEANS[path] / MEANS["shooting"]
    spread = math.hypot(SPREADS[path] / MEANS[path], SPREADS["shooting"] / MEANS["shooting"])
    return interval_of(ratio, ratio * spread)


def _value(quantity: str, published: str, measure: Callable[[Tables], Values], interval: tuple[float, float]) -> Claim:
    return Claim(
        "P23a Table 1",
        "p23a/table1",
        quantity,
        measure,
        unit="pair",
        role="value",
        published=published,
        interval=interval,
    )


def _shorter(quantity: str, measure: Callable[[Tables], Values], because: str, refuted: str) -> Claim:
    asserts = "A path that follows the geometry is less curved than slerp, and slerp less than lerp."
    return Claim(
        "P23a Table 1", "p23a/table1", quantity, measure, asserts=asserts, because=because, refuted=refuted, unit="pair"
    )


CLAIMS: tuple[Claim, ...] = (
    *(
        _value(f"path length of {path} / rad", f"{MEANS[path]} ± {SPREADS[path]}", _length(path), interval)
        for path, interval in ((path, interval_of(MEANS[path], SPREADS[path])) for path in MEANS)
    ),
    _value("lerp over shooting", "1.72", _ratio("lerp", "shooting"), _published_ratio("lerp")),
    _value("slerp over shooting", "1.29", _ratio("slerp", "shooting"), _published_ratio("slerp")),
    _shorter(
        "lerp longer than slerp by / rad, pooled h",
        _longer("lerp", "slerp"),
        "The table's own measure.",
        "Lerp is shorter.",
    ),
    _shorter(
        "lerp longer than slerp by / rad, whole h",
        _longer("lerp", "slerp", pool="none"),
        "The same with the map that P23b takes.",
        "Lerp is shorter.",
    ),
    *(
        _shorter(
            f"slerp longer than the geodesic with fixed ends by / rad, soft cut, {name} h",
            _longer("slerp", "geodesic", pool=pool, column="length_soft"),
            "Shooting stays near its start, and a path that goes nowhere is short. The discrete geodesic between the "
            "two samples has slerp's ends. The soft cut leaves out that directions beyond n swap places.",
            "The geodesic is longer.",
        )
        for pool, name in (("sum", "pooled"), ("none", "whole"))
    ),
    _shorter(
        "slerp more curved than shooting, per length in H, by / rad, pooled h",
        _of_paths("sum", "length / h_length", lambda a, b: a - b, "slerp", "shooting"),
        "The table's two paths, each by the distance that it covers in H.",
        "Shooting turns more on the same distance.",
    ),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "slerp longer than shooting, which ends near its start, by / rad",
        _longer("slerp", "shooting"),
        unit="pair",
        role="second",
    ),
    Claim(
        "P23a Fig. 7c",
        "p23a/fig7",
        "lerp's end segments more curved than its middle by / rad, soft cut",
        _ends("lerp", "curvedness_soft"),
        asserts="Lerp is most curved at its ends.",
        because="First and last segment less the middle third. The soft cut, since with a hard one a segment measures "
        "up to π/2 if the last of the n directions swaps with the next.",
        refuted="The middle third is more curved.",
        unit="pair",
    ),
    Claim(
        "P23a Fig. 7c",
        "p23a/fig7",
        "the same with a hard cut",
        _ends("lerp", "curvedness"),
        unit="pair",
        role="second",
    ),
    Claim(
        "P23a Fig. 7c",
        "p23a/fig7",
        "the same of slerp, soft cut",
        _ends("slerp", "curvedness_soft"),
        unit="pair",
        role="control",
    ),
    *(
        Claim(
            "P23a Table 1",
            "p23a/table1",
            f"flatness ratio R of lerp above that of a flat metric (1), {name}",
            _not_flat(metric),
            unit="pair",
            role="control",
        )
        for metric, name in (("h", "whole h"), ("pooled_h", "pooled h"), ("x0", "x̂0"))
    ),
    Claim(
        "P23a Fig. 7",
        "p23a/fig7",
        "slerp longer than shooting of equal length in X by / rad",
        _longer("slerp", "shooting_x"),
        unit="pair",
        role="control",
    ),
)

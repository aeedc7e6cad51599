"""The papers' claims that ``curvedness`` can answer, and how each is measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from diffgeo.claims import Claim, Tables, Values, interval_of, no_test


def _of_paths(
    pool: str, column: str, formula: Callable[..., Values], *paths: str, per: str | None = None
) -> Callable[[Tables], Values]:
    """One value per pair of samples: a formula of one column, or of its ratio to another one, on several paths."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness"]
        table = table.assign(value=table[column] if per is None else table[column] / table[per])
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


def _not_flat(metric: str, path: str) -> Callable[[Tables], Values]:
    """R − 1 of a path, one per pair: 0 if its image is straight, and never below, so that it has no test."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness_flatness"]
        rows = table[(table["path"] == path) & (table["metric"] == metric)]
        if path == "geodesic":  # each metric has its own
            rows = rows[rows["pool"] == POOLS[metric]]
        return np.asarray(rows.groupby("pair")["flatness_ratio"].mean() - 1)

    return measure


def _straighter_in_z(metric: str) -> Callable[[Tables], Values]:
    """How far lerp strays from the straight line between the true factors, less the geodesic, one per pair."""
    return _of_paths(POOLS[metric], "z_deviation", lambda a, b: a - b, "lerp", "geodesic")


def _beyond_geodesic(metric: str, column: str = "flatness_ratio") -> Callable[[Tables], Values]:
    """R of lerp less that of the geodesic made in the same metric, one per pair."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness_flatness"]
        rows = table[(table["metric"] == metric) & (table["pool"] == POOLS[metric])]
        wide = rows.pivot_table(index="pair", columns="path", values=column)
        return np.asarray(wide["lerp"] - wide["geodesic"])

    return measure


def _bend(metric: str) -> Callable[[Tables], Values]:
    """How far the image of lerp strays from a straight line, less that under f linearised, one per pair; no test."""

    def measure(tables: Tables) -> Values:
        table = tables["curvedness_flatness"]
        rows = table[(table["path"] == "lerp") & (table["metric"] == metric)]
        return np.asarray((rows["bend"] - rows["bend_linear"]).groupby(rows["pair"]).mean())

    return measure


POOLS = {"pooled_h": "sum", "h": "none"}
"""Metric → pooling of h in which its own paths are made."""
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


def _second(quantity: str, measure: Callable[[Tables], Values]) -> Claim:
    return Claim("P23a Table 1", "p23a/table1", quantity, measure, unit="pair", role="second")


CLAIMS: tuple[Claim, ...] = (
    *(
        _value(f"path length of {path} / rad", f"{MEANS[path]} ± {SPREADS[path]}", _length(path), interval)
        for path, interval in ((path, interval_of(MEANS[path], SPREADS[path])) for path in MEANS)
    ),
    _value("lerp over shooting", "1.72", _ratio("lerp", "shooting"), _published_ratio("lerp")),
    _value("slerp over shooting", "1.29", _ratio("slerp", "shooting"), _published_ratio("slerp")),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length, lerp − slerp, pooled h / rad",
        _longer("lerp", "slerp"),
        asserts="Slerp is less curved than lerp.",
        because="The table's own measure.",
        refuted="Lerp is shorter.",
        unit="pair",
    ),
    _second("path length, lerp − slerp, whole h / rad", _longer("lerp", "slerp", pool="none")),
    Claim(
        "P23a Table 1",
        "p23a/table1",
        "path length, slerp − geodesic with fixed ends, soft cut, pooled h / rad",
        _longer("slerp", "geodesic", column="length_soft"),
        asserts="A path that follows the geometry is less curved than slerp.",
        because="Shooting stays near its start, and a path that goes nowhere is short. The discrete geodesic between "
        "the two samples has slerp's ends. With the soft cut it does not matter which directions swap places at n.",
        refuted="The geodesic is longer.",
        unit="pair",
    ),
    _second(
        "path length, slerp − geodesic with fixed ends, soft cut, whole h / rad",
        _longer("slerp", "geodesic", pool="none", column="length_soft"),
    ),
    *(
        claim
        for metric, name in (("pooled_h", "pooled h"), ("h", "whole h"))
        for claim in (
            _second(
                f"path length, slerp − geodesic with fixed ends, hard cut, {name} / rad",
                _longer("slerp", "geodesic", pool=POOLS[metric]),
            ),
            _second(
                f"distance from the straight line in the true factors z, lerp − geodesic with fixed ends, {name}",
                _straighter_in_z(metric),
            ),
        )
    ),
    _second(
        "path length per length in H, slerp − shooting, pooled h / rad",
        _of_paths("sum", "length", lambda a, b: a - b, "slerp", "shooting", per="h_length"),
    ),
    _second("path length, slerp − shooting, which ends near its start, pooled h / rad", _longer("slerp", "shooting")),
    *(
        claim
        for metric, name in (("pooled_h", "pooled h"), ("h", "whole h"))
        for claim in (
            Claim(
                "P23a curved",
                "p23a/table1",
                f"flatness ratio R, lerp − geodesic with fixed ends, {name}",
                _beyond_geodesic(metric),
                asserts=f"Measured in {name}, the straight line between two samples is not the shortest way.",
                because="R of lerp itself can be no test: it is at least 1 for every map, and above 1 for every map "
                "that is not linear. Under a linear f lerp has R = 1, the least that there is, and the difference is "
                "negative. The geodesic starts from slerp and its descent stops early, which makes the difference "
                "smaller. That the straight line is not shortest says that f is not linear. It does not say that X is "
                "curved: a flat space in bent coordinates does the same. R of the geodesic, below, is what curvature "
                "can be at most.",
                refuted="Lerp has the smaller R, as under a linear f.",
                unit="pair",
            ),
            Claim(
                "P23a curved",
                "p23a/table1",
                f"the same two paths under f linearised at the first sample, {name}",
                _beyond_geodesic(metric, "flatness_ratio_linear"),
                unit="pair",
                role="control",
                test=no_test,
            ),
            Claim(
                "P23a curved",
                "p23a/table1",
                f"R − 1 of the geodesic with fixed ends, 0 in a flat space, {name}",
                _not_flat(metric, "geodesic"),
                unit="pair",
                role="second",
                test=no_test,
            ),
            Claim(
                "P23a curved",
                "p23a/table1",
                f"distance of lerp's image from the straight line, as a share of its length, less that under f "
                f"linearised, {name}",
                _bend(metric),
                unit="pair",
                role="second",
                test=no_test,
            ),
        )
    ),
    Claim(
        "P23a Fig. 7c",
        "p23a/fig7",
        "curvedness of lerp, end segments − middle, soft cut / rad",
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
        "curvedness of lerp, end segments − middle, hard cut / rad",
        _ends("lerp", "curvedness"),
        unit="pair",
        role="second",
    ),
    Claim(
        "P23a Fig. 7c",
        "p23a/fig7",
        "curvedness of slerp, end segments − middle, soft cut / rad",
        _ends("slerp", "curvedness_soft"),
        unit="pair",
        role="control",
    ),
    *(
        Claim(
            "P23a Table 1",
            "p23a/table1",
            f"R − 1 of lerp, 0 under a linear f, {name}",
            _not_flat(metric, "lerp"),
            unit="pair",
            role="control",
            test=no_test,
        )
        for metric, name in (("h", "whole h"), ("pooled_h", "pooled h"), ("x0", "x̂0"))
    ),
    Claim(
        "P23a Fig. 7",
        "p23a/fig7",
        "path length, slerp − shooting of equal length in X / rad",
        _longer("slerp", "shooting_x"),
        unit="pair",
        role="control",
    ),
)

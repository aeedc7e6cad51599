"""What the study ``comparison`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import SIGNIFICANT, mean_interval, sign_flip_test
from diffgeo.report.findings import FEWEST, Finding, lean, worded
from diffgeo.report.formatting import interval, name, number, p_value
from diffgeo.report.reading import Run
from diffgeo.studies.comparison.transfer import transferred

ORDERINGS = {"local_success": "local success", "transferred": "success that transfers", "ssim": "SSIM"}
"""Columns in which LOCO Edit reports more than the pullback of h."""


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run, which are about LOCO's directions."""
    if (composed := run.table("comparison_composed")) is not None:
        yield _composition(composed)
    table, inside = run.table("comparison"), run.table("comparison_inside")
    if table is None or "loco" not in set(table["method"]):
        return
    if inside is not None and "x0" in set(inside["method"]):
        words, numbers = _difference(inside, "spill", "x0", "loco")
        edits = inside[inside["method"].isin(["x0", "loco"])]
        missed = int((~edits["matched"]).sum())
        numbers += f"; {missed} of {len(edits)} edits missed that change" if missed else ""
        less = "LOCO's directions spill less outside the mask than unmasked ones"
        yield Finding(
            "comparison",
            worded(words, less, "LOCO's directions spill more outside the mask than unmasked ones", less),
            f"At equal change inside, outside / inside of ∂x̂0/∂x less that of LOCO is {numbers}.",
        )
    if table["sample"].nunique() < FEWEST:  # which order no methods
        return
    if (target := run.table("comparison_target")) is not None:
        yield from _cheapest(target, run.table("comparison_ranks"))
    if "local" in set(table["method"]):
        told_apart = table.assign(transferred=transferred(table))
        shown = {column: _difference(told_apart, column, "loco", "local") for column in ORDERINGS}
        held = [ORDERINGS[column] for column, (words, _) in shown.items() if words == "yes"]
        yield Finding(
            "comparison",
            f"Of LOCO's orderings over the pullback of h, {' and '.join(held) or 'none'} "
            f"{'are' if len(held) > 1 else 'is'} established at equal change.",
            "; ".join(f"{ORDERINGS[column]}, LOCO − local: {numbers}" for column, (_, numbers) in shown.items()) + ".",
        )


def _composition(table: pd.DataFrame) -> Finding:
    """Whether masks make edits that leave each other alone; where both methods' edits reached the wanted change."""
    both = table.groupby(["sample", "mask"])["matched"].transform("all")
    reached = table[both].assign(departs=lambda edits: np.log(edits["departure"]))
    words, numbers = _difference(reached, "departs", "x0", "loco")
    means = reached.groupby(["mask", "method"], sort=False)["departure"].mean().unstack()
    own = "; ".join(
        f"{number(row.get('loco'), 2)} in the mask of {name(mask)}, where that of ∂x̂0/∂x is {number(row.get('x0'), 2)}"
        for mask, row in means.iterrows()
    )
    means_of_loco = f". LOCO's mean is {own}" if own else ""
    missed = int((~table["matched"]).sum())
    left = f"; {missed} of {len(table)} edits missed the wanted change, and are left out in pairs" if missed else ""
    return Finding(
        "comparison",
        worded(
            words,
            "Made at once, LOCO's edits disturb each other less than unmasked ones",
            "Made at once, LOCO's edits disturb each other more than unmasked ones",
            "LOCO's edits disturb each other less than unmasked ones, made at once,",
        ),
        "How far an edit departs from itself in its own mask, as a share of its change: the logarithm of ∂x̂0/∂x less "
        f"that of LOCO is {numbers}{means_of_loco}{left}.",
    )


def _cheapest(target: pd.DataFrame, ranks: pd.DataFrame | None) -> Iterator[Finding]:
    """Whether methods differ in how much they change the picture for the same change of the attribute."""
    wanted = name(target["wanted"].iloc[0])
    if ranks is None or (mine := ranks[(ranks["at"] == "target") & (ranks["measure"] == "change")]).empty:
        return
    best = mine.sort_values("mean_rank", kind="stable").iloc[0]
    n, p = int(best["n"]), float(best["p"])
    reached = target.groupby("method", sort=False)["matched"].mean()
    shown = n >= FEWEST and p <= SIGNIFICANT
    yield Finding(
        "comparison",
        f"How much an edit changes the picture for the same change of {wanted} depends on the method."
        if shown
        else f"Whether methods differ in how much they change the picture for the same change of {wanted} stays open.",
        f"{name(best['method'])} has the best mean rank, {number(best['mean_rank'], 2)} of {len(mine)} methods, where "
        f"edits that cannot reach the change come last (Friedman's test, n = {n}"
        f"{'' if np.isnan(p) else f', {p_value(p)}'}). The change is reached by {number(100 * reached.mean(), 2)} % of "
        f"all edits, by {number(100 * reached[best['method']], 2)} % of these.",
    )


def _difference(table: pd.DataFrame, column: str, first: str, second: str) -> tuple[str, str]:
    """How far a difference of two methods is established, and its numbers; one value per sample."""
    wide = table.pivot_table(index="sample", columns="method", values=column, dropna=False)
    values = np.asarray((wide[first] - wide[second]).dropna()) if {first, second} <= set(wide) else np.array([])
    if not len(values):
        return "open", "not measured"
    mean, low, high = mean_interval(values)
    p = sign_flip_test(values)
    test = f", {p_value(p)}" if len(values) >= FEWEST else ""
    return lean(low, high, len(values), p), f"{interval(mean, low, high)} (n = {len(values)}{test})"

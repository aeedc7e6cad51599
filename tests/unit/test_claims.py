"""Verdicts follow from tables alone: synthetic tables with known answers, both ways round."""

import math

import numpy as np
import pandas as pd
import pytest

from diffgeo.claims import Claim, judge
from diffgeo.config import config_folder
from diffgeo.data.factor_faces import FACTORS
from diffgeo.studies import all_claims


def claim(quantity):
    (found,) = [c for c in all_claims() if c.quantity.startswith(quantity)]
    return found


def curvedness(lengths):
    """Path lengths by path, one value a pair."""
    rows = [
        {"pair": pair, "pool": "sum", "path": path, "length": value}
        for path, values in lengths.items()
        for pair, value in enumerate(values)
    ]
    return {"curvedness": pd.DataFrame(rows)}


def by_time(values, column, **more):
    """A column at T (first) and at 0.25T (second), one pair of values a sample."""
    rows = [
        {"sample": sample, "t_frac": t_frac, column: value, **more}
        for sample, pair in enumerate(values)
        for t_frac, value in zip((1.0, 0.25), pair, strict=True)
    ]
    return pd.DataFrame(rows)


def test_every_claim_names_an_experiment_and_every_experiment_has_a_claim():
    root = config_folder() / "experiment"  # others, beside the papers, have no claims
    files = {p.relative_to(root).with_suffix("").as_posix() for p in root.glob("*/*.yaml")}
    assert {c.experiment for c in all_claims()} == files


def test_every_experiment_names_its_source_and_what_it_assumes():
    for path in (config_folder() / "experiment").glob("*/*.yaml"):
        comments = [line for line in path.read_text().splitlines() if line.startswith("# ")]
        assert path.parent.name.upper().replace("A", "a").replace("B", "b") in comments[1]
        assert any("Assumed:" in line for line in comments), path


def test_lengths_that_fall_in_the_published_order_hold_and_in_another_order_fail():
    rising = curvedness({"lerp": [10, 11, 12, 10, 12], "slerp": [7, 8, 8, 7, 7], "shooting": [5, 6, 5, 6, 6]})
    row = judge(claim("lerp longer"), rising, "shipped")
    assert row["verdict"] == "holds"
    assert row["ours"] == pytest.approx(3.6)
    assert row["low"] > 0
    assert row["n"] == 5
    falling = curvedness({"lerp": [7, 8, 8, 7, 7], "slerp": [10, 11, 12, 10, 12], "shooting": [5, 6, 5, 6, 6]})
    assert judge(claim("lerp longer"), falling, "shipped")["verdict"] == "fails"


def test_a_difference_of_either_sign_fails_and_its_interval_says_why():
    row = judge(
        claim("slerp longer than shooting, which"),
        curvedness({"slerp": [5, 7, 5, 7], "shooting": [6, 6, 6, 6]}),
        "shipped",
    )
    assert row["verdict"] == "fails"
    assert row["low"] < 0 < row["high"]
    assert row["p"] > 0.5


def test_published_numbers_compare_only_on_the_model_they_are_of():
    tables = curvedness(
        {"lerp": [10.1, 10.4, 10.2, 10.2], "slerp": [7.5, 7.9, 7.6, 7.7], "shooting": [5.8, 6.1, 6.0, 5.9]}
    )
    assert judge(claim("path length of lerp"), tables, "shipped:factor_faces")["verdict"] == "not comparable"
    there = judge(claim("path length of lerp"), tables, "google/ddpm-ema-celebahq-256@main")
    assert there["verdict"] == "holds"
    assert math.isnan(there["p"])
    few = curvedness({name: [10.1, 10.4, 10.2] for name in ("lerp", "slerp", "shooting")})
    few = judge(claim("path length of lerp"), few, "google/ddpm-ema-celebahq-256")
    assert (few["verdict"], math.isnan(few["low"])) == ("not comparable", True), "too few for an interval"
    far = curvedness({"lerp": [5.1, 5.4, 5.2, 5.3], "slerp": [4, 4, 4.1, 4], "shooting": [3, 3, 3.1, 3]})
    assert judge(claim("path length of lerp"), far, "google/ddpm-ema-celebahq-256")["verdict"] == "fails"
    assert judge(claim("lerp over shooting"), tables, "ddpm-celebahq")["ours"] == pytest.approx(1.715, abs=0.01)


def test_a_table_that_is_missing_is_not_comparable():
    row = judge(claim("lerp longer"), {}, "shipped")
    assert row["verdict"] == "not comparable"
    assert math.isnan(row["ours"])


@pytest.mark.parametrize("n", [1, 4])
def test_fewer_than_five_samples_decide_nothing(n):
    tables = {"spectrum": by_time([(10, 20)] * n, "effective_dimension")}
    assert judge(claim("effective dimension"), tables, "shipped")["verdict"] == "fails"


@pytest.mark.parametrize(("start", "end", "verdict"), [(20, 40, "holds"), (40, 20, "fails")])
def test_a_spectrum_flattens_where_its_effective_dimension_rises(start, end, verdict):
    pairs = [(start, end), (start + 1, end + 2), (start, end + 1), (start, end), (start, end)]
    tables = {"spectrum": by_time(pairs, "effective_dimension")}
    row = judge(claim("effective dimension"), tables, "shipped")
    assert row["verdict"] == verdict
    assert row["ours"] == pytest.approx(end - start + 2 / 5)


def test_coarse_shares_count_means_over_the_factors_of_each_kind():
    table = by_time([(0, 0)] * 5, "unused")
    for factor in FACTORS:  # at T coarse factors move by 3 and fine ones by 1; at 0.25T the other way round
        first, last = (3, 1) if factor.scale == "coarse" else (1, 3)
        table[f"delta_{factor.name}"] = np.where(table["t_frac"] == 1, first, -last)
    row = judge(claim("coarse share"), {"discovery": table}, "shipped")
    assert row["ours"] == pytest.approx(0.75 - 0.25)
    assert row["verdict"] == "holds"


def test_an_edit_that_could_not_be_matched_does_not_count():
    rows = [
        {"sample": s, "direction": 0, "variant": variant, "precision": value, "matched": True}
        for s in range(5)
        for variant, value in (("local", 4 * 2 ** (s / 10)), ("random", 1.0))
    ]
    row = judge(claim("log precision of local above random"), {"ablation": pd.DataFrame(rows)}, "shipped")
    assert row["verdict"] == "holds"
    assert row["ours"] == pytest.approx(2.2 * math.log(2))
    beyond = {"sample": 5, "direction": 0, "precision": 99.0, "matched": False}
    rows += [beyond | {"variant": variant} for variant in ("local", "random")]
    assert judge(claim("log precision of local above random"), {"ablation": pd.DataFrame(rows)}, "shipped")["n"] == 5


def test_a_rank_correlation_is_taken_within_each_sample():
    rows = [
        {"kind": "time", "sample_a": s, "sample_b": s, "t_frac_a": a, "t_frac_b": b, "distance": abs(a - b) + s}
        for s in range(5)
        for a, b in ((1.0, 0.75), (1.0, 0.5), (1.0, 0.25), (0.75, 0.25))
    ]
    row = judge(claim("rank correlation of |t"), {"tangent_distance": pd.DataFrame(rows)}, "shipped")
    assert row["ours"] == pytest.approx(1.0)
    assert row["verdict"] == "holds"


def test_the_agreement_of_one_direction_is_compared_with_that_of_others():
    rows = [
        {"t_frac": t, "sample": a, "other": b, "direction": i, "other_direction": j, "cosine": value}
        for t, same in ((1.0, 0.9), (0.5, 0.0))
        for a, b in ((1, 2), (1, 3), (2, 3))
        for i, j, value in ((0, 0, same), (1, 1, same), (0, 1, -0.2), (1, 0, 0.2))
    ]
    row = judge(claim("agreement of a global"), {"global_consistency_agreement": pd.DataFrame(rows)}, "shipped")
    assert row["ours"] == pytest.approx(0.7)
    assert row["n"] == 3


def test_ends_of_a_straight_path_are_compared_with_its_middle_third():
    rows = [
        {"pair": pair, "pool": "sum", "path": path, "segment": i, "position": (i + 0.5) / 9, "curvedness": value + pair}
        for pair in range(2)
        for path in ("lerp", "slerp")
        for i, value in enumerate([5, 9, 9, 1, 1, 1, 9, 9, 7])
    ]
    assert judge(claim("lerp's end"), {"curvedness_segments": pd.DataFrame(rows)}, "shipped")["ours"] == pytest.approx(
        5
    )


def test_simple_data_are_compared_with_complex_ones_by_seed():
    rows = [
        {"data_model": name, "t_frac": 1.0, "sample_a": a, "sample_b": b, "distance_normalized": base + 0.1 * a}
        for name, base in (("simple", 0.3), ("complex", 0.5))
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    row = judge(claim("distance between samples, 14"), {"dataset_complexity": pd.DataFrame(rows)}, "shipped")
    assert row["ours"] == pytest.approx(0.2)
    assert row["n"] == 3


def test_pairs_count_as_the_samples_they_are_of():
    """Pseudo-values: their mean is that of the pairs, and their variance over n the U-statistic's, not half of it."""
    rng, rows = np.random.default_rng(0), []
    effect = rng.normal(size=40)  # a pair's value is the sum of its samples' effects: variance of the mean is 4 σ² / n
    for a in range(40):
        for b in range(a + 1, 40):
            for t, value in ((1.0, 0.0), (0.25, effect[a] + effect[b])):
                rows.append({"kind": "sample", "sample_a": a, "sample_b": b, "t_frac_a": t, "distance": value})
    values = claim("distance between samples grows").measure({"tangent_distance": pd.DataFrame(rows)})
    assert values.mean() == pytest.approx(2 * effect.mean())
    np.testing.assert_allclose(values, 2 * effect, atol=1e-9)


def test_a_measure_may_be_anything_that_gives_an_array():
    constant = Claim("here", "x", "a number", "claim", lambda _: np.full(5, 2.0))
    row = judge(constant, {}, "m")
    assert (row["low"], row["high"], row["verdict"]) == (2.0, 2.0, "holds")

"""Intervals and tests against their definitions."""

import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, kendalltau, norm, permutation_test, spearmanr, ttest_1samp

import diffgeo
from diffgeo.metrics.statistics import (
    FEWEST,
    INTERVAL_FROM,
    SIGNIFICANT,
    centred_ranks,
    excludes,
    false_discovery_rates,
    holm,
    mantel_test,
    mean_interval,
    monte_carlo_p,
    pair_orders,
    resample,
    resample_all,
    shuffled_correlations,
    sign_flip_test,
    win_interval,
)
from diffgeo.studies.frequency import measure as frequency
from diffgeo.studies.spectrum import measure as spectrum


def normal(n, seed=0):
    return np.random.default_rng(seed).normal(2, 3, n)


def test_the_interval_is_students():
    x = normal(25)
    mean, low, high = mean_interval(x)
    assert (low, high) == pytest.approx(tuple(ttest_1samp(x, 0).confidence_interval()), abs=1e-12)
    assert mean == x.mean()


def test_the_interval_of_a_whole_sample_statistic_is_scipys_as_well():
    x = torch.from_numpy(normal(17))
    expected = bootstrap(
        (np.arange(17),),
        lambda rows: float(x[rows].median()),
        n_resamples=200,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert resample(lambda rows: float(rows.median()), x)[1:3] == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_interval_of_many_values_is_the_normal_one(level):
    x = normal(2000)
    mean, low, high = mean_interval(x, level=level)
    half = norm.ppf((1 + level) / 2) * x.std(ddof=1) / math.sqrt(len(x))
    assert (high - mean, mean - low) == pytest.approx((half, half), rel=0.002)


@pytest.mark.parametrize("n", [4, 8, 20])
def test_intervals_hold_the_mean_as_often_as_they_say(n):
    hits = sum(low <= 2 <= high for _, low, high in (mean_interval(normal(n, seed)) for seed in range(2000)))
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_the_documented_coverage_is_what_the_simulation_gives():
    """Three rows of the table in docs/papers.md, within four standard errors of either simulation."""
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root / "benchmarks"))
    from intervals import row

    lines = (root / "docs" / "papers.md").read_text(encoding="utf-8").splitlines()
    for name, n in (("normal", 8), ("skewed (exponential)", 8), ("normal", 16)):
        (line,) = [line for line in lines if line.startswith(f"| {name} | {n} |")]
        documented, found = [float(cell) for cell in line.split("|")[3:-1]], row(name, n, 400)
        assert len(documented) == len(found) - 2
        for share, (what, again) in zip(documented, list(found.items())[2:], strict=True):
            error = math.sqrt(max(share * (1 - share), 0.01) * (1 / 1000 + 1 / 400))
            assert again == pytest.approx(share, abs=4 * error), (name, n, what)


def test_the_interval_moves_and_stretches_with_the_values():
    x = normal(15)
    np.testing.assert_allclose(mean_interval(4 + 2 * x), 4 + 2 * np.array(mean_interval(x)), rtol=1e-12)


def test_missing_values_are_left_out():
    x = normal(12)
    assert mean_interval(np.concatenate([[np.nan], x, [np.nan]])) == mean_interval(x)


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan, math.nan]])
def test_without_values_there_is_no_mean(values):
    assert all(math.isnan(v) for v in mean_interval(values))


@pytest.mark.parametrize("values", [[1.5], [math.nan, 1.5], [1.0, 2.0], [1.0, 1.0, 2.5], [1.5, 1.5, 1.5]])
def test_fewer_than_four_values_have_no_interval(values):
    mean, low, high = mean_interval(values)
    assert mean == 1.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_up_to_three_values_the_percentile_interval_is_their_range():
    # why INTERVAL_FROM is 4 for statistics that are resampled: up to there the interval only repeats the extremes
    for n in range(2, 7):
        x = normal(n)
        found = bootstrap((x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0))
        is_range = tuple(found.confidence_interval) == pytest.approx((x.min(), x.max()), abs=1e-12)
        assert is_range == (n < INTERVAL_FROM)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("n", [2, 3])
def test_statistics_of_fewer_than_four_samples_have_no_interval(n, halves):
    found = resample(lambda x: x.mean().item(), torch.tensor(normal(n)), halves=halves)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not math.isnan(found.value)


def test_no_interval_begins_or_ends_at_the_estimate_of_values_that_vary():
    for n in range(2, 12):
        for seed in range(20):
            value, low, high, _ = resample(lambda x: x.mean().item(), torch.tensor(normal(n, seed)))
            assert math.isnan(low) or low < value < high


def test_equal_values_have_an_interval_of_no_length():
    assert mean_interval([0.3] * 7) == (0.3, 0.3, 0.3)


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_sign_flips_are_scipys_permutation_test(n):
    x = normal(n, seed=n) - 1
    expected = permutation_test((x,), np.mean, permutation_type="samples", alternative="two-sided").pvalue
    assert sign_flip_test(x) == pytest.approx(expected)


def test_sign_flips_of_many_values_come_near_the_exact_p():
    x = np.random.default_rng(1).normal(0.5, 1, 16)
    exact = sign_flip_test(x)
    assert sign_flip_test([*x, 0.0]) == pytest.approx(exact, rel=0.1)  # a zero changes nothing but the way
    assert 0.001 < exact < 0.2


@pytest.mark.parametrize("n", range(1, 9))
def test_the_smallest_p_is_that_of_equal_signs(n):
    assert sign_flip_test(np.arange(1.0, n + 1)) == sign_flip_test(-np.arange(1.0, n + 1)) == 2 / 2**n


def test_the_sign_flip_test_is_two_sided_and_leaves_out_missing_values():
    x = normal(9)
    assert sign_flip_test(x) == sign_flip_test(-x) == sign_flip_test([math.nan, *x])


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, -1.0], [0.1] * 3 + [-0.1] * 3])
def test_values_without_a_direction_have_p_1(values):
    assert sign_flip_test(values) == 1


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_the_test_of_nothing_is_nothing(values):
    assert math.isnan(sign_flip_test(values))


def test_sign_flips_reject_as_often_as_they_say_without_an_effect():
    hits = sum(sign_flip_test(normal(10, seed) - 2) <= 0.05 for seed in range(1000))
    assert hits / 1000 == pytest.approx(0.05, abs=0.02)


def test_eight_values_can_hold_many_claims_by_the_false_discovery_rate_and_none_by_holm():
    smallest = sign_flip_test(np.arange(1.0, 9.0))
    assert smallest == 2 / 2**8
    assert max(false_discovery_rates([smallest] * 20)) == smallest <= 0.05 < 7 * smallest
    assert sign_flip_test(np.arange(1.0, 6.0)) > 0.05 >= sign_flip_test(np.arange(1.0, 7.0)), "six values are needed"


def test_holms_p_is_the_step_down_of_bonferroni():
    """By hand: 3·0.01, then 2·0.04, and never less than the one before; NaN do not count."""
    assert holm([0.04, float("nan"), 0.01, 0.05]) == pytest.approx([0.08, float("nan"), 0.03, 0.08], nan_ok=True)
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("wins", [0, 1, 10, 19, 20])
def test_the_interval_of_duels_is_clopper_and_pearsons(wins):
    ours = win_interval([1] * wins + [-1] * (20 - wins))
    theirs = binomtest(wins, 20).proportion_ci()
    assert ours == pytest.approx((2 * wins / 20 - 1, 2 * theirs.low - 1, 2 * theirs.high - 1))


def test_the_interval_of_duels_holds_their_mean_where_students_does_not():
    """Of duels that one side wins with a probability of 0.97; Student's interval has no width where it wins all."""
    generator = np.random.default_rng(0)
    draws = np.where(generator.random((2000, 20)) < 0.97, 1, -1)
    exact, students = (
        np.mean([low <= 0.94 <= high for _, low, high in map(one, draws)]) for one in (win_interval, mean_interval)
    )
    assert exact >= 0.95
    assert students < 0.6


def test_an_effect_that_is_there_is_rarely_excluded():
    """An effect of just 0.8 standard deviations is excluded in 2.5 % of cases, one of 0 in 92 %."""
    generator = np.random.default_rng(1)
    for effect, share in ((0.8, 0.025), (0.0, 0.923)):
        draws = generator.standard_normal((4000, 20)) + effect
        found = np.mean([excludes(*mean_interval(one)[1:], 20) for one in draws])
        assert found == pytest.approx(share, abs=0.01)


def test_false_discovery_rates_are_the_step_up_of_benjamini_and_hochberg():
    p = [0.01, math.nan, 0.04, 0.03, 0.5]
    expected = [0.04, math.nan, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5]
    assert false_discovery_rates(p) == pytest.approx(expected, nan_ok=True)
    assert false_discovery_rates([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_false_discovery_rates_keep_the_order_and_never_lie_below_p(p):
    q = np.array(false_discovery_rates(p))
    assert (q >= np.array(p) - 1e-12).all()
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= -1e-12).all()


@pytest.mark.parametrize(
    ("study", "column", "name"), [(spectrum, "effective_dimension", "flattens"), (frequency, "low_share", "falls")]
)
def test_studies_test_as_the_claims_do(study, column, name):
    early, late = [2.0, 2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 2.0]
    low, top = (early, late) if study is spectrum else (late, early)
    rows = [
        {"sample": i, "kind": "path", "t_frac": t_frac, "radius": 0, column: value}
        for t_frac, values in ((0.25, low), (1.0, top))
        for i, value in enumerate(values)
    ]
    found = study._scalars(pd.DataFrame(rows))
    assert (found[f"{name}_share"], found[f"{name}_p"]) == (0.6, sign_flip_test([1, 1, 1, 0, -1]))


def test_what_counts_as_significant_is_said_once():
    assert 2 * 0.5**FEWEST <= SIGNIFICANT < 2 * 0.5 ** (FEWEST - 1)
    files = [path for path in Path(diffgeo.__file__).parent.rglob("*.py") if "SIGNIFICANT = " in path.read_text()]
    assert [path.name for path in files] == ["statistics.py"]
    assert all(
        "FEWEST = " not in path.read_text() for path in Path(diffgeo.__file__).parent.rglob("*.py") if path not in files
    )


def between(points):
    return np.abs(points[:, None] - points[None, :])


def test_mantels_test_finds_what_goes_together_and_counts_things_not_pairs():
    random = np.random.default_rng(0)
    points = random.random(9)
    matrices = [between(points + random.normal(0, 0.02, 9)) for _ in range(3)]
    values, p = mantel_test(between(points), matrices, centred_ranks)
    assert (values > 0.9).all()
    assert p == 1 / 1000
    values, p = mantel_test(between(points), [-one for one in matrices], centred_ranks)
    assert (values < -0.9).all()
    assert p == 1 / 1000, "two-sided"


def test_mantels_test_keeps_its_level_if_all_samples_share_one_pattern():
    hits = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        reference, shared = between(random.random(7)), between(random.random(7))
        noise = [0.05 * random.random((7, 7)) for _ in range(8)]
        hits += mantel_test(reference, [shared + one + one.T for one in noise], centred_ranks, draws=99)[1] <= 0.05
    assert hits <= 8  # a sign-flip test over the eight samples would reject most of the time


@pytest.mark.parametrize(("features", "statistic"), [(centred_ranks, spearmanr), (pair_orders, kendalltau)])
@given(values=st.lists(st.integers(0, 6), min_size=15, max_size=15), seed=st.integers(0, 99))
def test_correlations_of_shuffled_things_are_those_of_scipy(features, statistic, values, seed):
    reference, far = between(np.arange(6.0)), np.zeros((6, 6))
    upper = np.triu_indices(6, 1)
    far[upper] = values
    found, null = shuffled_correlations(reference, [far + far.T], features, draws=3, seed=seed)
    random = np.random.default_rng(seed)
    for one, order in zip([found, *null], [np.arange(6), *(random.permutation(6) for _ in range(3))], strict=True):
        with warnings.catch_warnings(action="ignore"):  # of constants, whose correlation is NaN
            expected = statistic(reference[order][:, order][upper], values).statistic
        np.testing.assert_allclose(one, [expected], atol=1e-12)


def test_a_constant_matrix_counts_as_no_correlation():
    values, p = mantel_test(between(np.arange(4.0)), [np.ones((4, 4))], centred_ranks)
    assert (values[0], p) == (0, 1)


def test_monte_carlo_p_is_the_rank_of_the_observation_among_all():
    null = np.random.default_rng(0).permutation(np.arange(1, 20, dtype=float))
    for rank in range(20):  # 19 draws and the observation take every p of 1/20 … 1 once
        assert monte_carlo_p(19.5 - rank, null) == pytest.approx((1 + rank) / 20)


def test_monte_carlo_p_is_never_0_and_ties_count_against_the_claim():
    assert monte_carlo_p(1e9, np.zeros(999)) == 1 / 1000
    assert monte_carlo_p(-1e9, np.zeros(999)) == 1
    assert monte_carlo_p(0.0, np.zeros(999)) == 1


def test_monte_carlo_p_of_a_draw_of_the_null_is_uniform():
    draws = np.random.default_rng(1).normal(size=(2000, 20))
    p = np.array([monte_carlo_p(row[0], row[1:]) for row in draws])
    for alpha in (0.05, 0.1, 0.5):
        assert (p <= alpha + 1e-12).mean() == pytest.approx(alpha, abs=4 * math.sqrt(alpha * (1 - alpha) / 2000))


def test_numbers_resampled_together_are_those_resampled_alone():
    x = torch.from_numpy(normal(20))
    together = resample_all(lambda v: (v.mean().item(), v.std().item()), x, draws=50, halves=True)
    assert together[0] == resample(lambda v: v.mean().item(), x, draws=50, halves=True)
    assert together[1] == resample(lambda v: v.std().item(), x, draws=50, halves=True)


def test_intervals_of_shares_stay_within_zero_and_one():
    values = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = resample(lambda x: x.mean().item(), values, halves=True)
    assert found.value + 3 * values.std() / 6**0.5 > 1
    assert found.high == 1.0
    assert 0 <= found.low < found.value
    wide = resample(lambda x: 2 * x.mean().item(), values, halves=True)
    assert wide.high > 1.9

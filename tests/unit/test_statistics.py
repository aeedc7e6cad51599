"""Intervals and tests against their definitions."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest, bootstrap, norm

import diffgeo
from diffgeo.metrics.statistics import (
    FEWEST,
    SIGNIFICANT,
    mean_interval,
    monte_carlo_p,
    resample,
    resample_all,
    sign_test,
)
from diffgeo.studies.frequency import measure as frequency
from diffgeo.studies.spectrum import measure as spectrum


def normal(n, seed=0):
    return np.random.default_rng(seed).normal(2, 3, n)


def test_the_interval_is_scipys_percentile_bootstrap():
    x = normal(25)
    expected = bootstrap((x,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0))
    mean, low, high = mean_interval(x)
    assert mean == x.mean()
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=1e-12)


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
    half = norm.ppf((1 + level) / 2) * x.std() / math.sqrt(len(x))
    assert high - mean == pytest.approx(half, rel=0.08)
    assert mean - low == pytest.approx(half, rel=0.08)


def test_intervals_hold_the_mean_about_as_often_as_they_say():
    # the percentile bootstrap of n values is narrower than Student's by about √((n − 1)/n)·z/t: 93 % at n = 20
    hits = 0
    for seed in range(400):
        _, low, high = mean_interval(normal(20, seed), draws=400)
        hits += low <= 2 <= high
    assert 0.89 <= hits / 400 <= 0.97


def test_the_interval_moves_and_stretches_with_the_values():
    x = normal(15)
    np.testing.assert_allclose(mean_interval(4 + 2 * x), 4 + 2 * np.array(mean_interval(x)), rtol=1e-12)


def test_the_interval_is_a_function_of_values_and_seed():
    x = normal(15)
    assert mean_interval(x) == mean_interval(list(x))
    assert mean_interval(x, seed=1) != mean_interval(x, seed=2)


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
    # why FEWEST is 4: up to there the interval only repeats the smallest and the largest value
    for n in range(2, 7):
        x = normal(n)
        found = bootstrap((x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0))
        is_range = tuple(found.confidence_interval) == pytest.approx((x.min(), x.max()), abs=1e-12)
        assert is_range == (n < FEWEST)


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


@pytest.mark.parametrize(("positive", "negative"), [(8, 0), (0, 8), (5, 3), (6, 6), (1, 0), (30, 10)])
def test_the_sign_test_counts_the_ways_of_a_fair_coin(positive, negative):
    n = positive + negative
    differences = [0.1 * (i + 1) for i in range(positive)] + [-2.0] * negative
    share, p = sign_test(differences)
    assert share == positive / n
    assert p == pytest.approx(sum(math.comb(n, k) for k in range(positive, n + 1)) / 2**n)
    assert p == binomtest(positive, n, alternative="greater").pvalue


def test_the_sign_test_leaves_out_zeros_and_missing_values():
    assert sign_test([1, 0, 2, math.nan, -1, 0]) == sign_test([1, 2, -1]) == (2 / 3, pytest.approx(0.5))


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [math.nan], [0.0, math.nan]])
def test_the_sign_test_of_nothing_is_nothing(values):
    assert all(math.isnan(v) for v in sign_test(values))


@pytest.mark.parametrize(
    ("study", "column", "name"), [(spectrum, "effective_dimension", "flattens"), (frequency, "low_share", "falls")]
)
@pytest.mark.parametrize("early", [[2.0, 2.0, 2.0, 1.0, 1.0], [1.0] * 5])
def test_studies_treat_ties_as_the_sign_test_does(study, column, name, early):
    higher = [1.0, 1.0, 1.0, 1.0, 2.0]
    low, top = (early, higher) if study is spectrum else (higher, early)
    rows = [
        {"sample": i, "t_frac": t_frac, "radius": 0, column: value}
        for t_frac, values in ((0.25, low), (1.0, top))
        for i, value in enumerate(values)
    ]
    found = study._scalars(pd.DataFrame(rows))
    assert (found[f"{name}_share"], found[f"{name}_p"]) == sign_test(
        [a - b for a, b in zip(early, higher, strict=True)]
    )
    assert found[f"{name}_share"] == (0.75 if early[0] == 2.0 else 0)


def test_what_counts_as_significant_is_said_once():
    assert 0.5**FEWEST <= SIGNIFICANT < 0.5 ** (FEWEST - 1)
    files = [path for path in Path(diffgeo.__file__).parent.rglob("*.py") if "SIGNIFICANT = " in path.read_text()]
    assert [path.name for path in files] == ["statistics.py"]


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

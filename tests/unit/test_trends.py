"""Trends over timesteps, and what two captions have in common."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from diffgeo.studies.prompts.measure import factor_overlap
from diffgeo.studies.tangent_distance.measure import trend_over_times

TIMES = np.linspace(0.1, 1, 10)
APART = np.abs(TIMES[:, None] - TIMES[None, :])


def test_distances_that_grow_with_the_difference_reach_the_largest_trend():
    noise = 1e-6 * np.random.default_rng(0).random(APART.shape)
    found = trend_over_times(TIMES, 2 * APART + noise + noise.T)
    assert found["timesteps"] == 10
    assert found["tau"] == pytest.approx(found["tau_max"], abs=0.02)
    assert found["tau_max"] < 1, "differences of timesteps are tied"
    assert found["slope"] == pytest.approx(2, rel=1e-4)
    assert found["p"] == 1 / 1000


def test_distances_without_an_order_have_no_trend():
    noise = np.random.default_rng(1).random(APART.shape)
    found = trend_over_times(TIMES, noise + noise.T)
    assert abs(found["tau"]) < 0.3
    assert found["p"] > 0.05


def test_the_trend_is_kendalls_tau_b_over_pairs():
    noise = np.random.default_rng(2).random(APART.shape)
    far = APART + 0.5 * (noise + noise.T)
    upper = np.triu_indices(10, 1)
    assert trend_over_times(TIMES, far)["tau"] == kendalltau(APART[upper].round(6), far[upper]).statistic


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ("a smiling face with long hair", "a happy face with long hair", 1),
        ("a smiling face with long hair", "a frowning face with long hair", 1 / 3),
        ("a smiling face", "a face with long hair", 0),
        ("a smiling face", "a portrait", 0),
    ],
)
def test_captions_have_in_common_what_both_say(first, second, share):
    assert factor_overlap(first, second) == factor_overlap(second, first) == pytest.approx(share)


def test_captions_that_say_nothing_cannot_be_compared():
    assert math.isnan(factor_overlap("a portrait", "a picture"))


def test_four_timesteps_cannot_give_more_than_926():
    """An independent check found 0.926 in every sample, by Spearman's ρ of |t − s| and distance on four timesteps."""
    apart = [abs(i - j) for i in range(4) for j in range(i)]
    distance = np.argsort(np.argsort(apart, kind="stable"))  # grows with |t − s|, as strictly as it can
    assert spearmanr(apart, distance).statistic == pytest.approx(0.926, abs=5e-4)

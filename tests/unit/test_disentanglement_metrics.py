"""Codes and effects with known answers, and a second implementation of every score."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LassoLarsIC, LinearRegression
from sklearn.metrics import mutual_info_score

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.metrics.disentanglement import (
    _lasso,
    _noise,
    dci,
    effect_gap,
    effect_vote,
    factor_vae_score,
    importance_scores,
    mig,
    sap,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(n, a, seed=0):
    return torch.rand(n, a, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def factors():
    return uniform(1500, 10)


@pytest.fixture(scope="module")
def rotation():
    return torch.linalg.qr(draw(10, 10, seed=3)).Q


# codes with known answers


def test_identity_codes_are_perfect(factors):
    found = dci(factors, factors)
    assert found.disentanglement == pytest.approx(1, abs=1e-3)
    assert found.completeness == pytest.approx(1, abs=1e-3)
    assert found.informativeness == pytest.approx(1, abs=1e-3)
    assert mig(factors, factors) > 0.9
    assert sap(factors, factors) > 0.95
    assert factor_vae_score(factors, factors) == 1


def test_identity_codes_are_nearly_perfect_to_a_forest(factors):
    found = dci(factors[:600, :4], factors[:600, :4], regressor="forest")
    assert min(found.disentanglement, found.completeness) > 0.98
    assert found.informativeness > 0.98


def test_a_permutation_and_rescaling_of_codes_changes_nothing(factors):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    scale = uniform(1, 10, seed=5) * 3 + 4
    codes = factors[:, order] * scale
    assert dci(codes, factors).disentanglement == pytest.approx(1, abs=1e-3)
    assert mig(codes, factors) == pytest.approx(mig(factors, factors), abs=1e-9)
    assert sap(codes, factors) == pytest.approx(sap(factors, factors), abs=1e-9)
    assert factor_vae_score(codes, factors) == 1


def test_a_random_rotation_of_ten_factors_is_entangled(factors, rotation):
    codes = factors @ rotation
    found = dci(codes, factors)
    assert found.disentanglement < 0.3
    assert found.completeness < 0.3
    assert found.informativeness > 0.99  # nothing was lost
    assert mig(codes, factors) < 0.2
    assert sap(codes, factors) < 0.5


def test_codes_that_know_nothing_score_like_chance(factors):
    codes = draw(1500, 10, seed=9)
    assert dci(codes, factors).informativeness < 0.02
    assert mig(codes, factors) < 0.05
    assert sap(codes, factors) < 0.02
    assert factor_vae_score(codes, factors) < 0.35


def test_one_code_of_two_factors_is_complete_but_not_disentangled(factors):
    two = factors[:, :2]
    codes = two.sum(dim=1, keepdim=True)
    found = dci(codes, two)
    assert found.completeness == pytest.approx(1)
    assert found.disentanglement == pytest.approx(0, abs=1e-3)


def test_two_codes_of_one_factor_are_disentangled_but_not_complete(factors):
    noise = draw(1500, 2, seed=4) * 0.3
    codes = factors[:, :1] + noise
    found = dci(codes, factors[:, :1])
    assert found.disentanglement == pytest.approx(1)
    assert found.completeness < 0.1


# a second, independent implementation


def reference_scores(p):
    """D and C by scipy's entropy, rows and columns in turn."""
    p = np.asarray(p)
    d = [1 - entropy(row, base=p.shape[1]) for row in p]
    c = [1 - entropy(column, base=p.shape[0]) for column in p.T]
    return np.average(d, weights=p.sum(1)), np.average(c, weights=p.sum(0))


def mixed(n=1500, seed=2):
    """Codes that share factors unevenly, with noise; one factor is binary."""
    v = uniform(n, 5, seed=seed)
    v[:, 4] = v[:, 4].sign()
    weights = draw(5, 4, seed=seed + 1).abs().pow(3)
    return v @ weights + 0.2 * draw(n, 4, seed=seed + 2), v


def test_dci_agrees_with_one_built_from_sklearn_parts():
    codes, factors = mixed()
    x = (codes / codes.std(0)).numpy()
    p = np.stack([np.abs(LinearRegression().fit(x, v / v.std()).coef_) for v in factors.numpy().T], axis=1)
    found = dci(codes, factors)
    d, c = reference_scores(p)
    assert found.disentanglement == pytest.approx(d, abs=0.02)
    assert found.completeness == pytest.approx(c, abs=0.02)


def test_dci_by_forest_agrees_with_one_built_from_sklearn_parts():
    codes, factors = mixed()
    parts = [RandomForestRegressor(60, random_state=7).fit(codes.numpy(), v) for v in factors.numpy().T]
    d, c = reference_scores(np.stack([part.feature_importances_ for part in parts], axis=1))
    found = dci(codes, factors, regressor="forest")
    assert found.disentanglement == pytest.approx(d, abs=0.02)
    assert found.completeness == pytest.approx(c, abs=0.02)


def test_mig_agrees_with_histograms_of_numpy():
    codes, factors = mixed()
    gaps = []
    for v in factors.numpy().T:
        bins = 20 if len(np.unique(v)) > 2 else 2
        information = []
        for c in codes.numpy().T:
            joint, _, _ = np.histogram2d(c, v, bins=(20, bins))
            information.append(mutual_info_score(None, None, contingency=joint))
        marginal, _ = np.histogram(v, bins=bins)
        top = sorted(information)[::-1]
        gaps.append((top[0] - top[1]) / entropy(marginal))
    assert mig(codes, factors) == pytest.approx(np.mean(gaps), abs=0.02)


def test_mig_agrees_with_sklearn_on_labels():
    """Kraskov's estimator needs no bins at all."""
    v = torch.randint(0, 4, (4000, 2), generator=torch.Generator().manual_seed(0)).double()
    codes = torch.stack([v[:, 0] + 0.3 * draw(4000), v[:, 1] + 0.6 * v[:, 0] + 0.3 * draw(4000, seed=1)], dim=1)
    gaps = []
    for k in range(2):
        information = sorted(mutual_info_classif(codes.numpy(), v[:, k].numpy(), random_state=0))[::-1]
        gaps.append((information[0] - information[1]) / math.log(4))
    assert mig(codes, v) == pytest.approx(np.mean(gaps), abs=0.03)


def test_sap_agrees_with_squared_correlations():
    codes, factors = mixed()
    continuous = factors[:, :4]
    r = np.corrcoef(codes.numpy().T, continuous.numpy().T)[:4, 4:] ** 2
    top = np.sort(r, axis=0)[::-1]
    assert sap(codes, continuous) == pytest.approx((top[0] - top[1]).mean(), abs=1e-9)


def test_sap_of_a_binary_factor_is_a_gap_of_accuracies():
    labels = torch.cat([-torch.ones(500), torch.ones(500)]).double()[:, None]
    codes = torch.cat([labels, draw(1000, 1)], dim=1)  # one tells all, the other nothing
    assert sap(codes, labels) == pytest.approx(0.5, abs=0.06)


def test_factor_vae_agrees_with_one_built_from_pandas():
    """Groups by quantiles, votes counted in a dictionary, the majority elected on other votes than it is judged by."""
    codes, factors = mixed()
    frame = pd.DataFrame(codes.numpy() / codes.numpy().std(axis=0))
    groups = []
    for v in factors.numpy().T:
        cells = pd.Series(v) if len(np.unique(v)) == 2 else pd.qcut(v, 5, labels=False)
        groups.append([rows.index.to_numpy() for _, rows in frame.groupby(np.asarray(cells))])
    random, counts = np.random.default_rng(5), [Counter(), Counter()]
    for vote in range(16_000):
        k = random.integers(len(groups))
        rows = random.choice(groups[k][random.integers(len(groups[k]))], 16)
        counts[vote % 2][int(frame.to_numpy()[rows].var(axis=0).argmin()), k] += 1
    elected = {code: max((n, k) for (c, k), n in counts[0].items() if c == code)[1] for code, _ in counts[0]}
    right = sum(n for (code, k), n in counts[1].items() if elected.get(code) == k)
    ours = factor_vae_score(codes, factors, votes=16_000)
    assert ours == pytest.approx(right / counts[1].total(), abs=0.02)
    assert 0.3 < ours < 0.95  # neither end, where anything agrees


# degenerate input


def test_constant_codes_are_legal_and_tell_nothing(factors):
    codes = torch.cat([factors, torch.ones(1500, 1).double()], dim=1)
    found = dci(codes, factors)
    assert found.disentanglement == pytest.approx(1, abs=1e-3)
    assert bool((found.importance[-1] == 0).all())
    assert mig(codes, factors) == pytest.approx(mig(factors, factors))
    assert sap(codes, factors) == pytest.approx(sap(factors, factors))
    assert factor_vae_score(codes, factors) == 1
    nothing = torch.ones(1500, 3)
    assert (mig(nothing, factors), sap(nothing, factors), factor_vae_score(nothing, factors)) == (0, 0, 0)
    assert dci(nothing, factors).disentanglement == 0


def test_a_constant_factor_is_left_out(factors):
    more = torch.cat([factors, torch.zeros(1500, 1).double()], dim=1)
    assert dci(factors, more).informativeness == pytest.approx(1, abs=1e-3)
    assert mig(factors, more) == pytest.approx(mig(factors, factors))
    assert sap(factors, more) == pytest.approx(sap(factors, factors))
    assert factor_vae_score(factors, more) == 1


@pytest.mark.parametrize("score", [dci, mig, sap, factor_vae_score])
def test_input_that_asks_nothing_is_refused(score, factors):
    with pytest.raises(ValueRangeError, match="constant"):
        score(factors, torch.ones(1500, 2))
    with pytest.raises(ValueRangeError, match="at least"):
        score(factors[:1], factors[:1])
    with pytest.raises(ShapeError, match="expected"):
        score(factors[:5], factors)
    with pytest.raises(ValueRangeError, match="NaN"):
        score(factors.where(factors < 0.9, math.nan), factors)


def test_unknown_settings_are_refused(factors):
    with pytest.raises(ValueRangeError, match="lasso and forest"):
        dci(factors, factors, regressor="tree")
    with pytest.raises(ValueRangeError, match="bins"):
        mig(factors, factors, bins=1)


# effects


def test_importance_scores_by_hand():
    d, c = importance_scores(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert d == pytest.approx(1)  # each row has one factor
    assert c == pytest.approx(0)  # the first factor has both rows
    assert importance_scores(torch.eye(3)) == (pytest.approx(1), pytest.approx(1))
    assert importance_scores(torch.ones(3, 3)) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert importance_scores(torch.zeros(2, 2)) == (0, 0)
    p = draw(4, 6).abs()
    assert importance_scores(p) == pytest.approx(reference_scores(p.numpy()), abs=1e-12)


def test_importances_must_be_non_negative_and_finite():
    for bad in (torch.tensor([[-1.0]]), torch.tensor([[math.nan]]), torch.tensor([[math.inf]])):
        with pytest.raises(ValueRangeError, match="finite"):
            importance_scores(bad)
    with pytest.raises(ShapeError, match="expected"):
        importance_scores(torch.ones(3))


def test_the_gap_of_effects_by_hand():
    assert effect_gap(torch.tensor([[4.0, 0.0], [1.0, 2.0]])) == pytest.approx((3 / 4 + 1) / 2)
    assert effect_gap(torch.tensor([[4.0, 0.0]])) == 1
    assert effect_gap(torch.zeros(2, 2)) == 0


def test_the_vote_counts_how_often_other_samples_foretell_the_attribute():
    same = torch.tensor([[[3.0, 0.1], [0.1, -2.0]]]).repeat(4, 1, 1)
    assert effect_vote(same) == 1
    mixed_up = torch.tensor([[[3.0, 0.0]], [[0.0, 3.0]]])
    assert effect_vote(mixed_up) == 0
    three = torch.tensor([[[3.0, 0.0]], [[3.0, 0.0]], [[0.0, 3.0]]])
    # each of the first two sees one vote for each attribute: half; the third sees two for the other
    assert effect_vote(three) == pytest.approx((0.5 + 0.5 + 0) / 3)
    with pytest.raises(ValueRangeError, match="2 or more"):
        effect_vote(same[:1])


def test_the_lasso_of_dci_is_scikit_learns_with_its_penalty_by_bic() -> None:
    random = np.random.default_rng(0)
    for n, k in ((16, 2), (24, 10), (60, 5)):
        x = random.normal(size=(n, k))
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        v = x[:, 0] + random.normal(size=n)
        v = (v - v.mean()) / v.std()
        expected = LassoLarsIC(criterion="bic", noise_variance=_noise(x, v)).fit(x, v).coef_
        np.testing.assert_allclose(_lasso(x, v), expected, atol=1e-12)

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition._factor_analysis import _ortho_rotation

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import independent_axes, varimax


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def criterion(loadings):
    return loadings.square().var(dim=0).sum().item()


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_varimax_is_a_rotation_that_raises_its_criterion(seed, n):
    loadings = torch.linalg.qr(draw(40, n, seed=seed)).Q
    rotation = varimax(loadings)
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-9)
    assert criterion(loadings @ rotation) >= criterion(loadings) - 1e-12


def test_varimax_agrees_with_sklearn():
    """Its rotated loadings, from a private function that FactorAnalysis uses."""
    loadings = draw(60, 5, seed=3)
    theirs = torch.from_numpy(np.array(_ortho_rotation(loadings.numpy(), max_iter=500, tol=1e-12)).T.copy())
    assert theirs.shape == loadings.shape
    assert criterion(loadings @ varimax(loadings, max_steps=500)) == pytest.approx(criterion(theirs), rel=1e-3)


def test_varimax_finds_sparse_columns_again():
    sparse = torch.block_diag(*[torch.ones(8, 1, dtype=torch.float64)] * 4) / math.sqrt(8)
    mixed = sparse @ torch.linalg.qr(draw(4, 4, seed=1)).Q
    found = (mixed @ varimax(mixed)).abs()
    overlap = sparse.T @ found
    assert torch.allclose(overlap.sort(dim=0).values[-1], torch.ones(4, dtype=torch.float64), atol=1e-6)


def test_independent_axes_are_the_sources():
    sources = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2000, 3)))
    mixing = draw(3, 3, seed=5)
    mixing = mixing / mixing.norm(dim=0)
    found = independent_axes(sources @ mixing.T)
    overlap = (found.T @ mixing).abs()
    assert overlap.amax(dim=0).min().item() > 0.99


def test_bad_input_is_refused():
    with pytest.raises(ShapeError, match="N > n"):
        independent_axes(draw(3, 3))
    with pytest.raises(ValueRangeError, match="vary"):
        independent_axes(torch.ones(10, 2))
    with pytest.raises(ShapeError):
        varimax(draw(3))
    with pytest.raises(ValueRangeError, match="NaN"):
        varimax(draw(4, 2) * math.nan)

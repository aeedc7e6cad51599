"""Passes that are expected of a basis, against those that it takes."""

import pytest
import torch

from diffgeo.config import DenseConfig, GolubKahanConfig, RandomizedConfig, SubspaceConfig
from diffgeo.sampling import initial_noise
from diffgeo.svd import expected_passes, local_basis

SIDE = 300


@pytest.fixture(scope="module")
def linear():
    """x ↦ A x, A of 300 × 300, its spectrum decaying as that of a U-Net does."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(SIDE, SIDE, dtype=torch.float64, generator=generator)).Q for _ in range(2))
    a = u @ torch.diag(torch.arange(1.0, SIDE + 1, dtype=torch.float64) ** -0.5) @ v.T
    return lambda x: a @ x


OTHERS = ("rank", "share", "points", "probe")
"""Settings that are no argument of a solver, or that the test gives itself."""


def passes(f, x, settings, rank):
    options = {key: value for key, value in vars(settings).items() if key not in OTHERS}
    expected = expected_passes((f(x).numel(), x.numel()), rank, **options)
    return expected, local_basis(f, x, rank, **options).certificate.passes


@pytest.mark.parametrize(
    ("settings", "rank", "exact"),
    [
        (GolubKahanConfig(), 6, False),
        (GolubKahanConfig(block_size=8, tol=1e-2), 10, False),
        (GolubKahanConfig(max_passes=64), 10, True),
        (GolubKahanConfig(), 75, True),  # the whole J costs no more
        (SubspaceConfig(max_passes=200), 5, False),
        (RandomizedConfig(), 5, True),
        (RandomizedConfig(oversample=3, power_steps=1), 7, True),
        (DenseConfig(), 5, True),
    ],
)
@pytest.mark.filterwarnings("ignore::diffgeo.errors.ConvergenceWarning")
def test_a_basis_takes_as_many_passes_as_expected(linear, settings, rank, exact):
    expected, found = passes(linear, torch.zeros(SIDE, dtype=torch.float64), settings, rank)
    assert expected.exact == exact
    assert expected.low <= found <= expected.high
    if exact:
        assert found == expected.about


@pytest.mark.parametrize(("rank", "tol"), [(6, 1e-4), (11, 1e-3)])
def test_the_rule_for_golub_kahan_fits_the_shipped_model(shipped, rank, tol):
    f, x = shipped.feature_map(shipped.schedule.T), initial_noise(shipped, [0])[0]
    expected, found = passes(f, x, GolubKahanConfig(tol=tol), rank)
    assert found == pytest.approx(expected.about, rel=0.15)


def test_a_share_takes_between_the_first_trial_and_all(linear):
    x = torch.zeros(SIDE, dtype=torch.float64)
    options = {"solver": "golub_kahan", "tol": 1e-3, "block_size": 4, "max_passes": None, "share": 0.3}
    expected = expected_passes((SIDE, SIDE), 60, **options)
    assert not expected.exact
    assert 64 < local_basis(linear, x, 60, **options).certificate.passes <= expected.high

"""Local bases at several points at once, and by a measured block size."""

import math
import sys

import pytest
import torch
from linear_maps import matrix_with, operator_of
from scipy.linalg import subspace_angles

from diffgeo.diffusion.sampling import initial_noise
from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import (
    GolubKahan,
    SolveSpec,
    Subspace,
    default_block_size,
    local_bases,
    local_basis,
    probe_block_size,
)
from diffgeo.svd.conversation import alone, together
from diffgeo.svd.golub_kahan import _PER_DIGIT, _PER_DIRECTION

F64 = torch.float64


def angle(a, b):
    return subspace_angles(a.double().numpy(), b.double().numpy()).max()


def points(count, dtype=torch.float32):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_a_stacked_jacobian_is_block_diagonal(tiny_model64):
    f, xs = tiny_model64.feature_map(500), points(3, F64)[:, :, :8, :8]
    stacked = JacobianOperator(f, xs, stacked=True)
    blocks = [JacobianOperator(f, x).dense() for x in xs]
    torch.testing.assert_close(stacked.dense(), torch.block_diag(*blocks), rtol=1e-10, atol=1e-12)


def test_bases_at_several_points_are_those_of_each(tiny_model64):
    f, xs = tiny_model64.feature_map(500), points(5, F64)[:, :, :8, :8].repeat(1, 1, 2, 2)
    spec = SolveSpec(GolubKahan(block_size=2), rank=4, tol=1e-8)
    together_ = local_bases(f, xs, spec)
    for x, basis in zip(xs, together_, strict=True):
        own = local_basis(f, x, spec=spec)
        torch.testing.assert_close(basis.s, own.s, rtol=1e-8, atol=0)
        assert angle(basis.V, own.V) < 1e-5
        assert basis.certificate.passes == own.certificate.passes
        assert basis.certificate.converged


def test_an_overflow_at_any_point_is_refused(tiny_model64):
    xs = points(3, F64)
    f = lambda x: torch.where(x > 1e3, torch.inf, 1.0) * x  # noqa: E731
    xs[2, 0, 0, 0] = 1e4
    with pytest.raises(ValueRangeError, match="model overflows"):
        local_bases(f, xs, SolveSpec(rank=3))


def test_points_that_finish_early_wait_for_nobody():
    """Three matrices whose spectra fall differently: each takes the passes that it takes alone."""
    spectra = [[10, 5, *[0.1] * 50], [1.02**-i for i in range(60)], [4, 3, 2, 1]]
    matrices = [matrix_with(s, 90, 80, seed=i) for i, s in enumerate(spectra)]
    stacks = []

    def stack(places):
        stacks.append(places)
        return operator_of(torch.block_diag(*[matrices[i] for i in places]))

    def routine():
        solver = GolubKahan(block_size=2, max_passes=4000)
        return solver.routine((90, 80), torch.zeros(1, dtype=F64), 3, tol=1e-9, seed=0)

    found = together([routine() for _ in matrices], stack)
    for matrix, basis in zip(matrices, found, strict=True):
        own = alone(routine(), operator_of(matrix))
        assert basis.certificate.passes == own.certificate.passes
        torch.testing.assert_close(basis.s, torch.linalg.svdvals(matrix)[:3], rtol=1e-8, atol=0)
    assert stacks[0] == [0, 1, 2]
    assert stacks[-1] == [1], "the slowest goes on alone"


def test_other_solvers_and_small_maps_go_point_by_point(tiny_model64):
    f, xs = tiny_model64.feature_map(500, pool="sum"), points(2, F64)[:, :, :8, :8]
    for spec in (SolveSpec(rank=3), SolveSpec(Subspace(max_passes=4000), rank=3, tol=1e-3)):
        for x, basis in zip(xs, local_bases(f, xs, spec), strict=True):
            assert angle(basis.V, local_basis(f, x, spec=spec).V) < 1e-6


def test_what_is_refused(tiny_model):
    f = tiny_model.feature_map(500)
    with pytest.raises(ShapeError, match="batch"):
        local_bases(f, torch.zeros(3, 8, 8), SolveSpec(rank=3))
    with pytest.raises(ValueRangeError, match=r"svd\.rank"):
        local_bases(f, torch.zeros(2, 3, 8, 8), SolveSpec(rank=10_000))


def test_a_probed_block_size_is_one_of_the_candidates(tiny_model):
    jacobian = JacobianOperator(tiny_model.feature_map(500), points(1)[0, :, :8, :8])
    assert probe_block_size(jacobian, 8, candidates=(2, 4)) in (2, 4)
    assert jacobian.passes == 3 * 2 * (2 + 4)
    assert probe_block_size(jacobian, 8, candidates=(5000,)) == 1


def test_a_probe_prefers_what_costs_less_time(monkeypatch):
    """A device on which a product takes the same time, however many columns it has: the widest block wins."""
    clock = iter(range(10_000))
    monkeypatch.setattr(sys.modules["diffgeo.svd.golub_kahan"], "perf_counter", lambda: next(clock))
    jacobian = operator_of(torch.eye(100, dtype=F64))
    assert probe_block_size(jacobian, 20, candidates=(2, 4, 8)) == 8


def test_blocks_are_wider_on_accelerators():
    assert default_block_size(torch.device("cpu")) == 4
    assert default_block_size(torch.device("cuda")) == 16


@pytest.mark.parametrize(("rank", "tol"), [(6, 1e-4), (11, 1e-3)])
def test_the_passes_that_the_probe_counts_on_fit_the_shipped_model(shipped, rank, tol):
    f, x = shipped.feature_map(shipped.schedule.T), initial_noise(shipped, [0])[0]
    found = local_basis(f, x, rank, tol=tol, solver=GolubKahan(block_size=4)).certificate.passes
    assert found == pytest.approx(_PER_DIRECTION * rank + _PER_DIGIT * math.log(1 / tol) * 4, rel=0.15)

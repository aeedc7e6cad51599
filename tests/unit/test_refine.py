"""A basis started from a neighbour's: exact whatever the neighbour, and cheap where it is near."""

import pytest
import torch
from linear_maps import matrix_with, operator_of
from scipy.linalg import subspace_angles

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.svd import SOLVERS, LocalBasis, refine
from diffgeo.svd.golub_kahan import golub_kahan

RANK = 20
SPECTRUM = [0.98**i for i in range(250)]


def turned(matrix, by, seed=1):
    """The matrix in coordinates turned a little, and as much changed in its values: a neighbouring Jacobian."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(matrix.shape[1], matrix.shape[1], generator=generator, dtype=matrix.dtype)
    skew = (noise - noise.T) / matrix.shape[1] ** 0.5
    return matrix @ torch.linalg.matrix_exp(by * skew) * (1 + by)


def exact(matrix, rank):
    return SOLVERS["dense"](operator_of(matrix), rank, tol=1e-9)


def angle(a, b):
    return subspace_angles(a.double().numpy(), b.double().numpy()).max()


@pytest.fixture(scope="module")
def here():
    return matrix_with(SPECTRUM, 400, 300)


@pytest.fixture(scope="module")
def there(here):
    return turned(here, 0.02)


@pytest.mark.parametrize("known", [RANK, RANK + 3, 4 * RANK])
def test_triplets_are_those_of_the_dense_decomposition(here, there, known):
    truth = exact(there, RANK)
    basis = refine(operator_of(there), exact(here, known), RANK, tol=1e-9, max_passes=10_000)
    assert basis.certificate.converged
    torch.testing.assert_close(basis.s, truth.s, rtol=1e-10, atol=0)
    assert angle(basis.V, truth.V) < 1e-6
    assert angle(basis.U, truth.U) < 1e-6
    for vectors in (basis.U, basis.V):
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(RANK, dtype=vectors.dtype), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(90, 70), (70, 90)])
def test_a_neighbour_that_has_nothing_to_do_with_it_costs_passes_not_accuracy(shape):
    matrix = matrix_with([0.8**i for i in range(60)], *shape)
    strange = exact(matrix_with([0.8**i for i in range(60)], *shape, seed=7), 16)
    basis = refine(operator_of(matrix), strange, 4, tol=1e-9, max_passes=10_000)
    assert angle(basis.V, exact(matrix, 4).V) < 1e-6


def test_the_certificate_is_what_products_with_the_matrix_say(here, there):
    operator = operator_of(there)
    basis = refine(operator, exact(here, 3 * RANK), RANK, tol=1e-3)
    left = (there @ basis.V - basis.U * basis.s).norm(dim=0) / basis.s[0]
    right = (there.T @ basis.U - basis.V * basis.s).norm(dim=0) / basis.s[0]
    torch.testing.assert_close(basis.certificate.right, right, rtol=1e-6, atol=1e-10)
    assert left.max() < 1e-10
    assert basis.certificate.passes == operator.passes
    assert basis.certificate.converged


def test_further_vectors_of_the_neighbour_save_passes(here):
    """In passes to a residual of 1e-4: with 5 n known vectors < with n + 6 < a Krylov space from those n + 6."""
    nearby = turned(here, 0.01)
    truth = exact(nearby, RANK).V
    bases = [
        refine(operator_of(nearby), exact(here, 5 * RANK), RANK, tol=1e-4),
        refine(operator_of(nearby), exact(here, RANK + 6), RANK, tol=1e-4),
        golub_kahan(operator_of(nearby), RANK, tol=1e-4, block_size=RANK + 6, start=exact(here, RANK + 6).V),
    ]
    far, plain, krylov = (basis.certificate.passes for basis in bases)
    assert all(basis.certificate.converged and angle(basis.V, truth) < 1e-3 for basis in bases)
    assert far < 0.8 * plain
    assert plain < 0.8 * krylov


def test_a_basis_that_is_exact_already_is_only_looked_at(here):
    basis = refine(operator_of(here), exact(here, 2 * RANK), RANK, tol=1e-6)
    assert basis.certificate.passes == 2 * (RANK + 6)
    assert basis.certificate.converged


def test_an_ended_budget_is_told(here, there):
    basis = refine(operator_of(there), exact(here, 2 * RANK), RANK, tol=1e-12, max_passes=60)
    assert basis.certificate.passes <= 60
    assert not basis.certificate.converged


def test_repeated_values_and_a_deficient_rank():
    values = [5, 5, 5, 3, 3, 3, 2, 2, *[1] * 10]
    matrix = matrix_with(values, 120, 90)
    basis = refine(operator_of(turned(matrix, 0.01)), exact(matrix, 18), 6, tol=1e-9, max_passes=5000)
    torch.testing.assert_close(basis.s, 1.01 * torch.tensor(values[:6], dtype=basis.s.dtype), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("rank", "tol", "error"), [(0, 1e-2, ValueRangeError), (21, 1e-2, ValueRangeError), (5, 0.0, ValueRangeError)]
)
def test_settings_out_of_range_are_refused(here, rank, tol, error):
    with pytest.raises(error):
        refine(operator_of(here), exact(here, RANK), rank, tol=tol)


def test_a_neighbour_of_another_size_is_refused(here):
    other: LocalBasis = exact(matrix_with([3, 2, 1], 40, 30), 3)
    with pytest.raises(ShapeError, match="30 rows"):
        refine(operator_of(here), other, 3)

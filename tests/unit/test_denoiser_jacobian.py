"""The denoiser's Jacobian against a Gaussian data set, whose exact denoiser has it in closed form."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_maps import matrix_with, operator_of, orthonormal

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import denoiser, isometry
from diffgeo.geometry.denoiser import Probes, leading_part, probe
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import Dense, local_basis

D = 12
A, B = 0.8, 0.6


class Gaussian:
    """Data N(μ, W diag(λ) Wᵀ) in d dimensions, and the exact denoiser of x_t = a x0 + b ε."""

    def __init__(self, variances, a=A, b=B, d=D, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.a, self.b, self.variances = a, b, torch.as_tensor(variances, dtype=torch.float64)
        self.W = orthonormal(d, len(self.variances), generator)
        self.mean = torch.randn(d, generator=generator, dtype=torch.float64)
        self.x0 = self.mean + self.W @ (
            self.variances.sqrt() * torch.randn(len(self.variances), generator=generator, dtype=torch.float64)
        )
        self.x = a * self.x0 + b * torch.randn(d, generator=generator, dtype=torch.float64)
        self.gains = a * self.variances / (a**2 * self.variances + b**2)

    def clean(self, x):
        """x̂0(x) = E[x0 | x], by the textbook's regression of x0 on x."""
        return self.mean + (x - self.a * self.mean) @ self.W * self.gains @ self.W.T

    def noise(self, x):
        return (x - self.a * self.clean(x)) / self.b

    @property
    def covariance(self):
        """Cov[x0 | x_t] = Σ − a² Σ (a² Σ + b² I)⁻¹ Σ, without the Jacobian."""
        sigma = self.W * self.variances @ self.W.T
        noisy = self.a**2 * sigma + self.b**2 * torch.eye(len(sigma), dtype=torch.float64)
        return sigma - self.a**2 * sigma @ torch.linalg.solve(noisy, sigma)

    def operator(self, x=None):
        return JacobianOperator(self.clean, self.x if x is None else x)

    def basis(self, rank):
        return local_basis(self.clean, self.x, rank=rank, solver=Dense())

    def leading(self, rank):
        return leading_part(self.operator(), self.basis(rank))


def leading_of(matrix, rank):
    x = torch.zeros(matrix.shape[1], dtype=torch.float64)
    return leading_part(operator_of(matrix), local_basis(lambda x: matrix @ x, x, rank=rank, solver=Dense()))


@pytest.fixture
def gaussian():
    return Gaussian([9.0, 4.0, 1.0, 0.25])


# posterior


def test_components_and_variances_are_those_of_the_posterior_covariance(gaussian):
    found = denoiser.posterior_components(gaussian.leading(4), 4, a=A, b=B)
    torch.testing.assert_close(
        found.directions * found.variances @ found.directions.T, gaussian.covariance, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(found.variances, B**2 * gaussian.variances / (A**2 * gaussian.variances + B**2))
    assert found.residuals.max() < 1e-12
    assert (found.directions.abs().amax(dim=0) == found.directions.amax(dim=0)).all()


def test_components_of_an_asymmetric_jacobian_are_eigenvectors_of_its_symmetric_part():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(D, D, generator=generator, dtype=torch.float64)
    found = denoiser.posterior_components(leading_of(matrix, D), 3, a=A, b=B)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    torch.testing.assert_close(found.variances, B**2 / A * values.flip(0)[:3])
    torch.testing.assert_close((found.directions * vectors.flip(1)[:, :3]).sum(dim=0).abs(), torch.ones(3).double())
    assert found.residuals.max() < 1e-12


def test_what_lies_outside_the_leading_directions_shows_in_the_residuals():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(D, D, generator=generator, dtype=torch.float64)
    found = denoiser.posterior_components(leading_of(matrix, 2), 2, a=A, b=B)
    symmetric, q = (matrix + matrix.T) / 2, found.directions
    values = found.variances * A / B**2
    expected = (symmetric @ q - q * values).norm(dim=0) / values[0]
    torch.testing.assert_close(found.residuals, expected)
    assert found.residuals.max() > 0.01


def test_noise_alone_has_no_posterior_components(gaussian):
    with pytest.raises(ValueRangeError, match=r"a = 0.*below T"):
        denoiser.posterior_components(gaussian.leading(4), 1, a=0.0, b=1.0)
    with pytest.raises(ValueRangeError, match="5 components within 4 directions"):
        denoiser.posterior_components(gaussian.leading(4), 5, a=A, b=B)


# sums over the whole Jacobian


def test_with_as_many_probes_as_dimensions_all_sums_are_exact(gaussian):
    found = probe(gaussian.operator(), D)
    assert found.exact
    for leading in (None, gaussian.leading(2)):
        total, squared = denoiser.trace(found, leading), denoiser.squared_norm(found, leading)
        assert total.value == pytest.approx(gaussian.gains.sum().item(), rel=1e-12)
        assert squared.value == pytest.approx(gaussian.gains.square().sum().item(), rel=1e-12)
        assert total.error == squared.error == 0
        assert denoiser.asymmetry(found, leading).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rank", [0, 2])
def test_estimates_are_unbiased_with_and_without_the_leading_directions(rank):
    """The mean over all 2⁶ vectors of signs is the expectation itself."""
    matrix = matrix_with([3.0, 2.0, 1.0, 0.5, 0.2, 0.1], 6, 6)
    omega = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64).T
    found = Probes(omega, matrix @ omega, matrix.T @ omega, exact=False)
    leading = leading_of(matrix, rank) if rank else None
    assert denoiser.trace(found, leading).value == pytest.approx(matrix.trace().item())
    assert denoiser.squared_norm(found, leading).value == pytest.approx(matrix.square().sum().item())
    ratio = (matrix - matrix.T).norm() / matrix.norm()
    assert denoiser.asymmetry(found, leading).value == pytest.approx(ratio.item())


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("what", ["trace", "squared_norm", "asymmetry"])
def test_standard_errors_are_as_large_as_the_errors(what, rank):
    matrix = matrix_with(torch.linspace(3, 0.1, 40), 40, 40)
    truth = {
        "trace": matrix.trace(),
        "squared_norm": matrix.square().sum(),
        "asymmetry": (matrix - matrix.T).norm() / matrix.norm(),
    }[what].item()
    leading = leading_of(matrix, rank) if rank else None
    found = [getattr(denoiser, what)(probe(operator_of(matrix), 20, seed=seed), leading) for seed in range(150)]
    scores = torch.tensor([(one.value - truth) / one.error for one in found])
    assert 0.8 < scores.std() < 1.25
    assert scores.mean().abs() < 0.3


def test_the_leading_directions_take_away_most_of_the_error():
    matrix = matrix_with([10.0, 8.0, 0.1, 0.1, 0.1, 0.1], 30, 30)
    found = probe(operator_of(matrix), 8)
    for estimate in (denoiser.trace, denoiser.squared_norm, denoiser.asymmetry):
        assert estimate(found, leading_of(matrix, 2)).error < 0.1 * estimate(found).error


def test_asymmetry_of_a_symmetric_a_skew_and_any_jacobian():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(60, 60, generator=generator, dtype=torch.float64)
    assert denoiser.asymmetry(probe(operator_of(matrix + matrix.T), 4)).value == pytest.approx(0, abs=1e-12)
    assert denoiser.asymmetry(probe(operator_of(matrix - matrix.T), 4)).value == pytest.approx(2)
    assert denoiser.asymmetry(probe(operator_of(matrix), 60)).value == pytest.approx(math.sqrt(2), rel=0.03)
    nothing = denoiser.asymmetry(probe(operator_of(0 * matrix), 4))
    assert (nothing.value, nothing.error) == (0, 0)


def test_probes_are_those_of_the_seed_and_refuse_what_has_no_meaning():
    square, wide = operator_of(torch.eye(5).double()), operator_of(torch.ones(4, 5).double())
    assert torch.equal(probe(square, 3, seed=4).omega, probe(square, 3, seed=4).omega)
    assert not torch.equal(probe(square, 3, seed=4).omega, probe(square, 3, seed=5).omega)
    assert math.isnan(denoiser.trace(probe(square, 1)).error)
    with pytest.raises(ShapeError, match=r"\(4, 5\).*square"):
        probe(wide, 3)
    with pytest.raises(ValueRangeError, match="0 probes"):
        probe(square, 0)
    with pytest.raises(ValueRangeError, match="transposed=True"):
        denoiser.asymmetry(probe(square, 3, transposed=False))


# rank and dimension


def test_the_numerical_rank_is_the_least_that_passes_the_share_of_the_norm():
    s = torch.tensor([4.0, 3.0, 1.0, 0.5])  # √(16 + 9) / √(16 + 9 + 1 + 0.25) = 0.976, with the third 0.995
    energy = s.square().sum().item()
    assert denoiser.numerical_rank(s, energy) == 3
    assert math.isnan(denoiser.numerical_rank(s[:2], energy))
    # an estimate of the whole may come out below the part that is known
    assert denoiser.numerical_rank(s, 0.9 * energy) == 3


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_a_gaussians_numerical_rank_is_the_number_of_its_dimensions(rank):
    gaussian = Gaussian(torch.linspace(2.0, 1.0, rank).double())
    basis = gaussian.basis(min(rank + 2, D))
    energy = denoiser.squared_norm(probe(gaussian.operator(), D)).value
    assert denoiser.numerical_rank(basis.s, energy) == rank


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_flipd_is_a_gaussians_dimension_as_the_noise_falls(rank):
    """With Σ = W diag(λ) Wᵀ it is Σ a²λ / (a²λ + b²) + ‖ε(a x0)‖² for all noise, and so tends to the rank."""
    variances = torch.linspace(9.0, 0.5, rank).double()
    for b, tolerance in ((0.6, None), (1e-4, 1e-6)):
        gaussian = Gaussian(variances, a=math.sqrt(1 - b**2), b=b)
        x = gaussian.a * gaussian.x0
        trace = denoiser.trace(probe(gaussian.operator(x), D)).value
        found = denoiser.flipd(trace, gaussian.noise(x), gaussian.a)
        if tolerance is None:
            # the score of N(aμ, a²Σ + b²I), by its own formula: D + b² (tr ∇s + ‖s‖²)
            noisy = gaussian.a**2 * gaussian.W * variances @ gaussian.W.T + b**2 * torch.eye(D).double()
            score = -torch.linalg.solve(noisy, x - gaussian.a * gaussian.mean)
            expected = D + b**2 * (score.square().sum() - torch.linalg.inv(noisy).trace()).item()
            assert found == pytest.approx(expected, abs=1e-10)
        else:
            assert found == pytest.approx(rank, abs=tolerance)


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_the_normal_bundle_gives_a_gaussians_dimension(rank):
    b = 1e-3
    gaussian = Gaussian(torch.linspace(9.0, 0.5, rank).double(), a=math.sqrt(1 - b**2), b=b)
    generator = torch.Generator().manual_seed(3)
    xs = gaussian.a * gaussian.x0 + b * torch.randn(4 * D, D, generator=generator, dtype=torch.float64)
    noises = gaussian.noise(xs)
    dimension, fall = denoiser.normal_bundle_dimension(noises)
    assert dimension == rank
    assert 0 < fall < 1
    # within a subspace that holds the tangent space
    other = torch.linalg.qr(torch.cat([gaussian.W, torch.eye(D).double()[:, :2]], dim=1)).Q
    assert denoiser.normal_bundle_dimension(noises @ other)[0] == rank


def test_a_normal_bundle_of_too_few_scores_is_refused():
    with pytest.raises(ShapeError, match="3 scores in 4 dimensions"):
        denoiser.normal_bundle_dimension(torch.zeros(3, 4))


# linearity and isometry


def test_a_gaussians_denoiser_is_linear(gaussian):
    direction = gaussian.W[:, 0]
    lengths = torch.tensor([0.5, 5.0, 50.0]).double()
    image = gaussian.operator().mv(direction[:, None])[:, 0]
    moved = gaussian.clean(gaussian.x + lengths[:, None] * direction)
    ratio, cosine, error = denoiser.local_linearity(gaussian.clean(gaussian.x), moved, lengths[:, None] * image)
    torch.testing.assert_close(ratio, torch.ones(3).double())
    torch.testing.assert_close(cosine, torch.ones(3).double())
    assert error.max() < 1e-12


def test_linearity_by_hand():
    """x̂0 = (1, 0), the change is (0, 2) instead of (0, 1)."""
    ratio, cosine, error = denoiser.local_linearity(
        torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]])
    )
    assert ratio.item() == pytest.approx(math.sqrt(5 / 2))
    assert cosine.item() == pytest.approx(3 / math.sqrt(10))
    assert error.item() == pytest.approx(1)


def test_isometry_is_of_the_spectrum_up_to_its_scale():
    condition, spread = isometry(torch.tensor([math.e**2, math.e, 1.0]))
    assert condition == pytest.approx(math.e**2)
    assert spread == pytest.approx(math.sqrt(2 / 3))
    assert isometry(torch.full((4,), 7.0)) == pytest.approx((1, 0))


# algebra


matrices = st.integers(2, 7).flatmap(
    lambda d: st.lists(st.floats(-3, 3), min_size=d * d, max_size=d * d).map(
        lambda entries: torch.tensor(entries, dtype=torch.float64).reshape(d, d)
    )
)


@given(matrix=matrices, scale=st.floats(0.1, 10))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_asymmetry_lies_in_0_to_2_and_ignores_scale_and_transposition(matrix, scale):
    if matrix.norm() < 1e-3:
        return
    found = denoiser.asymmetry(probe(operator_of(matrix), len(matrix))).value
    assert -1e-12 <= found <= 2 + 1e-12
    for other in (scale * matrix, matrix.T):
        assert denoiser.asymmetry(probe(operator_of(other), len(matrix))).value == pytest.approx(found, abs=1e-9)


@given(
    values=st.lists(st.floats(0.01, 100), min_size=1, max_size=12).map(lambda s: sorted(s, reverse=True)),
    rest=st.floats(0, 100),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_numerical_rank_is_the_least_that_holds_the_share(values, rest):
    s = torch.tensor(values, dtype=torch.float64)
    energy = s.square().sum().item() + rest
    found = denoiser.numerical_rank(s, energy)
    if math.isnan(found):
        assert math.sqrt(s.square().sum().item() / energy) <= 0.99 + 1e-9
        return
    held = [math.sqrt(s[:r].square().sum().item() / energy) for r in (int(found) - 1, int(found))]
    assert held[0] <= 0.99 + 1e-9
    assert held[1] > 0.99 - 1e-9

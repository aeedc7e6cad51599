import math
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from linear_maps import matrix_with, operator_of
from scipy.linalg import subspace_angles

from diffgeo.diffusion.models import PixelDiffusion
from diffgeo.errors import ConvergenceWarning, ValueRangeError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import Dense, GolubKahan, Randomized, SolveSpec, Subspace, decompose, energy, local_bases, local_basis
from diffgeo.svd.golub_kahan import _Patience

F64 = torch.float64
RANK = 6

# each spectrum has a gap after the 6th value, where the subspaces are cut
SPECTRA = {
    "distinct": (300, 200, [10, 9, 8, 7, 6, 5, *torch.linspace(3, 0.1, 100).tolist()]),
    "repeated": (300, 200, [5, 5, 5, 3, 3, 3, *[2] * 50, *[1] * 50]),
    "rank deficient": (300, 200, [4, 3, 2.5, 2, 1.5, 1]),
    "wide": (150, 400, [10, 9, 8, 7, 6, 5, *torch.linspace(3, 0.1, 100).tolist()]),
    "slowly decaying": (400, 300, [0.97**i for i in range(6)] + [0.97 ** (i + 1) for i in range(6, 290)]),
    "far below one": (300, 200, [1e-6 * s for s in (10, 9, 8, 7, 6, 5, *torch.linspace(3, 0.1, 100).tolist())]),
}

KINDS = {"golub_kahan": GolubKahan, "subspace": Subspace, "randomized": Randomized, "dense": Dense}
PATIENT = {
    "golub_kahan": GolubKahan(block_size=4, max_passes=4000),
    "subspace": Subspace(max_passes=40_000),
    "randomized": Randomized(power_steps=50),
    "dense": Dense(),
}
"""Each with settings by which it reaches 1e-9."""


@dataclass(frozen=True)
class Mine(Subspace):
    """A solver made from another one."""

    name = "mine"
    more = "svd.sweeps"


def solve(name, jacobian, rank=RANK, seed=0):
    return PATIENT[name].solve(jacobian, rank, tol=1e-9, seed=seed)


def largest_angle(a, b):
    return subspace_angles(a.double().numpy(), b.double().numpy()).max()


@pytest.fixture(params=list(PATIENT))
def solver(request):
    return request.param


@pytest.fixture(params=list(SPECTRA))
def problem(request):
    rows, columns, spectrum = SPECTRA[request.param]
    return matrix_with(spectrum, rows, columns)


def test_triplets_are_those_of_the_dense_decomposition(solver, problem):
    u, s, vh = torch.linalg.svd(problem, full_matrices=False)
    basis = solve(solver, operator_of(problem))
    torch.testing.assert_close(basis.s, s[:RANK], rtol=1e-8, atol=0)
    assert largest_angle(basis.U, u[:, :RANK]) < 1e-6
    assert largest_angle(basis.V, vh[:RANK].T) < 1e-6


def test_bases_are_orthonormal_and_values_fall(solver, problem):
    basis = solve(solver, operator_of(problem))
    identity = torch.eye(RANK, dtype=F64)
    torch.testing.assert_close(basis.U.T @ basis.U, identity, rtol=0, atol=1e-12)
    torch.testing.assert_close(basis.V.T @ basis.V, identity, rtol=0, atol=1e-12)
    assert bool((basis.s.diff() <= 1e-12 * basis.s[0]).all())


def test_the_largest_entry_of_every_direction_is_positive(solver, problem):
    v = solve(solver, operator_of(problem)).V
    assert bool((v.max(dim=0).values > -v.min(dim=0).values).all())


def test_certified_residuals_are_the_true_ones(solver, problem):
    basis = solve(solver, operator_of(problem))
    left = (problem @ basis.V - basis.U * basis.s).norm(dim=0) / basis.s[0]
    right = (problem.T @ basis.U - basis.V * basis.s).norm(dim=0) / basis.s[0]
    torch.testing.assert_close(basis.certificate.left, left, rtol=1e-3, atol=1e-13)
    torch.testing.assert_close(basis.certificate.right, right, rtol=1e-3, atol=1e-13)
    assert basis.certificate.converged


@pytest.mark.parametrize("name", ["golub_kahan", "subspace", "randomized"])
def test_certified_residuals_are_true_long_before_convergence(name):
    rows, columns, spectrum = SPECTRA["slowly decaying"]
    matrix = matrix_with(spectrum, rows, columns)
    few = {
        "golub_kahan": GolubKahan(block_size=4, max_passes=24),
        "subspace": Subspace(max_passes=64),
        "randomized": Randomized(power_steps=1),
    }
    basis = few[name].solve(operator_of(matrix), RANK, tol=1e-9, seed=0)
    left = (matrix @ basis.V - basis.U * basis.s).norm(dim=0) / basis.s[0]
    right = (matrix.T @ basis.U - basis.V * basis.s).norm(dim=0) / basis.s[0]
    assert torch.maximum(left, right).max() > 1e-3
    torch.testing.assert_close(basis.certificate.left, left, rtol=1e-6, atol=1e-13)
    torch.testing.assert_close(basis.certificate.right, right, rtol=1e-6, atol=1e-13)
    assert not basis.certificate.converged
    assert basis.certificate.residual == pytest.approx(torch.maximum(left, right).max().item(), rel=1e-6)


def test_passes_are_the_columns_that_were_multiplied(solver, problem):
    jacobian = operator_of(problem)
    assert solve(solver, jacobian).certificate.passes == jacobian.columns > 0


def test_passes_of_an_operator_used_before_are_not_counted_twice(solver):
    rows, columns, spectrum = SPECTRA["distinct"]
    jacobian = operator_of(matrix_with(spectrum, rows, columns))
    jacobian.mv(torch.ones(columns, 5, dtype=F64))
    first = solve(solver, jacobian).certificate.passes
    assert solve(solver, jacobian).certificate.passes == first == (jacobian.columns - 5) // 2


def test_fixed_costs_are_as_documented():
    rows, columns, spectrum = SPECTRA["distinct"]
    matrix = matrix_with(spectrum, rows, columns)
    assert Dense().solve(operator_of(matrix), 6, tol=1e-4).certificate.passes == 200
    sketch = Randomized(oversample=5, power_steps=2).solve(operator_of(matrix), 6, tol=1e-4, seed=0)
    assert sketch.certificate.passes == 2 * (2 + 1) * (6 + 5) + 6


@pytest.mark.parametrize("name", ["golub_kahan", "subspace"])
@pytest.mark.parametrize("budget", [60, 100, 200])
def test_budget_is_kept(name, budget):
    matrix = matrix_with([0.999**i for i in range(380)], 400, 390)
    basis = KINDS[name](max_passes=budget).solve(operator_of(matrix), 10, tol=1e-14, seed=0)
    assert not basis.certificate.converged
    assert budget / 2 <= basis.certificate.passes <= budget


def test_golub_kahan_needs_far_fewer_passes_than_power_methods_where_the_spectrum_decays_slowly():
    rows, columns, spectrum = SPECTRA["slowly decaying"]
    matrix = matrix_with(spectrum, rows, columns)
    krylov = GolubKahan(block_size=4, max_passes=4000).solve(operator_of(matrix), RANK, tol=1e-5, seed=0)
    power = Subspace(max_passes=4000).solve(operator_of(matrix), RANK, tol=1e-5, seed=0)
    assert krylov.certificate.solver == "golub_kahan"  # not by the dense way out
    assert krylov.certificate.converged
    assert power.certificate.converged
    assert krylov.certificate.passes < power.certificate.passes / 3


def test_relative_gap_after_the_last_direction(solver):
    rows, columns, spectrum = SPECTRA["distinct"]
    certificate = solve(solver, operator_of(matrix_with(spectrum, rows, columns))).certificate
    assert certificate.gap == pytest.approx((5 - 3) / 5, abs=2e-3)


def test_gap_is_unknown_where_there_is_no_next_value():
    basis = Dense().solve(operator_of(matrix_with([3, 2, 1], 5, 3)), 3, tol=1e-4)
    assert basis.certificate.gap != basis.certificate.gap


def test_same_seed_same_bits_other_seed_other_start(solver):
    rows, columns, spectrum = SPECTRA["slowly decaying"]
    matrix = matrix_with(spectrum, rows, columns)
    first, again, other = (solve(solver, operator_of(matrix), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.U, again.U)
    assert torch.equal(first.s, again.s)
    assert torch.equal(first.V, again.V)
    torch.testing.assert_close(first.V, other.V, rtol=0, atol=1e-6)  # signs are fixed, so that these agree too
    if solver != "dense":
        assert not torch.equal(first.V, other.V)


def test_solvers_leave_the_global_generator_alone(solver):
    state = torch.get_rng_state()
    solve(solver, operator_of(matrix_with([3, 2, 1.5, 1.2, 1.1, 1, 0.5], 30, 20)), rank=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", list(KINDS))
def test_single_precision_reaches_its_own_accuracy(name):
    rows, columns, spectrum = SPECTRA["distinct"]
    matrix = matrix_with(spectrum, rows, columns)
    enough = {"randomized": Randomized(power_steps=20), "subspace": Subspace(max_passes=4000)}
    basis = enough.get(name, KINDS[name]()).solve(operator_of(matrix, torch.float32), RANK, tol=1e-5, seed=0)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    assert basis.U.dtype == basis.s.dtype == basis.V.dtype == torch.float32
    assert largest_angle(basis.U, u[:, :RANK]) < 1e-4
    assert largest_angle(basis.V, vh[:RANK].T) < 1e-4
    torch.testing.assert_close(basis.s.double(), s[:RANK], rtol=1e-6, atol=0)


def test_as_many_equal_values_as_columns_in_a_block_are_all_found():
    matrix = matrix_with([5.0] * 10 + [1 / i for i in range(1, 150)], 1000, 800)
    basis = GolubKahan(block_size=10).solve(operator_of(matrix), 10, tol=1e-6, seed=0)
    assert basis.certificate.solver == "golub_kahan"
    torch.testing.assert_close(basis.s, torch.full((10,), 5.0, dtype=F64), rtol=1e-6, atol=0)


# --- decompose and local_basis


def test_rank_beyond_the_jacobians_is_refused_with_advice():
    jacobian = operator_of(matrix_with([3, 2, 1], 5, 4))
    for rank in (5, 0, -1):
        with pytest.raises(
            ValueRangeError, match=rf"{rank} directions \(svd\.rank\).*5 x 4.*at most 4.*feature\.pool=null"
        ):
            decompose(jacobian, SolveSpec(rank=rank))
    assert jacobian.passes == 0


@pytest.mark.parametrize("solver_name", list(KINDS))
def test_directions_beyond_the_numerical_rank_have_value_zero(solver_name):
    matrix = matrix_with([3, 2, 1], 60, 50)
    basis = decompose(operator_of(matrix), SolveSpec(KINDS[solver_name](), rank=5, tol=1e-8))
    expected = torch.tensor([3, 2, 1, 0, 0], dtype=F64)
    torch.testing.assert_close(basis.s, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(basis.V.T @ basis.V, torch.eye(5, dtype=F64), rtol=0, atol=1e-10)
    torch.testing.assert_close(basis.U.T @ basis.U, torch.eye(5, dtype=F64), rtol=0, atol=1e-10)


def test_the_zero_map_has_values_zero():
    basis = decompose(operator_of(torch.zeros(60, 50, dtype=F64)), SolveSpec(rank=3))
    assert torch.equal(basis.s, torch.zeros(3, dtype=F64))
    assert basis.certificate.converged


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, float("nan")])
def test_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(ValueRangeError, match="0 < share < 1"):
        decompose(operator_of(matrix_with([1], 3, 3)), SolveSpec(rank=1, share=share))


@pytest.mark.parametrize("tol", [0, -1e-3, float("nan")])
def test_tolerance_must_be_positive(tol):
    with pytest.raises(ValueRangeError, match=r"svd\.tol is"):
        decompose(operator_of(matrix_with([1], 3, 3)), SolveSpec(rank=1, tol=tol))


@pytest.mark.parametrize(
    ("solver", "setting"),
    [
        (GolubKahan(max_passes=40), r"raise svd\.max_passes"),
        (Subspace(max_passes=40), r"raise svd\.max_passes"),
        (Randomized(power_steps=0), r"raise svd\.power_steps"),
        (Mine(max_passes=40), r"raise svd\.sweeps"),
    ],
)
def test_missed_tolerance_warns_with_residual_and_setting(solver, setting):
    matrix = matrix_with([0.99**i for i in range(190)], 300, 270)
    with pytest.warns(ConvergenceWarning, match=rf"{solver.name}: residual .*svd\.tol=1e-08; {setting}") as caught:
        basis = decompose(operator_of(matrix), SolveSpec(solver, rank=10, tol=1e-8))
    assert f"residual {basis.certificate.residual:.1e} after {basis.certificate.passes} passes" in str(
        caught[0].message
    )
    assert basis.certificate.residual > 1e-8


@pytest.mark.parametrize(
    "ask",
    [
        lambda f, xs, spec: local_basis(f, xs[0], spec=spec),
        lambda f, xs, spec: decompose(JacobianOperator(f, xs[0]), spec),
        lambda f, xs, spec: local_bases(f, xs, spec),
        lambda f, xs, spec: local_bases(f, xs, replace(spec, solver=Subspace(max_passes=40))),
        lambda f, xs, spec: local_bases(f, xs, SolveSpec(Dense(), rank=1, share=0.9)),
    ],
    ids=["one point", "an operator", "points together", "points apart", "a share out of reach"],
)
def test_the_warning_points_at_the_caller(ask):
    matrix = matrix_with([0.99**i for i in range(270)], 300, 270)
    spec = SolveSpec(GolubKahan(max_passes=40), rank=10, tol=1e-12)
    with pytest.warns(ConvergenceWarning) as caught:
        ask(lambda x: x.flatten(-3) @ matrix.T, torch.zeros(2, 3, 9, 10, dtype=F64), spec)
    assert {warning.filename for warning in caught} == {__file__}


def test_a_reached_tolerance_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decompose(operator_of(matrix_with([5, 4, 3, 1, 0.1, 0.01], 300, 200)), SolveSpec(rank=3, tol=1e-6))


def test_dense_takes_over_where_it_costs_less():
    matrix = matrix_with([0.9**i for i in range(40)], 60, 40)
    assert decompose(operator_of(matrix), SolveSpec(rank=10)).certificate.solver == "dense"
    assert decompose(operator_of(matrix), SolveSpec(rank=9, tol=1e-2)).certificate.solver in ("golub_kahan", "dense")
    sketched = decompose(operator_of(matrix), SolveSpec(Randomized(), rank=10, tol=1))
    assert sketched.certificate.solver == "randomized"


@pytest.mark.parametrize(
    ("shape", "solver"), [((256, 300), "dense"), ((300, 256), "dense"), ((257, 300), "golub_kahan")]
)
def test_dense_takes_over_up_to_a_smaller_side_of_256(shape, solver):
    matrix = matrix_with([10, 9, 8, 7, 1, 0.5], *shape)
    basis = local_basis(lambda x: matrix @ x, torch.zeros(shape[1], dtype=F64), 3)
    assert basis.certificate.solver == solver
    assert (basis.certificate.passes == 256) == (solver == "dense")
    torch.testing.assert_close(basis.s, torch.tensor([10.0, 9, 8], dtype=F64), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["subspace", "randomized"])
def test_baselines_run_on_small_maps_too(name):
    matrix = matrix_with([10, 9, 8, 1, 0.5], 60, 40)
    basis = local_basis(lambda x: matrix @ x, torch.zeros(40, dtype=F64), 3, solver=KINDS[name]())
    assert basis.certificate.solver == name


@pytest.mark.parametrize("solver", ["dense", "golub_kahan"])
def test_a_truncated_basis_keeps_the_leading_triplets_and_tells_the_gap_behind_them(solver):
    spectrum = [10, 9, 7, 4, 3.5, 1, 0.1]
    whole = solve(solver, operator_of(matrix_with(spectrum, 300, 270)), 6)
    for n in range(1, 6):
        cut = whole.truncated(n)
        assert cut.rank == n
        for kept, given in ((cut.U, whole.U), (cut.V, whole.V)):
            assert torch.equal(kept, given[:, :n])
        assert torch.equal(cut.s, whole.s[:n])
        assert torch.equal(cut.certificate.left, whole.certificate.left[:n])
        assert torch.equal(cut.certificate.right, whole.certificate.right[:n])
        assert cut.certificate.gap == pytest.approx(1 - spectrum[n] / spectrum[n - 1], rel=1e-6)
        assert cut.certificate.passes == whole.certificate.passes
        assert cut.certificate.solver == solver
    assert whole.truncated(6) is whole
    assert whole.truncated(4).truncated(2).certificate.gap == whole.truncated(2).certificate.gap


@pytest.mark.parametrize("n", [-1, 0, 4])
def test_a_basis_cannot_be_cut_to_nothing_or_to_more_than_it_has(n):
    basis = decompose(operator_of(matrix_with([3, 2, 1], 5, 4)), SolveSpec(rank=3))
    with pytest.raises(ValueRangeError, match=rf"3 directions cannot be cut to {n}; raise svd\.rank"):
        basis.truncated(n)


@pytest.mark.parametrize("name", ["golub_kahan", "dense"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_share_keeps_the_fewest_directions_that_hold_it(name, share):
    s = torch.tensor([0.9**i for i in range(50)], dtype=F64)
    shares = s.square().cumsum(0) / s.square().sum()
    expected = next(n for n in range(1, 51) if shares[n - 1] >= share)
    matrix = matrix_with(s, 60, 50)
    basis = decompose(operator_of(matrix), SolveSpec(KINDS[name](), rank=None, share=share))
    assert basis.rank == expected
    assert basis.U.shape == (60, expected)
    assert basis.V.shape == (50, expected)
    assert len(basis.certificate.left) == len(basis.certificate.right) == expected
    assert basis.certificate.share == pytest.approx(shares[expected - 1].item(), rel=1e-9)
    assert basis.certificate.gap == pytest.approx(0.1, abs=1e-6)


def test_share_counts_all_its_passes():
    jacobian = operator_of(matrix_with([0.99**i for i in range(180)], 300, 270))
    basis = decompose(jacobian, SolveSpec(rank=None, share=0.5))
    assert basis.rank > 16  # so that it was doubled at least once
    assert basis.certificate.passes == jacobian.columns


def test_a_share_out_of_reach_warns_and_names_the_rank():
    jacobian = operator_of(matrix_with([1.0] * 40, 60, 50))
    with pytest.warns(ConvergenceWarning, match=r"svd\.rank=10 directions hold 25% .*svd\.share=0\.5; raise svd\.rank"):
        basis = decompose(jacobian, SolveSpec(Dense(), rank=10, share=0.5))
    assert basis.rank == 10
    assert basis.certificate.share == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(60, 50), (50, 60)])
def test_energy_of_a_small_map_is_exact(shape):
    matrix = matrix_with([0.9**i for i in range(40)], *shape)
    assert energy(operator_of(matrix)) == pytest.approx(matrix.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("shape", [(400, 300), (300, 400)])
def test_energy_of_a_large_map_is_estimated_within_its_error(shape):
    s = torch.tensor([0.99**i for i in range(250)], dtype=F64)
    matrix = matrix_with(s, *shape)
    effective = s.square().sum() ** 2 / s.pow(4).sum()
    error = (2 / (64 * effective)).sqrt().item()
    jacobian = operator_of(matrix)
    estimates = torch.tensor([energy(jacobian, seed=seed) for seed in range(8)]) / s.square().sum().item()
    assert jacobian.columns == 8 * 64
    assert (estimates - 1).abs().max() < 4 * error
    assert estimates.mean().item() == pytest.approx(1, abs=4 * error / 8**0.5)
    assert estimates.std() > 0


def test_local_basis_is_decompose_of_the_operator(tiny_unet, schedule):
    x = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=F64)
    f = PixelDiffusion(tiny_unet(size=16, dtype=F64), schedule, name="tiny", source="random").feature_map(999)
    ours = local_basis(f, x, 8, tol=1e-8, spec=SolveSpec(chunk_size=5))
    rows = torch.autograd.functional.jacobian(f, x, vectorize=True)
    u, s, vh = torch.linalg.svd(rows.reshape(1024, 768), full_matrices=False)
    torch.testing.assert_close(ours.s, s[:8], rtol=1e-8, atol=0)
    assert largest_angle(ours.V, vh[:8].T) < 1e-5
    assert largest_angle(ours.U, u[:, :8]) < 1e-5
    assert ours.certificate.solver == "golub_kahan"


@pytest.mark.slow
@pytest.mark.parametrize("solver", [GolubKahan(), Subspace()])
def test_pooled_basis_of_the_shipped_model_is_the_dense_one(shipped, solver):
    from diffgeo.diffusion.sampling import initial_noise

    jacobian = JacobianOperator(shipped.feature_map(999, pool="sum"), initial_noise(shipped, [0])[0])
    u, s, vh = torch.linalg.svd(jacobian.dense().double(), full_matrices=False)
    basis = solver.solve(jacobian, 10, tol=1e-5, seed=0)
    assert basis.certificate.converged
    torch.testing.assert_close(basis.s.double(), s[:10], rtol=1e-5, atol=0)
    assert largest_angle(basis.U, u[:, :10]) < 1e-4
    assert largest_angle(basis.V, vh[:10].T) < 1e-4


@pytest.mark.nightly
def test_fifty_directions_of_the_shipped_model_within_a_milliradian_and_450_passes(shipped):
    from diffgeo.diffusion.sampling import initial_noise

    jacobian = JacobianOperator(shipped.feature_map(999), initial_noise(shipped, [0])[0])
    fast = decompose(jacobian, SolveSpec(rank=50, tol=1e-4))
    true = decompose(jacobian, SolveSpec(Dense(), rank=50, tol=1e-4))
    angles = largest_angle(fast.V, true.V), largest_angle(fast.U, true.U)
    error = ((fast.s - true.s) / true.s).abs().max().item()
    print(f"angles V, U {angles}, s {error:.1e}, passes {fast.certificate.passes}, gap {true.certificate.gap:.1e}")
    assert fast.certificate.passes <= 450
    assert max(angles) <= 1e-3
    assert error <= 1e-4


@pytest.mark.parametrize("rate", [1.05, 1.3, 2.0, 5.0, 100.0])
def test_residuals_are_looked_at_rarely_and_never_late(rate):
    """At a steady rate the end is found within two steps; while nothing falls, every fourth step is looked at."""
    patience, tol = _Patience(1e-4), 1e-4
    looked, residual = [], 1.0
    for step in range(1, 10_000):
        residual /= rate
        if patience.due():
            looked.append(step)
            if patience.met(residual):
                break
    needed = math.ceil(math.log(1 / tol) / math.log(rate))
    assert needed <= looked[-1] <= needed + 1
    assert max(b - a for a, b in pairwise([0, *looked])) <= 4
    assert len(looked) <= needed / 2 + 8


def test_residuals_that_rise_or_are_no_numbers_are_looked_at_again():
    patience = _Patience(1e-4)
    for residual in (1.0, 2.0, math.nan, 0.5):
        waited = 1
        while not patience.due():
            waited += 1
        assert waited <= 4
        assert not patience.met(residual)
    while not patience.due():
        pass
    assert patience.met(0.0)


def test_the_zero_map_takes_no_more_passes_than_it_must():
    basis = decompose(operator_of(torch.zeros(400, 300, dtype=F64)), SolveSpec(GolubKahan(block_size=4), rank=3))
    assert basis.certificate.converged
    assert basis.certificate.passes <= 16


def test_blocks_of_more_columns_than_the_jacobian_has_are_refused_at_once():
    matrix = torch.eye(400, 300, dtype=torch.float64)
    with pytest.raises(ValueRangeError, match=r"svd\.block_size is 100000, and the Jacobian is 400 x 300; .*300 col"):
        local_basis(lambda x: matrix @ x, torch.zeros(300, dtype=torch.float64), 2, solver=GolubKahan(100_000))
    assert SolveSpec(GolubKahan(300), rank=None).rank_of((400, 300)) == 300

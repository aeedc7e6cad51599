import itertools
import math

import pytest
import torch

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import geodesic_shooting, pull_back, transport
from diffgeo.svd import Certificate, Dense, LocalBasis, local_basis

F64 = torch.float64
CONVENTIONS = ["isometric", "pullback"]
EXACT = Certificate(torch.zeros(1), torch.zeros(1), 1e-9, 0, "by hand")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def unit(x):
    return x / x.norm()


def basis_of(matrix, rank):
    return local_basis(lambda x: matrix @ x, torch.zeros(matrix.shape[1], dtype=F64), rank, solver=Dense(), tol=1e-9)


@pytest.fixture
def matrix():
    return random(9, 6)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_transport_of_a_singular_direction_to_its_own_point_is_the_identity(matrix, convention):
    basis = basis_of(matrix, 4)
    for i in range(4):
        u, v = transport(basis.U[:, i], basis, convention)
        torch.testing.assert_close(u, basis.U[:, i], rtol=0, atol=1e-12)
        torch.testing.assert_close(v, basis.V[:, i], rtol=0, atol=1e-12)


def test_transport_is_the_formula_of_each_convention(matrix):
    there, here = basis_of(matrix, 4), basis_of(random(9, 6, seed=1), 4)
    u = here.U @ random(4, seed=2)
    projected = unit(there.U @ there.U.T @ u)
    isometric = unit(there.V @ there.U.T @ projected)
    pullback = unit(there.V @ torch.diag(1 / there.s) @ there.U.T @ projected)
    for convention, expected in (("isometric", isometric), ("pullback", pullback)):
        moved, v = transport(u, there, convention)
        torch.testing.assert_close(moved, projected, rtol=0, atol=1e-12)
        torch.testing.assert_close(v, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(isometric, pullback, atol=1e-3)


def test_pulled_back_direction_is_mapped_onto_u(matrix):
    basis = basis_of(matrix, 4)
    u = unit(basis.U @ random(4, seed=3))
    image = matrix @ pull_back(u, basis, "pullback")
    torch.testing.assert_close(unit(image), u, rtol=0, atol=1e-12)
    isometric = matrix @ pull_back(u, basis, "isometric")
    assert unit(isometric) @ u < 0.999


def test_isometric_pull_back_keeps_angles(matrix):
    basis = basis_of(matrix, 4)
    a, b = (unit(basis.U @ random(4, seed=seed)) for seed in (4, 5))
    assert (pull_back(a, basis) @ pull_back(b, basis)).item() == pytest.approx((a @ b).item(), abs=1e-12)


def test_transport_ignores_the_length_of_u_and_follows_its_sign(matrix):
    basis = basis_of(matrix, 4)
    u = random(9, seed=6)
    for convention in CONVENTIONS:
        first, second = transport(u, basis, convention), transport(-37 * u, basis, convention)
        torch.testing.assert_close(first[0], -second[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(first[1], -second[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_direction_orthogonal_to_the_tangent_space_is_refused(dtype):
    with pytest.raises(ValueRangeError, match=r"orthogonal.*raise svd\.rank"):
        transport(torch.eye(12, dtype=dtype)[3], basis_in_first_axes(12, 3, dtype))


def test_a_direction_orthogonal_up_to_rounding_is_refused_in_single_precision():
    for seed in range(10):
        q = torch.linalg.qr(random(128, 51, seed=seed).float()).Q
        basis = LocalBasis(q[:, :50], torch.ones(50), q[:, :50], EXACT)
        with pytest.raises(ValueRangeError, match="orthogonal"):
            transport(q[:, 50], basis)


def basis_in_first_axes(size, rank, dtype):
    axes = torch.eye(size, dtype=dtype)[:, :rank]
    return LocalBasis(axes, torch.ones(rank, dtype=dtype), axes, EXACT)


def test_pull_back_without_a_part_in_the_tangent_space_is_refused():
    with pytest.raises(ValueRangeError, match="no part in the tangent space"):
        pull_back(torch.eye(5, dtype=F64)[4], basis_in_first_axes(5, 3, F64))


@pytest.mark.parametrize("smallest", [0.0, 1e-200, 1e-30])
def test_pull_back_through_a_nearly_singular_jacobian_gives_a_unit_vector_or_says_no(smallest):
    axes = torch.eye(5, dtype=F64)[:, :3]
    basis = LocalBasis(axes, torch.tensor([2.0, 1.0, smallest], dtype=F64), axes, EXACT)
    u = torch.tensor([1, 1, 1, 0, 0], dtype=F64) / 3**0.5
    try:
        v = pull_back(u, basis, "pullback")
    except ValueRangeError:
        return
    assert v.norm().item() == pytest.approx(1)


def test_unknown_convention_is_refused(matrix):
    basis = basis_of(matrix, 4)
    with pytest.raises(ValueRangeError, match=r"edit\.transport is 'levi-civita'; allowed are isometric and pullback"):
        transport(basis.U[:, 0], basis, "levi-civita")


def test_u_of_other_length_is_refused(matrix):
    with pytest.raises(ShapeError, match=r"u has shape \(6,\).*\(9,\)"):
        transport(torch.ones(6, dtype=F64), basis_of(matrix, 4))


# --- shooting


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("length", [2.5, -1.0])
def test_shooting_over_a_linear_map_is_a_straight_line_of_the_given_length(matrix, convention, length):
    basis, x = basis_of(matrix, 4), random(6, seed=7)
    u, v = basis.U[:, 2], basis.V[:, 2]
    points = geodesic_shooting(lambda y: basis, x, u, v, length=length, steps=5, convention=convention)
    assert len(points) == 6
    for k, point in enumerate(points):
        torch.testing.assert_close(point, x + k / 5 * length * v, rtol=0, atol=1e-11)


def test_shooting_over_a_linear_map_keeps_any_direction_under_exact_pull_back(matrix):
    basis, x = basis_of(matrix, 6), random(6, seed=7)
    v = unit(random(6, seed=8))
    u = unit(matrix @ v)
    points = geodesic_shooting(lambda y: basis, x, u, v, length=3.0, steps=4, convention="pullback")
    torch.testing.assert_close(points[-1], x + 3 * v, rtol=0, atol=1e-11)


def sphere(x):
    """Longitude and latitude to the unit sphere."""
    return torch.stack([x[1].cos() * x[0].cos(), x[1].cos() * x[0].sin(), x[1].sin()])


def shoot_on_sphere(steps, convention="pullback", north=0.0, length=1.0):
    """From latitude 0.6 on, due east unless told otherwise; gives the points on the sphere and the start direction."""
    x = torch.tensor([0.0, 0.6], dtype=F64)
    v = torch.tensor([1.0, 0.0], dtype=F64) if not north else torch.tensor([0.0, 1.0], dtype=F64)
    u = unit(torch.func.jvp(sphere, (x,), (v,))[1])
    basis_at = lambda y: local_basis(sphere, y, 2, solver=Dense(), tol=1e-9)  # noqa: E731
    points = geodesic_shooting(basis_at, x, u, v, length=length, steps=steps, convention=convention)
    return torch.stack([sphere(p) for p in points]), u


def test_shooting_along_a_meridian_stays_on_it():
    points, _ = shoot_on_sphere(10, north=1.0, length=0.5)
    expected = sphere(torch.tensor([0.0, 1.1], dtype=F64))
    torch.testing.assert_close(points[-1], expected, rtol=0, atol=1e-12)


def distance_to_great_circle(points, u):
    normal = torch.linalg.cross(points[0], u)
    return (points @ normal).abs().max().item()


def test_shooting_on_a_sphere_follows_the_great_circle_as_steps_shrink():
    coarse, fine = (distance_to_great_circle(*shoot_on_sphere(steps)) for steps in (20, 80))
    parallel = torch.stack([sphere(torch.tensor([angle, 0.6], dtype=F64)) for angle in (0.0, 1.0)])
    straight = distance_to_great_circle(parallel, torch.tensor([0.0, 1.0, 0.0], dtype=F64))
    assert fine < 0.01 * 1.0
    assert coarse / fine > 3  # first order in the step
    assert straight > 10 * fine  # the straight line in coordinates is the parallel, far from it


def test_released_convention_does_not_follow_the_great_circle_of_a_stretched_chart():
    pullback, isometric = (distance_to_great_circle(*shoot_on_sphere(80, c)) for c in ("pullback", "isometric"))
    assert isometric > 2 * pullback


def test_every_piece_has_the_same_length_in_x(matrix):
    points = geodesic_shooting(
        lambda y: local_basis(lambda z: (matrix @ z).sin(), y, 3, solver=Dense(), tol=1e-9),
        random(6),
        unit(random(9)),
        unit(random(6, seed=1)),
        length=1.2,
        steps=6,
    )
    for a, b in itertools.pairwise(points):
        assert (b - a).norm().item() == pytest.approx(0.2, rel=1e-10)


def test_bases_are_asked_for_at_inner_points_alone(matrix):
    basis, asked, x = basis_of(matrix, 4), [], random(6)
    points = geodesic_shooting(lambda y: asked.append(y) or basis, x, basis.U[:, 0], basis.V[:, 0], length=1.0, steps=4)
    assert len(asked) == 3
    assert all(torch.equal(a, b) for a, b in zip(asked, points[1:-1], strict=True))


def test_retraction_makes_every_next_point(matrix):
    basis, x = basis_of(matrix, 4), random(6)
    radius = x.norm()
    points = geodesic_shooting(
        lambda y: basis, x, basis.U[:, 0], basis.V[:, 0], length=4.0, steps=8, retract=lambda a, b: unit(b) * radius
    )
    for point in points:
        assert point.norm().item() == pytest.approx(radius.item(), rel=1e-12)
    assert math.acos((unit(points[-1]) @ unit(x)).item()) > 0.1


def test_points_keep_the_shape_of_a_picture(matrix):
    basis, x = basis_of(matrix, 4), random(1, 2, 3)
    points = geodesic_shooting(lambda y: basis, x, basis.U[:, 0], basis.V[:, 0], length=1.0, steps=1)
    torch.testing.assert_close(points[1], x + basis.V[:, 0].reshape(1, 2, 3))


@pytest.mark.parametrize("steps", [0, -3])
def test_shooting_needs_a_step(matrix, steps):
    basis = basis_of(matrix, 4)
    with pytest.raises(ValueRangeError, match=rf"edit\.steps is {steps}"):
        geodesic_shooting(lambda y: basis, random(6), basis.U[:, 0], basis.V[:, 0], length=1.0, steps=steps)

"""Curves and global directions against closed forms."""

import itertools
import math

import pytest
import torch

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import (
    best_match,
    boundary_value_geodesic,
    curvedness,
    global_directions,
    lerp,
    pca_directions,
    project_to_tangent,
    random_directions,
    semantic_path_length,
    slerp,
)
from diffgeo.svd import Certificate, LocalBasis, local_basis


def basis(u, s=None):
    s = torch.linspace(2, 1, u.shape[1], dtype=torch.float64) if s is None else torch.as_tensor(s)
    zeros = torch.zeros(len(s), dtype=torch.float64)
    return LocalBasis(u, s, u, Certificate(zeros, zeros, 1e-4, 0, "test"))


def orthonormal(m, n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(m, n, generator=generator, dtype=torch.float64)).Q


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slerp_keeps_the_norm_and_turns_evenly(dtype):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    b = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
    a, b = (a / a.norm() * 14).to(dtype), (b / b.norm() * 14).to(dtype)
    points = slerp(a, b, torch.linspace(0, 1, 31)).flatten(1).double()
    assert (points.norm(dim=1) / 14 - 1).abs().max() <= 1e-6
    cosines = (points[1:] * points[:-1]).sum(dim=1) / 14**2
    assert cosines.acos().std() <= 1e-4 * cosines.acos().mean()
    torch.testing.assert_close(points[[0, -1]], torch.stack([a, b]).flatten(1).double(), atol=1e-5, rtol=0)


def test_slerp_of_a_point_with_itself_and_with_its_opposite():
    a = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(slerp(a, a, torch.tensor([0.3])), a[None])
    with pytest.raises(ValueRangeError, match="opposite"):
        slerp(a, -a, torch.tensor([0.5]))
    with pytest.raises(ValueRangeError, match="positive length"):
        slerp(a, 0 * a, torch.tensor([0.5]))


def test_lerp_is_the_chord():
    a, b = torch.tensor([0.0, 1.0]), torch.tensor([4.0, 3.0])
    torch.testing.assert_close(lerp(a, b, torch.tensor([0.25])), torch.tensor([[1.0, 1.5]]))


def test_on_a_linear_map_the_geodesic_is_the_chord():
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a, b = torch.randn(2, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    start = slerp(a, b, torch.linspace(0, 1, 9))
    path = boundary_value_geodesic(lambda x: x @ matrix.T, start, tol=1e-12, max_steps=4000)
    length = (matrix @ (b - a)).square().sum().item() / 8
    assert path.converged
    assert path.energies[-1] == pytest.approx(length, rel=1e-6)
    assert all(later <= earlier for earlier, later in itertools.pairwise(path.energies))
    torch.testing.assert_close(path.points[[0, -1]], torch.stack([a, b]))


def test_on_a_sphere_the_geodesic_is_the_great_circle():
    def sphere(x):  # the plane onto the unit sphere, stereographically
        squared = x.square().sum(dim=-1, keepdim=True)
        return torch.cat([2 * x, squared - 1], dim=-1) / (squared + 1)

    a, b = torch.tensor([0.9, 0.1], dtype=torch.float64), torch.tensor([-0.3, 0.8], dtype=torch.float64)
    path = boundary_value_geodesic(sphere, lerp(a, b, torch.linspace(0, 1, 17)), tol=1e-13, max_steps=4000)
    angle = torch.dot(sphere(a), sphere(b)).acos().item()
    chord = 2 * math.sin(angle / 16 / 2)
    assert path.energies[-1] == pytest.approx(16 * chord**2, rel=1e-6)
    normal = torch.linalg.cross(sphere(a), sphere(b))
    assert (sphere(path.points) @ normal).abs().max() <= 1e-4


def test_a_linear_map_is_flat():
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = torch.randn(4, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    bases = [local_basis(lambda x: matrix @ x, p, 3, solver="dense") for p in points]
    assert semantic_path_length(bases) <= 1e-6


def test_the_path_length_along_a_circle_of_tangents_is_its_angle():
    def circle(x):
        return torch.stack([x[0].cos(), x[0].sin()])

    angles = torch.linspace(0, 1.2, 7, dtype=torch.float64)
    bases = [local_basis(circle, angle[None], 1, solver="dense") for angle in angles]
    torch.testing.assert_close(curvedness(bases), torch.full((6,), 0.2, dtype=torch.float64))
    assert semantic_path_length(bases) == pytest.approx(1.2)
    with pytest.raises(ShapeError, match="at least 2"):
        curvedness(bases[:1])


@pytest.mark.parametrize("method", ["nearest", "hungarian"])
def test_matching_undoes_permutation_and_sign(method):
    u = orthonormal(50, 6, 0)
    shuffled = u[:, [3, 1, 0, 5, 2, 4]] * torch.tensor([1.0, -1, -1, 1, 1, -1])
    found = global_directions([basis(u), basis(shuffled), basis(-u)], method)
    torch.testing.assert_close(found.U, u)
    torch.testing.assert_close(found.score, torch.ones(6, dtype=torch.float64))


def test_hungarian_matches_one_to_one_where_nearest_repeats():
    u = orthonormal(50, 3, 1)
    other = torch.stack([u[:, 0], u[:, 2]], dim=1)
    reference = torch.stack([0.8 * u[:, 0] + 0.6 * u[:, 1], 0.6 * u[:, 0] - 0.8 * u[:, 1]], dim=1)
    nearest = global_directions([basis(reference), basis(other)], "nearest").U
    hungarian = global_directions([basis(reference), basis(other)], "hungarian").U
    assert nearest[:, 1] @ u[:, 0] > 0.8  # u_0 serves both
    assert abs(hungarian[:, 1] @ u[:, 2]) > 0.7  # the second one has to take what is left


def test_frechet_directions_of_equal_spaces_are_the_axes_of_the_mean_metric():
    u = orthonormal(40, 3, 2)
    rotation = orthonormal(3, 3, 3)
    found = global_directions([basis(u, [3.0, 2.0, 1.0]), basis(u, [3.0, 2.0, 1.0])], "frechet")
    torch.testing.assert_close((found.U.T @ u).abs(), torch.eye(3, dtype=torch.float64), atol=1e-8, rtol=0)
    turned = global_directions([basis(u), basis(u @ rotation)], "frechet")
    torch.testing.assert_close(turned.score, torch.ones(3, dtype=torch.float64))


def test_best_match_is_1_within_and_0_across():
    u = orthonormal(40, 6, 4)
    torch.testing.assert_close(best_match(basis(u[:, :3]), basis(-u[:, [2, 0, 1]])), torch.ones(3, dtype=torch.float64))
    assert best_match(basis(u[:, :3]), basis(u[:, 3:])).max() <= 1e-12


def test_projection_keeps_what_lies_in_the_tangent_space():
    u = orthonormal(40, 4, 5)
    unit, share = project_to_tangent(0.6 * u[:, 0] + 0.8 * u[:, 3], basis(u[:, :3]))
    torch.testing.assert_close(unit, u[:, 0])
    assert share.item() == pytest.approx(0.6)
    with pytest.raises(ValueRangeError, match="orthogonal"):
        project_to_tangent(torch.eye(40, dtype=torch.float64)[:, 5], basis(torch.eye(40, dtype=torch.float64)[:, :3]))


def test_pca_finds_the_axis_of_spread_and_random_directions_are_orthonormal():
    axis = orthonormal(20, 1, 6)
    h = torch.randn(64, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64) @ axis.T * 5
    h = h + 0.01 * torch.randn(64, 20, generator=torch.Generator().manual_seed(8), dtype=torch.float64) + 3
    found = pca_directions(h, 2)
    assert abs(found.U[:, 0] @ axis[:, 0]) > 0.9999
    assert found.score[0] > 0.99
    drawn = random_directions(30, 5, seed=1)
    torch.testing.assert_close(drawn.U.T @ drawn.U, torch.eye(5), atol=1e-6, rtol=0)
    with pytest.raises(ValueRangeError, match="1 to 20"):
        pca_directions(h, 21)

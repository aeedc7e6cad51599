"""Curves and global directions against closed forms."""

import itertools
import math

import pytest
import torch
from scipy.stats import beta, ks_2samp, kstest

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import (
    best_match,
    boundary_value_geodesic,
    chord_deviation,
    curvedness,
    flatness_ratio,
    global_directions,
    lerp,
    pca_directions,
    project_to_tangent,
    random_directions,
    random_overlaps,
    semantic_path_length,
    shoot_between,
    signed_as,
    slerp,
)
from diffgeo.svd import Certificate, Dense, LocalBasis, local_basis, signs


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
    bases = [local_basis(lambda x: matrix @ x, p, 3, solver=Dense()) for p in points]
    assert semantic_path_length(bases) <= 1e-6


def test_the_path_length_along_a_circle_of_tangents_is_its_angle():
    def circle(x):
        return torch.stack([x[0].cos(), x[0].sin()])

    angles = torch.linspace(0, 1.2, 7, dtype=torch.float64)
    bases = [local_basis(circle, angle[None], 1, solver=Dense()) for angle in angles]
    torch.testing.assert_close(curvedness(bases), torch.full((6,), 0.2, dtype=torch.float64))
    assert semantic_path_length(bases) == pytest.approx(1.2)
    with pytest.raises(ShapeError, match="at least 2"):
        curvedness(bases[:1])


# --- shooting between two points


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bases_of(f, rank):
    return lambda x: local_basis(f, x, rank, solver=Dense())


def graph_of_squares(x):
    return torch.cat([x, x.square()])


def stereographic(x):
    """The plane onto the unit sphere."""
    squared = x.square().sum(dim=-1, keepdim=True)
    return torch.cat([2 * x, squared - 1], dim=-1) / (squared + 1)


def straight_shot(rows, columns, rank, **options):
    """A shot on a linear map, with the map, a and g = f(b) − f(a)."""
    matrix = random(rows, columns, seed=10)
    a, b = random(2, columns, seed=11)

    def f(x):
        return matrix @ x

    return shoot_between(f, bases_of(f, rank), a, b, **options), matrix, a, matrix @ (b - a)


@pytest.mark.parametrize("aim", ["fixed", "pursuit"])
@pytest.mark.parametrize("segments", [1, 5])
@pytest.mark.parametrize("shape", [(7, 5), (5, 7)])
def test_on_a_linear_map_a_shot_lands_on_the_target_by_the_least_way(shape, segments, aim):
    shot, matrix, a, g = straight_shot(*shape, 5, segments=segments, aim=aim)
    least = torch.linalg.pinv(matrix) @ g
    expected = a + torch.linspace(0, 1, segments + 1, dtype=torch.float64)[:, None] * least
    torch.testing.assert_close(shot.points, expected, rtol=0, atol=1e-10)
    assert shot.miss <= 1e-10
    assert len(shot.bases) == segments + 1


def test_every_piece_of_a_shot_has_the_same_length_in_h():
    shot, matrix, _, g = straight_shot(7, 5, 5, segments=6)
    pieces = (shot.points.diff(dim=0) @ matrix.T).norm(dim=1)
    torch.testing.assert_close(pieces, (g.norm() / 6).expand(6))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_shot_with_few_directions_walks_the_whole_distance_along_what_they_see_of_it(rank):
    shot, matrix, _, g = straight_shot(9, 6, rank, segments=4)
    u = torch.linalg.svd(matrix).U[:, :rank]
    seen = u @ (u.T @ g)
    pieces = u @ (u.T @ (matrix @ shot.points.diff(dim=0).T))
    torch.testing.assert_close(pieces.T, (g.norm() / 4 * seen / seen.norm()).expand(4, -1))
    # ‖g − ‖g‖ ĝ_seen‖ / ‖g‖ = √(2 − 2 cos), cos the share of g that the directions see
    cosine = (seen.norm() / g.norm()).item()
    assert shot.miss == pytest.approx(math.sqrt(2 - 2 * cosine))


def test_pieces_of_equal_length_in_x_add_up_to_the_length_that_was_asked():
    shot, matrix, _, g = straight_shot(5, 7, 5, segments=4, x_length=2.6)
    steps = shot.points.diff(dim=0)
    torch.testing.assert_close(steps.norm(dim=1), torch.full((4,), 0.65, dtype=torch.float64))
    least = torch.linalg.pinv(matrix) @ g
    torch.testing.assert_close(steps, (0.65 * least / least.norm()).expand(4, -1))
    # on a linear map it overshoots (or falls short) by the ratio of the lengths alone
    assert shot.miss == pytest.approx(abs(1 - 2.6 / least.norm().item()))


def test_a_shot_as_long_as_the_least_way_in_x_is_the_shot_in_h():
    plain, matrix, _, g = straight_shot(5, 7, 5, segments=4)
    length = (torch.linalg.pinv(matrix) @ g).norm().item()
    torch.testing.assert_close(straight_shot(5, 7, 5, segments=4, x_length=length)[0].points, plain.points)


def test_a_shot_along_a_circle_walks_the_chord_as_an_arc():
    def circle(x):
        return torch.stack([x[0].cos(), x[0].sin()])

    a, b = torch.tensor([0.1], dtype=torch.float64), torch.tensor([1.3], dtype=torch.float64)
    chord = 2 * math.sin(0.6)
    for aim in ("fixed", "pursuit"):  # a curve has one direction to walk
        shot = shoot_between(circle, bases_of(circle, 1), a, b, segments=8, aim=aim)
        expected = 0.1 + chord * torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        torch.testing.assert_close(shot.points, expected)
        assert shot.miss == pytest.approx(2 * math.sin((1.2 - chord) / 2) / chord)


@pytest.mark.parametrize(
    ("f", "a", "b"),
    [
        (stereographic, [1.2, 0.0], [0.0, 1.2]),
        (graph_of_squares, [0.0, 0.0], [1.0, 0.5]),
        (graph_of_squares, [-0.5, 0.3], [1.0, 0.9]),
    ],
)
def test_pursuit_ends_nearer_than_a_fixed_aim_where_the_map_bends(f, a, b):
    a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    miss = {}
    for aim in ("fixed", "pursuit"):
        shot = shoot_between(f, bases_of(f, 2), a, b, segments=8, aim=aim)
        assert torch.equal(shot.points[0], a)
        assert shot.miss == pytest.approx(((f(b) - f(shot.points[-1])).norm() / (f(b) - f(a)).norm()).item())
        for x, basis in zip(shot.points, shot.bases, strict=True):
            torch.testing.assert_close(basis.U, bases_of(f, 2)(x).U)
        # to first order every piece is δ long in H, wherever the walk has come
        jacobians = [torch.autograd.functional.jacobian(f, x) for x in shot.points[:-1]]
        pieces = [(j @ step).norm() for j, step in zip(jacobians, shot.points.diff(dim=0), strict=True)]
        torch.testing.assert_close(torch.stack(pieces), ((f(b) - f(a)).norm() / 8).expand(8))
        miss[aim] = shot.miss
    assert miss["pursuit"] < 0.9 * miss["fixed"]


def test_a_shot_may_start_from_a_point_of_any_shape():
    matrix = random(7, 6, seed=10)
    a, b = random(2, 1, 2, 3, seed=11)

    def f(x):
        return (matrix @ x.flatten()).reshape(7, 1)

    shot = shoot_between(f, bases_of(f, 6), a, b, segments=3)
    assert shot.points.shape == (4, 1, 2, 3)
    torch.testing.assert_close(shot.points, lerp(a, b, torch.linspace(0, 1, 4, dtype=torch.float64)))


@pytest.mark.parametrize("options", [{"segments": 0}, {"segments": -2}, {"segments": 3, "aim": "sideways"}])
def test_shots_without_pieces_or_with_another_aim_are_refused(options):
    with pytest.raises(ValueRangeError, match="need 1 or more, fixed or pursuit"):
        straight_shot(7, 5, 5, **options)


def test_a_shot_at_a_point_with_the_same_h_is_refused():
    matrix = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    a, b = torch.tensor([[1.0, 2.0], [1.0, -5.0]], dtype=torch.float64)
    with pytest.raises(ValueRangeError, match="same h"):
        shoot_between(lambda x: matrix @ x, bases_of(lambda x: matrix @ x, 1), a, b, segments=2)


def test_a_shot_at_what_the_tangent_space_does_not_see_is_refused():
    a, b = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.5], dtype=torch.float64)
    # the tangent (1, −2) of (x, x²) at −1 is orthogonal to the chord (2.5, 1.25)
    with pytest.raises(ValueRangeError, match=r"orthogonal.*raise svd\.rank"):
        shoot_between(graph_of_squares, bases_of(graph_of_squares, 1), a, b, segments=2)


def test_a_shot_through_a_direction_without_an_image_is_refused():
    matrix = torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64))
    a, b = random(2, 3, seed=12)
    with pytest.raises(ValueRangeError, match=r"singular value of 0.*lower svd\.rank"):
        shoot_between(lambda x: matrix @ x, bases_of(lambda x: matrix @ x, 3), a, b, segments=2)


# --- directions


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


def test_a_sign_is_never_zero():
    values = torch.tensor([-2.0, -0.0, 0.0, 1e-300, math.nan, 3.0], dtype=torch.float64)
    assert signs(values).tolist() == [-1, 1, 1, 1, 1, 1]
    assert signs(values).dtype == torch.float64


def test_directions_are_turned_to_the_reference_and_those_orthogonal_to_it_are_kept():
    axes = torch.eye(5, dtype=torch.float64)
    u = torch.stack([-axes[1], axes[0], axes[4], -axes[4]], dim=1)
    expected = torch.stack([axes[1], axes[0], axes[4], -axes[4]], dim=1)
    torch.testing.assert_close(signed_as(u, basis(axes[:, :3])), expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["nearest", "hungarian"])
def test_a_member_orthogonal_to_the_reference_still_counts_in_the_mean(method):
    axes = torch.eye(4, dtype=torch.float64)
    found = global_directions([basis(axes[:, :1]), basis(axes[:, 1:2])], method)
    assert found.U[:, 0].tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0, 0])
    assert found.score.tolist() == pytest.approx([math.sqrt(0.5)])


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


# --- the null of overlaps


def haar_overlaps(m, n, k, draws, seed):
    """The first k rows of uniformly random n-frames of Rᵐ: Q of a Gaussian matrix, R's diagonal positive."""
    q, r = torch.linalg.qr(random(draws, m, n, seed=seed))
    return (q * r.diagonal(dim1=1, dim2=2).sign()[:, None])[:, :k]


@pytest.mark.parametrize(("m", "n"), [(8, 3), (40, 6), (8192, 25)])
def test_the_share_inside_a_random_subspace_is_beta_distributed(m, n):
    share = random_overlaps(m, n, 1, draws=2000, seed=1).square().sum(dim=(1, 2))
    assert kstest(share, beta(n / 2, (m - n) / 2).cdf).pvalue > 0.01


@pytest.mark.parametrize(("m", "n", "k"), [(8, 3, 2), (40, 6, 1), (8192, 25, 3)])
def test_single_overlaps_are_beta_distributed_wherever_they_stand(m, n, k):
    squared = random_overlaps(m, n, k, draws=2000, seed=2).square()
    for row, column in ((0, 0), (k - 1, n - 1), (0, n // 2)):
        assert kstest(squared[:, row, column], beta(1 / 2, (m - 1) / 2).cdf).pvalue > 0.01
    signs = random_overlaps(m, n, k, draws=2000, seed=2).sign().mean(dim=0)
    assert signs.abs().max() < 4.5 / 2000**0.5


@pytest.mark.parametrize(("m", "n", "k"), [(12, 3, 4), (12, 3, 9), (12, 9, 3), (12, 6, 6), (12, 1, 11), (60, 5, 2)])
def test_overlaps_of_several_vectors_hang_together_as_those_of_a_drawn_frame(m, n, k):
    ours, drawn = random_overlaps(m, n, k, draws=20_000, seed=3), haar_overlaps(m, n, k, 20_000, seed=4)
    assert ours.shape == (20_000, k, n)
    assert ours.dtype == torch.float64
    statistics = {
        "largest": lambda b: b.abs().amax(dim=(1, 2)),
        "two rows": lambda b: (b[:, 0] * b[:, -1]).sum(dim=1),
        "two columns": lambda b: (b[:, :, 0] * b[:, :, -1]).sum(dim=1),
        "first and last corner": lambda b: b[:, 0, 0] * b[:, -1, -1],
        "all": lambda b: b.square().sum(dim=(1, 2)),
        "largest cosine": lambda b: torch.linalg.svdvals(b)[:, 0],
        "smallest cosine": lambda b: torch.linalg.svdvals(b)[:, -1],
    }
    for name, statistic in statistics.items():  # 42 comparisons with those of the other dimensions: 1e-3 in all
        assert ks_2samp(statistic(ours), statistic(drawn)).pvalue > 1e-3 / 42, name
    assert torch.linalg.svdvals(ours).max() <= 1 + 1e-12


def test_overlaps_are_a_function_of_their_seed():
    assert torch.equal(random_overlaps(20, 3, 2, draws=5, seed=7), random_overlaps(20, 3, 2, draws=5, seed=7))
    assert not torch.equal(random_overlaps(20, 3, 2, draws=5, seed=7), random_overlaps(20, 3, 2, draws=5, seed=8))


@pytest.mark.parametrize(
    ("m", "n", "k", "draws"), [(10, 6, 5, 1), (10, 11, 1, 1), (10, 0, 1, 1), (10, 2, 0, 1), (10, 2, 2, 0)]
)
def test_overlaps_that_do_not_fit_are_refused(m, n, k, draws):
    with pytest.raises(ValueRangeError, match=rf"{k} vectors with {n}-frames in {m} dimensions"):
        random_overlaps(m, n, k, draws=draws)


# flatness


def test_a_linear_map_is_flat_along_a_chord():
    """The flat null: R is 1 exactly for lerp, whatever the map's shape."""
    for m, d, seed in ((3, 7, 0), (7, 7, 1), (12, 7, 2)):
        points = lerp(random(d, seed=seed + 10), random(d, seed=seed + 20), torch.linspace(0, 1, 9))
        assert flatness_ratio(points @ random(m, d, seed=seed).T) == pytest.approx(1, abs=1e-12)


def test_the_flatness_ratio_of_an_arc_is_its_length_over_the_chord_squared():
    angles = torch.linspace(0, math.pi / 2, 201, dtype=torch.float64)
    assert flatness_ratio(torch.stack([angles.cos(), angles.sin()], 1)) == pytest.approx((math.pi / 2) ** 2 / 2, 1e-4)
    # a straight line that hurries: steps of 1 and 3
    assert flatness_ratio(torch.tensor([[0.0], [1.0], [4.0]])) == pytest.approx(2 * (1 + 9) / 16)
    assert flatness_ratio(torch.tensor([[2.0], [1.0], [2.0]])) == math.inf


def test_between_near_points_an_invertible_square_map_has_a_path_with_ratio_1_and_a_curved_surface_has_none():
    """What makes a pullback metric degenerate (arXiv 2505.17517), and what does not."""
    start = lerp(torch.tensor([0.0, 0.0]).double(), torch.tensor([1.0, 0.7]).double(), torch.linspace(0, 1, 9))

    def square(x):
        return torch.stack([x[:, 0] + x[:, 1] ** 2, x[:, 1] - x[:, 0] ** 2], dim=1)

    def surface(x):
        return torch.cat([x, 2 * (x.square().sum(dim=1, keepdim=True))], dim=1)

    for f, expected in ((square, True), (surface, False)):
        found = boundary_value_geodesic(f, start, tol=1e-9, max_steps=500)
        assert flatness_ratio(f(start)) > 1.01
        assert (flatness_ratio(f(found.points)) < 1.0005) == expected


def test_a_path_strays_from_its_chord_by_the_distance_of_its_inner_points():
    straight = torch.tensor([[0.0, 0.0], [0.1, 0.2], [0.9, 1.8], [1.0, 2.0]])
    assert chord_deviation(straight) == pytest.approx(0, abs=1e-7)
    bent = torch.tensor([[0.0, 0.0], [1.0, 3.0], [2.0, -1.0], [4.0, 0.0]])
    assert chord_deviation(bent) == pytest.approx(math.sqrt((9 + 1) / 2) / 4)
    overshot = torch.tensor([[0.0, 0.0], [5.0, 0.0], [4.0, 0.0]])  # beyond the end, though on the line
    assert chord_deviation(overshot) == pytest.approx(1 / 4)
    assert chord_deviation(torch.tensor([[1.0], [2.0], [1.0]])) == math.inf


def test_paths_too_short_for_a_ratio_or_a_deviation_are_refused():
    with pytest.raises(ShapeError, match="1 points has no segment"):
        flatness_ratio(torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="2 points has no inner point"):
        chord_deviation(torch.zeros(2, 3))

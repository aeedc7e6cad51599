"""Grassmannian functions against scipy, closed forms and invariances."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import choose_rank, frechet_mean, grassmann_distance, principal_angles, soft_distance
from diffgeo.svd import Certificate, LocalBasis


def orthonormal(m, n, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(m, n, generator=generator, dtype=torch.float64)).Q.to(dtype)


def basis(u, s):
    zeros = torch.zeros(len(s), dtype=torch.float64)
    certificate = Certificate(zeros, zeros, 1e-4, 0, "test")
    return LocalBasis(u, torch.as_tensor(s, dtype=torch.float64), u, certificate)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_angles_agree_with_scipy_on_200_random_pairs(dtype):
    rng = np.random.default_rng(0)
    for seed in range(200):
        n = int(rng.integers(1, 101)) if seed % 10 == 0 else int(rng.integers(1, 25))
        m = int(rng.integers(n, 150))
        u1 = orthonormal(m, n, 2 * seed, dtype)
        # every other pair is close, where arccos would lose its digits
        noise = orthonormal(m, n, 2 * seed + 1, dtype)
        u2 = torch.linalg.qr(u1 + 10.0 ** -float(rng.integers(1, 7)) * noise).Q if seed % 2 else noise
        expected = np.sort(subspace_angles(u1.double().numpy(), u2.double().numpy()))
        np.testing.assert_allclose(principal_angles(u1, u2).numpy(), expected, atol=1e-6)
        assert abs(grassmann_distance(u1, u2) - np.linalg.norm(expected)) <= 1e-6


def test_identical_spaces_are_at_0_whatever_their_basis():
    u = orthonormal(300, 50, 0)
    rotation = orthonormal(50, 50, 1)
    assert grassmann_distance(u, u @ rotation) <= 1e-7
    assert grassmann_distance(u.float(), u.float()) <= 1e-7


def test_orthogonal_spaces_are_at_the_largest_distance():
    u = orthonormal(300, 100, 0)
    assert grassmann_distance(u[:, :50], u[:, 50:]) == pytest.approx(math.sqrt(50) * math.pi / 2, abs=1e-7)
    assert grassmann_distance(u[:, :50], u[:, 50:], normalized=True) == pytest.approx(1, abs=1e-7)


def test_a_rotation_by_known_angles_is_found_to_1e_12():
    u = orthonormal(40, 6, 3)
    angles = torch.tensor([1e-9, 0.3, 1.2], dtype=torch.float64)
    rotated = u[:, :3] * angles.cos() + u[:, 3:] * angles.sin()
    torch.testing.assert_close(principal_angles(u[:, :3], rotated), angles, atol=1e-12, rtol=0)


def test_unequal_dimensions_have_angles_but_no_distance():
    u = orthonormal(30, 5, 0)
    assert principal_angles(u, u[:, :2]).max() <= 1e-12
    with pytest.raises(ShapeError, match="equal"):
        grassmann_distance(u, u[:, :2])


def test_the_frechet_mean_of_two_is_halfway():
    u = orthonormal(40, 6, 4)
    angles = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    rotated = u[:, :3] * angles.cos() + u[:, 3:] * angles.sin()
    mean, spread = frechet_mean([u[:, :3], rotated])
    halfway = u[:, :3] * (angles / 2).cos() + u[:, 3:] * (angles / 2).sin()
    assert grassmann_distance(mean, halfway) <= 1e-8
    assert spread[-1] == pytest.approx(angles.square().sum().item() / 2, rel=1e-9)


def test_the_frechet_mean_is_stationary_and_its_spread_falls():
    centre = orthonormal(60, 4, 5)
    spaces = [torch.linalg.qr(centre + 0.35 * orthonormal(60, 4, 10 + k)).Q for k in range(7)]
    mean, spread = frechet_mean(spaces)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(spread))
    total = sum(grassmann_distance(mean, u) ** 2 for u in spaces)
    for seed in range(20):
        nearby = torch.linalg.qr(mean + 1e-3 * orthonormal(60, 4, 100 + seed)).Q
        assert sum(grassmann_distance(nearby, u) ** 2 for u in spaces) > total


def test_soft_distance_is_the_distance_for_equal_weights_and_0_for_equal_spaces():
    u = orthonormal(40, 6, 6)
    flat = [3.0, 3.0, 3.0]
    assert soft_distance(basis(u[:, :3], flat), basis(u[:, 3:], flat)) == pytest.approx(math.sqrt(3) * math.pi / 2)
    assert soft_distance(basis(u[:, :3], [3, 2, 1]), basis(u[:, :3], [3, 2, 1])) <= 1e-7


def test_a_swap_across_the_cut_jumps_the_hard_distance_and_not_the_soft_one():
    u = orthonormal(40, 4, 7)
    before = basis(u[:, [0, 1, 2]], [3.0, 2.0, 1.001])
    after = basis(u[:, [0, 1, 3]], [3.0, 2.0, 1.001])  # the third vector was replaced by a nearly equal one
    assert grassmann_distance(before.U, after.U) == pytest.approx(math.pi / 2)
    assert soft_distance(before, after) <= 1e-6


def test_rank_rules():
    s = torch.tensor([5.0, 4.9, 4.8, 2.0, 1.9, 1.8])
    assert choose_rank(s, 4) == 4
    assert choose_rank(s, 4, rule="gap") == 3
    assert choose_rank(torch.tensor([1.0, 0.9, 0.4]), 1, rule="share") == 1
    assert choose_rank(torch.tensor([1.0, 0.9, 0.8]), 1, rule="share") == 2
    with pytest.raises(ValueRangeError, match="1 to 6"):
        choose_rank(s, 7)
    with pytest.raises(ValueRangeError, match="fixed, share and gap"):
        choose_rank(s, 2, rule="best")

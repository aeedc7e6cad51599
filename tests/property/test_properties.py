"""Laws that hold for every input, searched by hypothesis."""

import io
import itertools
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.linalg import subspace_angles

from diffgeo.data.factor_faces import FACTORS, render
from diffgeo.data.images import load_image
from diffgeo.diffusion.editing import match_strength, normalise_distortion, single_step
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.diffusion.sampling import ddim_step
from diffgeo.errors import DataError, ValueRangeError
from diffgeo.geometry import flatness_ratio, pull_back, random_overlaps, shoot_between, transport
from diffgeo.jacobian import JacobianOperator
from diffgeo.metrics.attributes import label_change
from diffgeo.svd import local_basis

F64 = torch.float64
settings.register_profile("diffgeo", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("diffgeo")

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 12)


def random(seed, *shape, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(seed, m, d):
    """A smooth nonlinear map R^d -> R^m."""
    a, b = random(seed, 7, d), random(seed + 1, m, 7)
    return lambda x: b @ (a @ x).sin() + b.sum(dim=1) * x.square().sum()


@given(seeds, sizes, sizes, st.integers(1, 5), st.integers(1, 6))
def test_adjoint_identity(seed, m, d, columns, chunk_size):
    jacobian = JacobianOperator(network(seed, m, d), random(seed + 2, d), chunk_size=chunk_size)
    v, w = random(seed + 3, d, columns), random(seed + 4, m, columns)
    left, right = jacobian.mv(v).T @ w, v.T @ jacobian.rmv(w)
    scale = jacobian.dense().norm() * v.norm() * w.norm()
    assert (left - right).abs().max() <= 1e-13 * scale


@settings(max_examples=8)
@given(seed=seeds, t=st.integers(0, 999), pool=st.sampled_from([None, "sum"]))
def test_adjoint_identity_of_a_network(session_model64, seed, t, pool):
    jacobian = JacobianOperator(session_model64.feature_map(t, pool=pool), random(seed, 3, 8, 8))
    m, d = jacobian.shape
    v, w = random(seed + 1, d, 2), random(seed + 2, m, 2)
    left, right = jacobian.mv(v).T @ w, v.T @ jacobian.rmv(w)
    assert (left - right).abs().max() <= 1e-12 * jacobian.mv(v).norm() * w.norm()


@given(seeds, sizes, sizes)
def test_products_are_linear(seed, m, d):
    jacobian = JacobianOperator(network(seed, m, d), random(seed + 2, d))
    v, mix = random(seed + 3, d, 3), random(seed + 4, 3, 2)
    torch.testing.assert_close(jacobian.mv(v @ mix), jacobian.mv(v) @ mix, rtol=1e-9, atol=1e-9)


@given(seeds, st.integers(2, 12), st.integers(2, 12), st.data())
def test_local_basis_is_the_truncated_decomposition(seed, m, d, data):
    rank = data.draw(st.integers(1, min(m, d)))
    f, x = network(seed, m, d), random(seed + 2, d)
    u, s, vh = torch.linalg.svd(torch.autograd.functional.jacobian(f, x), full_matrices=False)
    assume(rank == len(s) or (s[rank - 1] - s[rank]) / s[0] > 1e-3)
    assume(s[rank - 1] / s[0] > 1e-3)
    basis = local_basis(f, x, rank)
    torch.testing.assert_close(basis.s, s[:rank], rtol=1e-8, atol=0)
    assert subspace_angles(basis.V.numpy(), vh[:rank].T.numpy()).max() < 1e-6
    assert subspace_angles(basis.U.numpy(), u[:, :rank].numpy()).max() < 1e-6


@given(st.integers(1, 1500), st.data())
def test_timesteps_fall_from_the_top_and_stay_in_range(n, data):
    steps = data.draw(st.integers(1, n))
    timesteps = NoiseSchedule(torch.linspace(0.999, 0.001, n, dtype=F64)).timesteps(steps)
    assert len(timesteps) == steps
    assert timesteps[0] == n - 1
    assert timesteps[-1] >= 0
    spacings = [a - b for a, b in itertools.pairwise(timesteps)]
    assert all(math.floor(n / steps) <= s <= math.ceil(n / steps) for s in spacings)


@given(st.floats(1e-9, 1.0), st.integers(1, 1000))
def test_no_timestep_is_nearer_than_the_nearest(fraction, steps):
    schedule = NoiseSchedule(torch.linspace(0.999, 0.001, 1000, dtype=F64))
    timesteps = schedule.timesteps(steps)
    if fraction * steps < 0.5 - 2e-3 * steps:
        with pytest.raises(ValueRangeError, match="half a step"):
            schedule.nearest(fraction, steps)
        return
    assume(fraction * steps >= 0.5)  # between the two lies the rounding of a timestep
    found = schedule.nearest(fraction, steps)
    assert found in timesteps
    assert abs(schedule.fraction(found) - fraction) <= 0.5 / steps + 2 / 1000
    assert abs(found - fraction * 999) == min(abs(t - fraction * 999) for t in timesteps)


@given(seeds, st.integers(0, 999), st.sampled_from(["epsilon", "v_prediction", "sample"]))
def test_noising_and_predicting_the_picture_are_inverse(seed, t, prediction):
    schedule = NoiseSchedule(torch.linspace(0.9999, 0.0001, 1000, dtype=F64), prediction)
    x0, noise = random(seed, 1, 3, 4, 4), random(seed + 1, 1, 3, 4, 4)
    x = schedule.add_noise(x0, noise, t)
    torch.testing.assert_close(schedule.predict_x0(x, noise, t), x0, rtol=1e-9, atol=1e-9)


@given(seeds, st.integers(-1, 999), st.integers(0, 999))
def test_a_ddim_step_keeps_picture_and_noise(seed, s, t):
    """A point that is √α_t x0 + √(1−α_t) ε moves to the same combination at s."""
    schedule = NoiseSchedule(torch.linspace(0.9999, 0.0001, 1000, dtype=F64))
    x0, noise = random(seed, 1, 3, 4, 4), random(seed + 1, 1, 3, 4, 4)
    moved = ddim_step(schedule, schedule.add_noise(x0, noise, t), noise, t, s)
    torch.testing.assert_close(moved, schedule.add_noise(x0, noise, s), rtol=1e-9, atol=1e-9)


@given(seeds, st.integers(1, 999), st.floats(0.01, 1), st.data())
def test_noise_of_a_stochastic_step_has_ddims_variance(seed, t, eta, data):
    s = data.draw(st.integers(-1, t - 1))
    schedule = NoiseSchedule(torch.linspace(0.9999, 0.0001, 1000, dtype=F64))
    x, noise = torch.zeros(1, 1, 100, 100, dtype=F64), torch.zeros(1, 1, 100, 100, dtype=F64)
    moved = ddim_step(schedule, x, noise, t, s, eta=eta, generator=torch.Generator().manual_seed(seed))
    a, b = schedule.alpha(t), schedule.alpha(s)
    sigma = eta * ((1 - b) / (1 - a)) ** 0.5 * (1 - a / b) ** 0.5
    assert moved.std().item() == pytest.approx(sigma, rel=0.05, abs=1e-12)


@given(seeds, st.floats(-1e3, 1e3), st.integers(1, 5))
def test_single_steps_undo_each_other(seed, gamma, channels):
    x, v = random(seed, channels, 3, 2), random(seed + 1, channels * 6)
    gammas = torch.tensor([gamma], dtype=F64)
    back = single_step(single_step(x, v, gammas)[0], v, -gammas)[0]
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)


@given(seeds, st.floats(-3, 3), st.floats(0.1, 10), st.integers(0, 999))
def test_distortion_normalisation_forgets_brightness_and_contrast(seed, shift, stretch, t):
    """The matched picture is unchanged when the edited picture is shifted and stretched first."""
    schedule = NoiseSchedule(torch.linspace(0.9999, 0.0001, 1000, dtype=F64))
    zero = lambda y, t: torch.zeros_like(y)  # noqa: E731
    x, moved = random(seed, 1, 3, 4, 4), random(seed + 1, 1, 3, 4, 4)
    plain = normalise_distortion(zero, schedule, x, moved, t)
    changed = normalise_distortion(zero, schedule, x, stretch * moved + shift, t)
    torch.testing.assert_close(changed, plain, rtol=1e-8, atol=1e-8)


@given(
    st.lists(st.tuples(st.floats(0.5, 3), st.floats(1e-3, 1e2), st.floats(1e-2, 1e2)), min_size=1, max_size=5),
    st.floats(1e-3, 1e2),
)
def test_edits_that_grow_by_a_power_are_matched_or_kept_at_their_largest(edits, target):
    """Change = target · ratio · (γ / upper)^p: reaches the target iff ratio ≥ 1, at γ = upper · ratio^(−1/p)."""
    powers, ratios, upper = torch.tensor(edits, dtype=F64).T

    def change(gammas):
        return target * ratios * (gammas / upper) ** powers

    def some(strengths, which):
        every = upper.clone()
        every[which] = strengths
        return change(every)[which]

    gammas, found = match_strength(some, target, upper)
    torch.testing.assert_close(found, change(gammas), rtol=1e-9, atol=1e-9 * target)
    for p, ratio, most, gamma, value in zip(
        *map(torch.Tensor.tolist, (powers, ratios, upper, gammas, found)), strict=True
    ):
        if ratio < 1:
            assert gamma == most
        else:
            assert value == pytest.approx(target, rel=0.0301)
            assert gamma / most == pytest.approx(ratio ** (-1 / p), rel=0.065)


@given(seeds, sizes, sizes, st.integers(1, 6), st.sampled_from(["fixed", "pursuit"]))
def test_a_shot_on_a_linear_map_lands_where_it_is_aimed(seed, m, d, segments, aim):
    matrix, (a, b) = random(seed, m, d), random(seed + 1, 2, d)
    s = torch.linalg.svdvals(matrix)
    assume(s[-1] > 1e-2 * s[0])
    assume((matrix @ (b - a)).norm() > 1e-3)
    shot = shoot_between(
        lambda x: matrix @ x,
        lambda x: local_basis(lambda y: matrix @ y, x, min(m, d)),
        a,
        b,
        segments=segments,
        aim=aim,
    )
    assert shot.miss <= 1e-9
    pieces = (matrix @ shot.points.diff(dim=0).T).norm(dim=0)
    torch.testing.assert_close(pieces, ((matrix @ (b - a)).norm() / segments).expand(segments))


@given(st.integers(3, 30), st.data())
def test_random_overlaps_are_a_corner_of_an_orthogonal_matrix(m, data):
    n = data.draw(st.integers(1, m - 1))
    k = data.draw(st.integers(1, m - n))
    block = random_overlaps(m, n, k, draws=4, seed=data.draw(seeds))
    assert block.shape == (4, k, n)
    assert torch.linalg.svdvals(block).max() <= 1 + 1e-9


@given(seeds, sizes, sizes, st.data())
def test_a_truncated_basis_is_the_basis_of_that_rank(seed, m, d, data):
    rank = data.draw(st.integers(1, min(m, d)))
    n = data.draw(st.integers(1, rank))
    f, x = network(seed, m, d), random(seed + 2, d)
    cut, direct = local_basis(f, x, rank).truncated(n), local_basis(f, x, n)
    for name in ("U", "s", "V"):
        assert torch.equal(getattr(cut, name), getattr(direct, name))


@given(seeds, st.sampled_from(["isometric", "pullback"]), st.integers(1, 6))
def test_transport_gives_unit_vectors_of_the_target_and_a_second_time_nothing_new(seed, convention, rank):
    a = random(seed, 9, 7)
    basis = local_basis(lambda x: a @ x, torch.zeros(7, dtype=F64), rank)
    u, v = transport(random(seed + 1, 9), basis, convention)
    assert u.norm().item() == pytest.approx(1)
    assert v.norm().item() == pytest.approx(1)
    torch.testing.assert_close(basis.U @ basis.U.T @ u, u, rtol=0, atol=1e-12)
    torch.testing.assert_close(basis.V @ basis.V.T @ v, v, rtol=0, atol=1e-12)
    again, _ = transport(u, basis, convention)
    torch.testing.assert_close(again, u, rtol=0, atol=1e-12)


@given(seeds, st.integers(1, 7))
def test_exact_pull_back_inverts_the_jacobian_up_to_length(seed, rank):
    a = random(seed, 9, 7)
    basis = local_basis(lambda x: a @ x, torch.zeros(7, dtype=F64), rank)
    u, _ = transport(random(seed + 1, 9), basis)
    image = a @ pull_back(u, basis, "pullback")
    assert (image @ u / image.norm()).item() == pytest.approx(1, abs=1e-9)


vectors = st.lists(st.floats(-1, 1, width=32), min_size=len(FACTORS), max_size=len(FACTORS))


@given(vectors, st.integers(8, 40))
def test_every_factor_vector_is_a_finite_picture_of_the_asked_size(z, size):
    picture = render(torch.tensor([z]), size)
    assert picture.shape == (1, 3, size, size)
    assert bool(torch.isfinite(picture).all())
    assert picture.min() >= -1 - 1e-6


@given(vectors)
def test_mirrored_yaw_mirrors_every_face(z):
    z = torch.tensor([z])
    mirrored = z.clone()
    yaw = [f.name for f in FACTORS].index("yaw")
    glasses = [f.name for f in FACTORS].index("glasses")
    z[:, glasses] = mirrored[:, glasses] = -1  # their glare comes from one side
    mirrored[:, yaw] = -z[:, yaw]
    torch.testing.assert_close(render(z).flip(-1), render(mirrored), rtol=0, atol=2e-4)


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=8), st.floats(0.01, 1))
def test_labels_name_only_what_moved_and_the_strongest_first(change, threshold):
    names = [f"a{i}" for i in range(len(change))]
    label = label_change(names, torch.tensor(change), threshold=threshold)
    moved = sorted((abs(c) for c in change if abs(c) >= np.float32(threshold)), reverse=True)[:3]
    if label == "no attribute":
        assert max(abs(c) for c in change) <= threshold * (1 + 1e-6)
        return
    parts = [part.split() for part in label.split(", ")]
    values = [change[names.index(name)] for name, _ in parts]
    assert [abs(v) for v in values] == moved
    assert all(sign == ("+" if v > 0 else "−") for v, (_, sign) in zip(values, parts, strict=True))


PICTURES = {}
for suffix in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 9, 3)).astype(np.uint8)).save(buffer, suffix)
    PICTURES[suffix] = buffer.getvalue()


@settings(max_examples=400)
@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_a_damaged_file_loads_or_is_refused_by_name_and_nothing_else(suffix, data):
    content = bytearray(PICTURES[suffix])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    handle, name = tempfile.mkstemp(suffix=f".{suffix.lower()}")
    try:
        os.write(handle, bytes(content))
        os.close(handle)
        picture = load_image(Path(name), 6, 5)
    except DataError as error:
        message = str(error)
    else:
        message = name
        assert picture.shape == (3, 6, 5)
        assert picture.abs().max() <= 1
    finally:
        Path(name).unlink()
    assert Path(name).name in message


@given(seeds, st.integers(1, 60), st.integers(1, 60), st.sampled_from(["L", "LA", "RGB", "RGBA", "P", "1"]))
def test_every_mode_and_size_gives_a_picture_of_the_asked_size(seed, width, height, mode):
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    handle, name = tempfile.mkstemp(suffix=".png")
    os.close(handle)
    try:
        Image.fromarray(noise).convert(mode).save(name)
        picture = load_image(Path(name), 8, 6)
    finally:
        Path(name).unlink()
    assert picture.shape == (3, 8, 6)
    assert picture.abs().max() <= 1


@given(seeds, sizes, st.integers(1, 8), st.floats(-3, 3), st.booleans())
def test_no_path_is_flatter_than_a_straight_line_evenly_paced(seed, m, segments, scale, smooth):
    """R ≥ 1, and it does not depend on the map's unit or on which end comes first."""
    points = random(seed, segments + 1, m)
    images = torch.stack([network(seed, 5, m)(x) for x in points]) if smooth else points
    assume((images[-1] - images[0]).norm() > 1e-6 and abs(scale) > 1e-3)
    ratio = flatness_ratio(images)
    assert ratio >= 1 - 1e-12
    assert flatness_ratio(scale * images + 3) == pytest.approx(ratio, rel=1e-6)
    assert flatness_ratio(images.flip(0)) == pytest.approx(ratio, rel=1e-12)

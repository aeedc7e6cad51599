import math

import pytest
import torch

from diffgeo.diffusion.editing import match_strength, normalise_distortion, single_step, x_space_guidance
from diffgeo.errors import ShapeError, ValueRangeError

F64 = torch.float64


def match(change, target, upper, **options):
    """``match_strength`` for a function of all strengths at once."""

    def some(gammas, which):
        every = upper.clone()
        every[which] = gammas
        return change(every)[which]

    return match_strength(some, target, upper, **options)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def curved_noise(x, t):
    return (0.7 * x + 0.2 * x.flip(-1)).sin() * (1 + t / 1000)


def test_single_step_is_x_plus_gamma_v():
    x, v = random(3, 4, 4), random(48, seed=1)
    moved = single_step(x, v, torch.tensor([-2.0, 0.0, 0.5]))
    for i, gamma in enumerate((-2.0, 0.0, 0.5)):
        for entry in (0, 17, 47):
            assert moved[i].flatten()[entry] == x.flatten()[entry] + gamma * v[entry]
    assert torch.equal(moved[1], x)


@pytest.mark.parametrize("shape", [(47,), (48, 1), (3, 4, 4)])
def test_a_direction_of_other_shape_is_refused(shape):
    with pytest.raises(ShapeError, match="x has 48 numbers"):
        single_step(random(3, 4, 4), torch.zeros(shape, dtype=F64), torch.ones(1))


@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("t", [100, 999])
def test_distortion_normalisation_is_its_equation(schedule, t, kappa):
    x, moved = random(1, 3, 4, 4), random(1, 3, 4, 4) + 2 * random(3, 3, 4, 4, seed=1)
    ours = normalise_distortion(curved_noise, schedule, x, moved, t, kappa=kappa)
    a = float(schedule.alphas_cumprod[t])
    for i in range(3):
        picture = (x[0] - (1 - a) ** 0.5 * curved_noise(x[0], t)) / a**0.5
        edited = (moved[i] - (1 - a) ** 0.5 * curved_noise(moved[i], t)) / a**0.5
        matched = (edited - edited.mean()) / edited.std() * picture.std() + picture.mean()
        expected = x[0] + a**0.5 / (1 - kappa * (1 - a) ** 0.5) * (matched - picture)
        torch.testing.assert_close(ours[i], expected, rtol=1e-9, atol=1e-9)


def test_every_sample_is_normalised_to_its_own_original(schedule):
    x, moved = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1)
    together = normalise_distortion(curved_noise, schedule, x, moved, 500)
    for i in range(2):
        alone = normalise_distortion(curved_noise, schedule, x[i : i + 1], moved[i : i + 1], 500)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


def test_a_latent_that_did_not_move_stays(schedule):
    x = random(2, 3, 4, 4)
    torch.testing.assert_close(normalise_distortion(curved_noise, schedule, x, x, 999), x, rtol=1e-10, atol=1e-10)


def test_predicted_picture_keeps_mean_and_contrast(schedule):
    # where ε does not depend on x and κ = 0, the predicted picture of the result is x0' itself
    fixed = random(1, 3, 4, 4, seed=5)
    x, moved = random(1, 3, 4, 4), random(1, 3, 4, 4) * 3 + 2
    result = normalise_distortion(lambda y, t: fixed.expand_as(y), schedule, x, moved, 700, kappa=0.0)
    before, after = (schedule.predict_x0(y, fixed, 700) for y in (x, result))
    assert after.mean().item() == pytest.approx(before.mean().item(), rel=1e-9)
    assert after.std().item() == pytest.approx(before.std().item(), rel=1e-9)
    assert (after - before).abs().max() > 0.1


def test_kappa_scales_the_step_by_its_factor_alone(schedule):
    x, moved = random(1, 3, 4, 4), random(1, 3, 4, 4, seed=1)
    a = schedule.alpha(999)
    steps = {
        k: (normalise_distortion(curved_noise, schedule, x, moved, 999, kappa=k) - x).norm().item() for k in (0.0, 0.99)
    }
    assert steps[0.99] / steps[0.0] == pytest.approx(1 / (1 - 0.99 * (1 - a) ** 0.5), rel=1e-9)


@pytest.mark.parametrize("t", [100, 999])
def test_a_rescaled_step_has_the_length_of_the_plain_one_and_the_formulas_direction(schedule, t):
    x, v = random(1, 3, 4, 4), torch.nn.functional.normalize(random(48, seed=1), dim=0)
    gammas = torch.tensor([-2.0, -0.3, 0.0, 1.0, 5.0], dtype=F64)
    moved = single_step(x[0], v, gammas)
    plain = normalise_distortion(curved_noise, schedule, x, moved, t) - x
    rescaled = normalise_distortion(curved_noise, schedule, x, moved, t, rescale=True) - x
    torch.testing.assert_close(rescaled.flatten(1).norm(dim=1), gammas.abs(), rtol=1e-9, atol=1e-9)
    if t == 999:  # the formula's lengths are others
        assert not torch.allclose(plain.flatten(1).norm(dim=1), gammas.abs(), rtol=0.5)
    cosines = torch.nn.functional.cosine_similarity(plain.flatten(1), rescaled.flatten(1))
    torch.testing.assert_close(cosines[[0, 1, 3, 4]], torch.ones(4, dtype=F64), rtol=1e-9, atol=1e-9)
    assert torch.equal(rescaled[2], torch.zeros_like(rescaled[2]))


def test_kappa_has_no_effect_on_a_rescaled_step(schedule):
    x, moved = random(1, 3, 4, 4), random(2, 3, 4, 4, seed=1)
    steps = [normalise_distortion(curved_noise, schedule, x, moved, 999, kappa=k, rescale=True) for k in (0.0, 0.99)]
    torch.testing.assert_close(*steps, rtol=1e-9, atol=1e-9)


def test_a_step_that_the_normalisation_annuls_is_not_made_of_rounding_noise(schedule):
    """With ε = 0 a picture that is only brighter is normalised back to the original."""
    for dtype, noise in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        x = random(1, 3, 4, 4).to(dtype)
        result = normalise_distortion(lambda y, t: torch.zeros_like(y), schedule, x, x + 1, 500, rescale=True)
        assert (result - x).norm() < noise


@pytest.mark.parametrize("kappa", [-0.01, 1.0, 2.0, float("nan")])
def test_kappa_outside_its_range_is_refused(schedule, kappa):
    x = random(1, 3, 4, 4)
    with pytest.raises(ValueRangeError, match="0 <= kappa < 1"):
        normalise_distortion(curved_noise, schedule, x, x, 500, kappa=kappa)


def test_an_edit_to_a_flat_picture_stays_finite(schedule):
    x = random(1, 3, 4, 4)
    flat = torch.zeros_like(x)
    result = normalise_distortion(lambda y, t: torch.zeros_like(y), schedule, x, flat, 500, kappa=0.0)
    picture = schedule.predict_x0(result, torch.zeros_like(x), 500)
    expected = schedule.predict_x0(x, torch.zeros_like(x), 500).mean()
    torch.testing.assert_close(picture, expected.expand_as(picture), rtol=1e-9, atol=1e-9)


def test_guidance_is_its_equation_repeated():
    x, offset = random(2, 3, 4, 4), 0.3 * random(3, 4, 4, seed=1)
    expected = x
    for _ in range(5):
        expected = expected + 0.1 * (curved_noise(expected + offset, 300) - curved_noise(expected, 300))
    torch.testing.assert_close(x_space_guidance(curved_noise, x, offset, 300, scale=0.1, steps=5), expected)


def test_guidance_on_a_linear_predictor_moves_by_steps_times_scale():
    x, offset = random(1, 3, 4, 4), random(3, 4, 4, seed=1)
    guided = x_space_guidance(lambda y, t: 2 * y, x, offset, 300, scale=0.5, steps=16)
    torch.testing.assert_close(guided, x + 16 * 0.5 * 2 * offset)


def test_guidance_by_nothing_does_nothing():
    x = random(1, 3, 4, 4)
    assert torch.equal(x_space_guidance(curved_noise, x, torch.zeros(3, 4, 4), 300, scale=1.0, steps=3), x)


@pytest.mark.parametrize("steps", [0, -1])
def test_guidance_needs_a_step(steps):
    with pytest.raises(ValueRangeError, match=rf"edit\.steps is {steps}"):
        x_space_guidance(curved_noise, random(1, 3, 4, 4), random(3, 4, 4), 300, scale=1.0, steps=steps)


# --- equal strength

MONOTONE = {
    "linear": (lambda g: 3 * g, lambda c: c / 3),
    "square": (lambda g: g**2, lambda c: c**0.5),
    "cube": (lambda g: g**3, lambda c: c ** (1 / 3)),
    "root": (lambda g: g.sqrt(), lambda c: c**2),
    "saturating": (lambda g: 1 - (-g).exp(), lambda c: -math.log(1 - c)),
    "tangent": (lambda g: (g / 3).tan(), lambda c: 3 * math.atan(c)),
    "logarithm": (lambda g: (1 + g).log(), lambda c: math.exp(c) - 1),
}


@pytest.mark.parametrize("name", list(MONOTONE))
@pytest.mark.parametrize("target", [0.1, 0.6, 0.9])
def test_matched_strength_is_the_inverse_of_the_change(name, target):
    change, inverse = MONOTONE[name]
    gamma, found = match(change, target, torch.tensor([4.0], dtype=F64), tol=1e-6, max_steps=60)
    assert found.item() == pytest.approx(target, rel=1e-6)
    assert torch.equal(found, change(gamma).sub(target).add(target))  # what is told was measured there
    assert gamma.item() == pytest.approx(inverse(target), rel=1e-5)


@pytest.mark.parametrize("name", list(MONOTONE))
def test_a_few_evaluations_match_the_change_within_the_default_tolerance(name):
    change, evaluations = MONOTONE[name][0], []

    def counted(gammas):
        evaluations.append(gammas)
        return change(gammas)

    _, found = match(counted, 0.2, torch.tensor([4.0], dtype=F64))
    assert found.item() == pytest.approx(0.2, rel=0.03)
    assert len(evaluations) <= 11


def test_edits_that_never_reach_the_change_keep_the_largest_strength():
    upper = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=F64)
    # zero, too weak, just strong enough, strong
    gamma, found = match(lambda g: g * torch.tensor([0.0, 0.1, 0.25, 0.5], dtype=F64), 1.0, upper, tol=1e-9)
    torch.testing.assert_close(gamma, torch.tensor([1.0, 2.0, 4.0, 2.0], dtype=F64))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.2, 1.0, 1.0], dtype=F64))


def test_an_edit_does_not_feel_the_others():
    powers = torch.tensor([0.5, 1.0, 2.0, 3.0, 2.0, 0.7], dtype=F64)
    scale = torch.tensor([1.0, 3.0, 0.2, 5.0, 1e-6, 100.0], dtype=F64)
    upper = torch.tensor([9.0, 2.0, 3.0, 1.0, 5.0, 4.0], dtype=F64)
    together = match(lambda g: scale * g**powers, 0.7, upper)
    for i in range(len(upper)):
        alone = match(lambda g, i=i: scale[i] * g ** powers[i], 0.7, upper[i : i + 1])
        for all_of_them, one in zip(together, alone, strict=True):
            torch.testing.assert_close(all_of_them[i : i + 1], one, rtol=1e-12, atol=0)


def test_nothing_more_is_measured_once_every_edit_is_matched():
    calls = 0

    def change(gammas):
        nonlocal calls
        calls += 1
        return 2 * gammas

    match(change, 1.0, torch.tensor([3.0, 0.2], dtype=F64))
    assert calls == 3  # at the largest strength, by the first guess of the power, and where the secant says


def test_a_change_that_does_not_grow_evenly_is_still_bracketed():
    def staircase(gammas):
        return gammas + 0.45 * (7 * gammas).sin() / 7  # monotone, with a slope from 0.55 to 1.45

    gamma, found = match(staircase, 1.3, torch.tensor([6.0], dtype=F64), tol=1e-6, max_steps=60)
    assert found.item() == pytest.approx(1.3, rel=1e-6)
    assert staircase(gamma).item() == pytest.approx(1.3, rel=1e-6)


@pytest.mark.parametrize("target", [0.0, -0.1, float("nan")])
def test_a_change_that_is_not_positive_cannot_be_matched(target):
    with pytest.raises(ValueRangeError, match=r"must be positive, raise edit\.strength"):
        match_strength(lambda g: g, target, torch.ones(1))

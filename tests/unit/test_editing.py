import pytest
import torch

from diffgeo.editing import normalise_distortion, single_step, x_space_guidance
from diffgeo.errors import ShapeError, ValueRangeError

F64 = torch.float64


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

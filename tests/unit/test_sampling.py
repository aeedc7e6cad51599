import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.noise_schedule import CLEAN, NoiseSchedule
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, ddim_step, initial_noise
from diffgeo.errors import ValueRangeError
from training.evaluation import HELD_OUT

F64 = torch.float64


def diffusers_ddim(steps, clip=False):
    """diffusers' DDIM with double-precision coefficients, and our schedule of the same α."""
    scheduler = DDIMScheduler(timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=clip)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    scheduler.set_timesteps(steps)
    return scheduler, NoiseSchedule.of(scheduler)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def curved_noise(x, t):
    """An ε-predictor that depends on x and t without a symmetry to hide behind."""
    return (0.8 * x + 0.3 * x.roll(1, -1)).tanh() * (0.5 + t / 2000)


def model_of(schedule, predict_noise):
    return SimpleNamespace(schedule=schedule, predict_noise=predict_noise)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("t", [999, 499, 19])
def test_one_step_is_that_of_diffusers(t, eta, clip):
    scheduler, schedule = diffusers_ddim(50, clip)
    x, noise = random(2, 3, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=F64)
    s = t - 20
    expected = scheduler.step(noise, t, x, eta=eta, variance_noise=z).prev_sample
    ours = ddim_step(schedule, x, noise, t, s, eta=eta, clip=clip, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_whole_trajectory_is_that_of_diffusers(eta, clip):
    scheduler, schedule = diffusers_ddim(40, clip)
    start = random(2, 3, 4, 4)
    expected, generator = start, torch.Generator().manual_seed(3)
    for t in scheduler.timesteps.tolist():
        z = torch.randn(start.shape, generator=generator, dtype=F64)
        expected = scheduler.step(curved_noise(expected, t), t, expected, eta=eta, variance_noise=z).prev_sample
    ours = ddim_sample(
        model_of(schedule, curved_noise),
        start,
        steps=40,
        eta=eta,
        clip=clip,
        generator=torch.Generator().manual_seed(3),
    )
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)


def test_quality_boosting_is_ddpm_noise_below_the_fraction_alone():
    scheduler, schedule = diffusers_ddim(20)
    start = random(1, 3, 4, 4)
    expected, generator, noisy_steps = start, torch.Generator().manual_seed(3), 0
    for t in scheduler.timesteps.tolist():
        eta = 1.0 if t < 0.2 * 999 else 0.0
        z = torch.randn(start.shape, generator=generator, dtype=F64) if eta else torch.zeros_like(start)
        noisy_steps += int(eta)
        expected = scheduler.step(curved_noise(expected, t), t, expected, eta=eta, variance_noise=z).prev_sample
    assert noisy_steps == 4
    ours = ddim_sample(
        model_of(schedule, curved_noise), start, steps=20, boost_below=0.2, generator=torch.Generator().manual_seed(3)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)


def test_quality_boosting_leaves_the_upper_trajectory_deterministic(schedule):
    model, start = model_of(schedule, curved_noise), random(1, 3, 4, 4)
    stop = schedule.timesteps(20)[-5]
    assert stop == 249
    plain = ddim_sample(model, start, steps=20, stop=stop)
    assert torch.equal(ddim_sample(model, start, steps=20, stop=stop, boost_below=0.2), plain)


def test_two_parts_of_a_trajectory_make_the_whole(schedule):
    model, start = model_of(schedule, curved_noise), random(2, 3, 4, 4)
    half = ddim_sample(model, start, steps=20, stop=499)
    assert torch.equal(
        ddim_sample(model, half, steps=20, start=499), ddim_sample(model, start, steps=20, start=999, stop=CLEAN)
    )


def test_shared_noise_gives_the_batch_one_and_the_same_noise(schedule):
    x = random(1, 3, 4, 4).expand(3, -1, -1, -1)
    noise = torch.zeros_like(x)
    step = {"eta": 1.0, "generator": torch.Generator().manual_seed(0)}
    shared = ddim_step(schedule, x, noise, 500, 480, shared_noise=True, **step)
    assert torch.equal(shared[0], shared[1])
    assert torch.equal(shared[0], shared[2])
    apart = ddim_step(schedule, x, noise, 500, 480, **step)
    assert (apart[0] - apart[1]).abs().max() > 0.1
    assert (shared[0] - x[0]).abs().max() > 0.1


def test_clipping_bounds_the_predicted_picture_and_keeps_the_noise(schedule):
    x, noise = 10 * random(1, 3, 4, 4, seed=1), random(1, 3, 4, 4, seed=2)
    alpha = schedule.alpha(480)
    picture = ((x - (1 - schedule.alpha(500)) ** 0.5 * noise) / schedule.alpha(500) ** 0.5).clamp(-1, 1)
    expected = alpha**0.5 * picture + (1 - alpha) ** 0.5 * noise
    torch.testing.assert_close(ddim_step(schedule, x, noise, 500, 480, clip=True), expected)


@pytest.mark.parametrize(
    ("eta", "t", "s"), [(-0.1, 500, 480), (1.1, 500, 480), (0.5, 480, 500), (float("nan"), 500, 480)]
)
def test_impossible_eta_is_refused(schedule, eta, t, s):
    with pytest.raises(ValueRangeError, match="eta is"):
        ddim_step(schedule, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), t, s, eta=eta)


def test_inverting_step_undoes_a_denoising_step_for_equal_noise(schedule):
    x, noise = random(1, 3, 4, 4, seed=1), random(1, 3, 4, 4, seed=2)
    there = ddim_step(schedule, x, noise, 500, 480)
    torch.testing.assert_close(ddim_step(schedule, there, noise, 480, 500), x, rtol=1e-12, atol=1e-12)


# Data N(0, 1): ε(x, t) = √(1−α_t) x exactly, and a step from t to s multiplies x by cos(θ_s − θ_t), cos²θ_t = α_t.


def unit_gaussian(schedule):
    return model_of(schedule, lambda x, t: (1 - schedule.alpha(t)) ** 0.5 * x)


def gaussian(schedule, c):
    """Data N(0, c²): the exact ε, and the exact flow x_t = x_0 √(α_t c² + 1 − α_t) / c."""
    variance = lambda t: schedule.alpha(t) * c**2 + 1 - schedule.alpha(t)  # noqa: E731
    return model_of(schedule, lambda x, t: (1 - schedule.alpha(t)) ** 0.5 / variance(t) * x), variance


def test_sampling_of_the_unit_gaussian_has_its_closed_form(schedule):
    x = random(2, 3, 4, 4)
    angles = [math.acos(schedule.alpha(t) ** 0.5) for t in [*schedule.timesteps(10), CLEAN]]
    factor = math.prod(math.cos(a - b) for a, b in itertools.pairwise(angles))
    torch.testing.assert_close(ddim_sample(unit_gaussian(schedule), x, steps=10), factor * x, rtol=1e-12, atol=1e-12)


def test_a_single_data_point_is_reached_from_anywhere(schedule):
    point = random(1, 3, 4, 4, seed=9)
    predict = lambda x, t: (x - schedule.alpha(t) ** 0.5 * point) / (1 - schedule.alpha(t)) ** 0.5  # noqa: E731
    reached = ddim_sample(model_of(schedule, predict), 3 * random(4, 3, 4, 4), steps=7)
    torch.testing.assert_close(reached, point.expand_as(reached), rtol=1e-9, atol=1e-9)


def test_inversion_of_a_gaussian_converges_to_the_exact_flow(schedule):
    model, variance = gaussian(schedule, 0.5)
    x0 = random(1, 3, 4, 4)
    exact = x0 * variance(999) ** 0.5 / 0.5
    errors = [((ddim_invert(model, x0, steps=n) - exact).norm() / exact.norm()).item() for n in (200, 1000)]
    assert errors[1] < 0.003
    assert 4 < errors[0] / errors[1] < 6  # first order: five times the steps, a fifth of the error


def test_inversion_and_sampling_of_a_gaussian_give_the_picture_back(schedule):
    model, _ = gaussian(schedule, 0.5)
    x0 = random(1, 3, 4, 4)
    errors = []
    for steps in (200, 1000):
        again = ddim_sample(model, ddim_invert(model, x0, steps=steps), steps=steps)
        errors.append(((again - x0).norm() / x0.norm()).item())
    assert errors[1] < 0.007
    assert 4 < errors[0] / errors[1] < 6


def test_inversion_stops_where_it_is_told(schedule):
    model, variance = gaussian(schedule, 0.5)
    x0 = random(1, 3, 4, 4)
    half = ddim_invert(model, x0, steps=500, stop=499)
    torch.testing.assert_close(half, x0 * variance(499) ** 0.5 / 0.5, rtol=0.02, atol=1e-3)
    evaluations = []
    ddim_invert(model, x0, steps=4, stop=499, on_step=lambda: evaluations.append(1))
    assert len(evaluations) == 2


def test_one_network_evaluation_per_step(schedule):
    seen = []

    def predict(x, t):
        seen.append(t)
        return torch.zeros_like(x)

    model, x = model_of(schedule, predict), torch.zeros(1, 1, 2, 2)
    ddim_sample(model, x, steps=4)
    assert seen == [999, 749, 499, 249]
    seen.clear()
    ddim_invert(model, x, steps=4)
    assert seen == [249, 249, 499, 749]  # ε at the known end of each step; the clean picture has none of its own


@pytest.mark.parametrize(("start", "stop", "named"), [(998, -1, "998"), (999, 500, "500"), (None, 3, "3")])
def test_timesteps_off_the_grid_are_refused_with_the_nearest(schedule, start, stop, named):
    with pytest.raises(ValueRangeError, match=rf"timestep {named} is not in the schedule of 4 steps; nearest is"):
        ddim_sample(model_of(schedule, curved_noise), torch.zeros(1, 1, 2, 2), steps=4, start=start, stop=stop)


def test_denoising_upwards_is_refused(schedule):
    with pytest.raises(ValueRangeError, match="from timestep 249 up to 749"):
        ddim_sample(model_of(schedule, curved_noise), torch.zeros(1, 1, 2, 2), steps=4, start=249, stop=749)


def test_inversion_to_a_timestep_off_the_grid_is_refused(schedule):
    with pytest.raises(ValueRangeError, match="timestep 500 is not"):
        ddim_invert(model_of(schedule, curved_noise), torch.zeros(1, 1, 2, 2), steps=4, stop=500)


def test_initial_noise_of_a_seed_does_not_depend_on_its_batch(tiny_model):
    alone, together = initial_noise(tiny_model, [7]), initial_noise(tiny_model, [3, 7, 7, 8])
    assert torch.equal(together[1], alone[0])
    assert torch.equal(together[2], alone[0])
    assert not torch.equal(together[0], together[3])
    assert alone.dtype == torch.float32


def test_initial_noise_leaves_the_global_generator_alone(tiny_model):
    state = torch.get_rng_state()
    initial_noise(tiny_model, [0, 1])
    assert torch.equal(torch.get_rng_state(), state)


def test_initial_noise_is_the_same_in_both_precisions(tiny_model, tiny_model64):
    assert torch.equal(initial_noise(tiny_model64, [5]), initial_noise(tiny_model, [5]).double())


def test_sampling_a_batch_is_sampling_each(tiny_model64):
    x = initial_noise(tiny_model64, [0, 1])
    together = ddim_sample(tiny_model64, x, steps=5, clip=True)
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], ddim_sample(tiny_model64, x[i : i + 1], steps=5, clip=True))


def test_the_shipped_model_gives_its_own_kind_of_picture_back(shipped):
    pictures = render(sample_factors(2, generator=torch.Generator().manual_seed(11)))
    latents = ddim_invert(shipped, shipped.encode(pictures), steps=50)
    again = shipped.decode(ddim_sample(shipped, latents, steps=50))
    psnr = 10 * torch.log10(4 / (again - pictures).square().mean(dim=(1, 2, 3)))
    assert psnr.min() >= 30


@pytest.mark.parametrize(("method", "least"), [("ddim", 10), ("fixed_point", 30)])
def test_the_held_out_picture_that_ddim_loses_is_brought_back_by_the_fixed_point(shipped, method, least):
    """The worst of the card's 64: 15.9 dB in 100 steps."""
    pictures = render(sample_factors(64, generator=torch.Generator().manual_seed(HELD_OUT))[7:8])
    again = ddim_sample(shipped, ddim_invert(shipped, pictures, steps=20, method=method), steps=20, clip=False)
    psnr = 10 * math.log10(4 / (again.clamp(-1, 1) - pictures).square().mean().item())
    assert psnr > least
    assert (psnr > 30) == (method == "fixed_point")

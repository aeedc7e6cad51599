import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from diffgeo.diffusion.noise_schedule import CLEAN, NoiseSchedule
from diffgeo.errors import ModelError, ValueRangeError


def test_alpha_is_the_cumulative_product_of_the_linear_schedule(schedule):
    product = 1.0
    for t in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        assert schedule.alpha(t) == pytest.approx(product, rel=1e-4)  # diffusers multiplies in float32
    assert schedule.T == 999
    assert schedule.alpha(999) ** -0.5 == pytest.approx(158, rel=0.01)


def test_the_clean_picture_has_alpha_one(schedule):
    assert schedule.alpha(CLEAN) == 1.0


@pytest.mark.parametrize("t", [-2, 1000])
def test_timesteps_outside_the_schedule_are_refused(schedule, t):
    with pytest.raises(ValueRangeError, match=rf"timestep {t} .*-1 \(clean\) to 999"):
        schedule.alpha(t)


@pytest.mark.parametrize("steps", [1, 2, 7, 40, 50, 100, 999, 1000])
def test_timesteps_are_those_of_diffusers_trailing_spacing(schedule, steps):
    scheduler = DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert schedule.timesteps(steps) == scheduler.timesteps.tolist()


def test_timesteps_by_hand(schedule):
    assert schedule.timesteps(4) == [999, 749, 499, 249]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_outside_the_schedule_is_refused(schedule, steps):
    with pytest.raises(ValueRangeError, match=rf"schedule\.steps is {steps}.*1 to 1000"):
        schedule.timesteps(steps)


@pytest.mark.parametrize(("fraction", "t"), [(1.0, 999), (0.5, 499), (0.37, 249), (0.38, 499), (0.2, 249), (0.8, 749)])
def test_nearest_timestep_of_four_steps(schedule, fraction, t):
    assert schedule.nearest(fraction, 4) == t


@pytest.mark.parametrize(("fraction", "steps"), [(1e-9, 8), (0.06, 8), (0.1, 4), (0.4, 1)])
def test_a_fraction_more_than_half_a_step_from_every_timestep_is_refused(schedule, fraction, steps):
    with pytest.raises(ValueRangeError, match=r"more than half a step away; raise the fraction, or schedule\.steps"):
        schedule.nearest(fraction, steps)


@pytest.mark.parametrize("steps", [1, 4, 8, 16, 20, 100, 1000])
def test_the_timesteps_of_an_even_schedule_have_even_fractions(schedule, steps):
    fractions = [schedule.fraction(t) for t in schedule.timesteps(steps)]
    assert fractions == pytest.approx([(steps - i) / steps for i in range(steps)], abs=1 / 1000)
    if 1000 % steps == 0:
        assert fractions == [(steps - i) / steps for i in range(steps)]


@pytest.mark.parametrize("fraction", [0, -0.1, 1.0001, float("nan")])
def test_fractions_outside_zero_to_one_are_refused(schedule, fraction):
    with pytest.raises(ValueRangeError, match="0 < fraction <= 1"):
        schedule.nearest(fraction, 4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("t", [0, 400, 999])
def test_noise_and_picture_are_recovered_from_every_parametrisation(prediction, t):
    schedule = NoiseSchedule.of(DDPMScheduler(prediction_type=prediction))
    generator = torch.Generator().manual_seed(t)
    x0 = torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    signal, spread = schedule.alpha(t) ** 0.5, (1 - schedule.alpha(t)) ** 0.5
    x = signal * x0 + spread * noise
    output = {"epsilon": noise, "v_prediction": signal * noise - spread * x0, "sample": x0}[prediction]
    torch.testing.assert_close(schedule.to_noise(output, x, t), noise, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(schedule.predict_x0(x, noise, t), x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(schedule.add_noise(x0, noise, t), x, rtol=1e-13, atol=1e-13)


def test_v_is_that_of_diffusers():
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    schedule = NoiseSchedule.of(scheduler)
    x0, noise = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    v = scheduler.get_velocity(x0, noise, torch.tensor([600]))
    torch.testing.assert_close(
        schedule.to_noise(v, schedule.add_noise(x0, noise, 600), 600), noise, rtol=1e-5, atol=1e-5
    )


def test_a_clean_picture_takes_no_noise(schedule):
    x0, noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(schedule.add_noise(x0, noise, CLEAN), x0)


def test_alphas_are_double_precision_copies(schedule):
    scheduler = DDPMScheduler()
    alphas = NoiseSchedule.of(scheduler).alphas_cumprod
    assert alphas.dtype == torch.float64
    assert torch.equal(alphas, scheduler.alphas_cumprod.double())


def test_a_scheduler_without_alphas_is_refused():
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        NoiseSchedule.of(FlowMatchEulerDiscreteScheduler())


def test_an_unknown_parametrisation_is_refused():
    with pytest.raises(ModelError, match=r"'flow'.*'epsilon', 'v_prediction' and 'sample'"):
        NoiseSchedule(torch.linspace(0.9, 0.1, 10), "flow")

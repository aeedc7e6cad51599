"""Both noise processes in terms of (a, b): closed forms, diffusers' flow schedulers, and the old formulas of DDPM."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffgeo.diffusion.editing import normalise_distortion
from diffgeo.diffusion.noise_schedule import CLEAN, NoiseSchedule
from diffgeo.diffusion.rectified_flow import RectifiedFlow, noise_process
from diffgeo.diffusion.sampling import INVERSIONS, ddim_invert, ddim_sample, ddim_step
from diffgeo.errors import ModelError, ValueRangeError

F64 = torch.float64
MEAN, SPREAD = 0.7, 0.4
"""Of the Gaussian data."""


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def flow(n, prediction="velocity"):
    return RectifiedFlow(torch.arange(1, n + 1, dtype=F64) / n, prediction)


def preserving(n, prediction="epsilon"):
    """A variance preserving process whose angle, cos² of which is α, grows evenly over n timesteps."""
    u = torch.arange(1, n + 1, dtype=F64) / n
    return NoiseSchedule((0.495 * math.pi * u).cos() ** 2, prediction)


PROCESSES = [
    (flow, "velocity"),
    (flow, "sample"),
    (preserving, "epsilon"),
    (preserving, "v_prediction"),
    (preserving, "sample"),
]


def gaussian_model(process):
    """The exact network of data N(MEAN, SPREAD²), in the parametrisation of the process."""

    def output(x, t):
        a, b = process.a(t), process.b(t)
        x0 = MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + b**2) * (x - a * MEAN)
        eps = b / (a**2 * SPREAD**2 + b**2) * (x - a * MEAN)
        known = {"epsilon": eps, "sample": x0, "velocity": eps - x0, "v_prediction": a * eps - b * x0}
        return known[process.prediction]

    def predict(x, t):
        found = output(x, t)
        return process.to_clean(found, x, t), process.to_noise(found, x, t)

    return SimpleNamespace(schedule=process, predict=predict, predict_noise=lambda x, t: predict(x, t)[1])


def exact(process, x, t, s):
    """Where the probability flow of that data takes x from t to s."""
    width = [math.sqrt((process.a(k) * SPREAD) ** 2 + process.b(k) ** 2) for k in (t, s)]
    return process.a(s) * MEAN + (x - process.a(t) * MEAN) * width[1] / width[0]


@pytest.mark.parametrize(("build", "prediction"), PROCESSES)
@pytest.mark.parametrize("t", [0, 40, 99])
def test_picture_and_noise_of_gaussian_data_are_the_closed_form(build, prediction, t):
    process = build(100, prediction)
    x0, eps = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1)
    x = process.add_noise(x0, eps, t)
    a, b = process.a(t), process.b(t)
    expected = MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + b**2) * (x - a * MEAN)
    clean, found = gaussian_model(process).predict(x, t)
    torch.testing.assert_close(clean, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(a * clean + b * found, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("build", "prediction"), PROCESSES)
@pytest.mark.parametrize("direction", ["sample", "invert"])
def test_samples_and_inversion_of_gaussian_data_converge_to_the_exact_flow(build, prediction, direction):
    """Within 1e-6, errors of first and second order in the length of a step being extrapolated away."""
    x, ends = noise(1, 1, 2, 2), []
    for n in (500, 1000, 2000):
        process = build(n, prediction)
        run = ddim_sample if direction == "sample" else ddim_invert
        ends.append(run(gaussian_model(process), x, steps=n))
    first, second = 2 * ends[1] - ends[0], 2 * ends[2] - ends[1]
    start, end = (process.T, CLEAN) if direction == "sample" else (CLEAN, process.T)
    expected = exact(process, x, start, end)
    assert (ends[2] - expected).abs().max() < 1e-2
    torch.testing.assert_close((4 * second - first) / 3, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("build", "prediction"), [(flow, "velocity"), (preserving, "epsilon")])
@pytest.mark.parametrize(("method", "order"), [("ddim", 1), ("fixed_point", 1), ("midpoint", 2), ("fireflow", 2)])
def test_the_order_of_an_inversion_is_what_it_is_said_to_be(build, prediction, method, order):
    """On the same network of 2000 timesteps, up to half-way, where no step is the first or the last of the schedule."""
    process = build(2000, prediction)
    x, stop, errors = noise(1, 1, 2, 2), 999, []
    start = exact(process, x, CLEAN, 199)
    for steps in (10, 20, 40):  # half-way between two timesteps lies a third
        found = ddim_invert(gaussian_model(process), start, steps=steps, start=199, stop=stop, method=method)
        errors.append((found - exact(process, x, CLEAN, stop)).abs().max().item())
    assert math.log2(errors[1] / errors[2]) > order - 0.35  # of Gaussian data, some errors cancel
    assert (math.log2(errors[1] / errors[2]) < 1.35) == (order == 1)


@pytest.mark.parametrize(("build", "prediction"), PROCESSES)
def test_the_fixed_point_brings_a_picture_back_best(build, prediction):
    process, x = build(40, prediction), noise(1, 1, 2, 2)
    model = gaussian_model(process)
    lost = {
        method: (ddim_sample(model, ddim_invert(model, x, steps=20, method=method), steps=20) - x).abs().max().item()
        for method in INVERSIONS
    }
    assert lost["fixed_point"] < 0.35 * min(lost["ddim"], lost["midpoint"], lost["fireflow"])


def test_an_unknown_inversion_is_refused():
    with pytest.raises(ValueRangeError, match=r"no inversion 'euler'; allowed are ddim, midpoint, fireflow"):
        ddim_invert(gaussian_model(flow(5)), noise(1, 1, 2, 2), steps=5, method="euler")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.floats(0.001, 1.0), st.floats(0.0, 0.999), st.integers(0, 10**6), st.sampled_from(["velocity", "sample"]))
def test_a_deterministic_step_along_the_straight_path_is_eulers(high, share, seed, prediction):
    low = max(high * share, 1e-6)
    process = RectifiedFlow(torch.tensor([min(low, high * 0.9999), high], dtype=F64), prediction)
    x, v = noise(1, 2, 3, 3, seed=seed), noise(1, 2, 3, 3, seed=seed + 1)
    output = v if prediction == "velocity" else x - process.b(1) * v
    clean, eps = process.to_clean(output, x, 1), process.to_noise(output, x, 1)
    for s in (0, CLEAN):
        expected = x + (process.b(s) - process.b(1)) * v
        torch.testing.assert_close(ddim_step(process, x, eps, 1, s, x0=clean), expected, rtol=1e-12, atol=1e-12)


def test_inversion_along_the_straight_path_is_eulers():
    process = flow(5)
    v = noise(1, 1, 2, 2)
    model = SimpleNamespace(schedule=process, predict=lambda x, t: (x - process.b(t) * v, x + process.a(t) * v))
    x = noise(1, 1, 2, 2, seed=1)
    torch.testing.assert_close(ddim_invert(model, x, steps=5), x + v, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ddim_invert(model, x, steps=5, stop=2), x + 0.6 * v, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", [flow, preserving])
def test_the_noise_that_a_step_adds_keeps_the_marginal(build):
    """With η = 1, x_s of a known x0 has mean a_s x0 and variance b_s² when x_t has a_t x0 and b_t²."""
    process = build(50)
    for t, s in itertools.pairwise([48, 30, 11, 3, 0]):
        variance = process.added_variance(t, s, 1.0)
        assert 0 < variance < process.b(s) ** 2
        assert process.added_variance(t, s, 0.5) == pytest.approx(variance / 4)
        # posterior variance of DDPM: (1/b_s² + r² / (b_t² − r² b_s²))⁻¹ with r = a_t / a_s
        r = process.a(t) / process.a(s)
        added = process.b(t) ** 2 - r**2 * process.b(s) ** 2
        assert variance == pytest.approx(1 / (1 / process.b(s) ** 2 + r**2 / added), rel=1e-9)
    assert process.added_variance(5, CLEAN, 1.0) == 0


@pytest.mark.parametrize("build", [flow, preserving])
def test_log_snr_falls_from_infinity(build):
    process = build(20)
    found = [process.log_snr(t) for t in range(-1, 20)]
    assert found[0] == math.inf
    assert all(one > other for one, other in itertools.pairwise(found))
    assert found[10] == pytest.approx(math.log(process.a(9) ** 2 / process.b(9) ** 2))
    with pytest.raises(ValueRangeError):
        process.log_snr(20)
    assert flow(20).log_snr(19) == -math.inf


def test_with_a_shift_of_three_equal_fractions_are_nearly_equal_noise():
    one, other = RectifiedFlow.of(FlowMatchEulerDiscreteScheduler(shift=3.0)), NoiseSchedule.of(DDIMScheduler())
    for fraction in (0.25, 0.5, 0.75):
        t = one.nearest(fraction, 20)
        assert t == other.nearest(fraction, 20)
        assert one.log_snr(t) == pytest.approx(other.log_snr(t), abs=1.5)


@pytest.mark.parametrize("steps", [20, 100])
def test_timesteps_of_equal_log_snr_are_found_in_a_flow_as_in_a_variance_preserving_process(steps):
    one, other = RectifiedFlow.of(FlowMatchEulerDiscreteScheduler(shift=3.0)), NoiseSchedule.of(DDIMScheduler())
    for asked in (-4.0, -1.0, 0.5, 3.0):
        for process in (one, other):
            found = process.nearest_log_snr(asked, steps)
            assert found in process.timesteps(steps)
            apart = [abs(process.log_snr(t) - asked) for t in process.timesteps(steps)]
            assert abs(process.log_snr(found) - asked) == min(apart) < 16 / steps


def test_a_log_snr_that_no_timestep_has_is_refused():
    process = flow(4)  # σ of ¼, ½, ¾ and 1, log-SNR of ±2.197, 0 and −∞
    assert [process.nearest_log_snr(one, 4) for one in (-3.2, -1.2, -1.0, 3.2)] == [2, 2, 1, 0]
    for beyond in (-3.4, 3.4):
        with pytest.raises(ValueRangeError, match=r"those of 4 timesteps are -2\.2 to 2\.2; take one"):
            process.nearest_log_snr(beyond, 4)
    with pytest.raises(ValueRangeError, match="those of 1 timesteps are not finite"):
        process.nearest_log_snr(0.0, 1)


# --- distortion normalisation


def test_the_normalisation_multiplies_by_one_in_a_flow_and_annuls_nothing():
    process = RectifiedFlow(torch.tensor([0.3, 0.999, 1.0], dtype=F64))
    x, moved = noise(1, 3, 4, 4), noise(1, 3, 4, 4) + 0.1 * noise(1, 3, 4, 4, seed=1)
    predict = lambda y, t: process.to_noise((0.4 * y).sin(), y, t)  # noqa: E731
    for t in (0, 1):
        before, after = (y - process.b(t) * (0.4 * y).sin() for y in (x, moved))
        matched = (after - after.mean()) / after.std() * before.std() + before.mean()
        found = normalise_distortion(predict, process, x, moved, t, kappa=0.99)
        torch.testing.assert_close(found, x + matched - before, rtol=1e-9, atol=1e-9)
        assert process.distortion_factor(t, 0.5) == 1
    assert torch.equal(normalise_distortion(predict, process, x, moved, 2), moved)


# --- the flows of diffusers' schedulers


def shifted(u, s):
    return s * u / (1 + (s - 1) * u)


@pytest.mark.parametrize("s", [1.0, 3.0])
def test_training_timesteps_have_the_static_shift(s):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=s)
    process = noise_process(scheduler)
    assert (process.T, process.prediction, process.network_time(999)) == (999, "velocity", 1000.0)
    torch.testing.assert_close(process.sigmas.float().flip(0), scheduler.sigmas, rtol=1e-6, atol=0)
    solver = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=s)
    assert torch.equal(noise_process(solver).sigmas, process.sigmas)


@pytest.mark.parametrize("tokens", [256, 1024, 4096])
@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_the_dynamic_shift_is_that_of_the_number_of_tokens(tokens, kind):
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=kind)
    mu = 0.5 + 0.65 * (tokens - 256) / 3840
    s = math.exp(mu) if kind == "exponential" else mu
    process = RectifiedFlow.of(scheduler, tokens=tokens)
    torch.testing.assert_close(process.sigmas, shifted(torch.arange(1, 1001, dtype=F64) / 1000, s))
    grid = RectifiedFlow.of(scheduler, tokens=tokens, steps=7)
    u = torch.linspace(1, 1 / 1000, 7, dtype=F64).flip(0)
    torch.testing.assert_close(grid.sigmas, shifted(u, s), rtol=1e-5, atol=1e-6)


def test_a_terminal_shift_stretches_the_steps():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0, shift_terminal=0.1)
    grid = RectifiedFlow.of(scheduler, steps=9)
    low = float(scheduler.sigma_min)
    plain = shifted(torch.linspace(low, 1, 9, dtype=F64), 2.0)
    stretched = 1 - (1 - plain) * 0.9 / (1 - plain[0])
    torch.testing.assert_close(grid.sigmas, stretched, rtol=1e-5, atol=1e-6)
    assert grid.sigmas[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "scheduler",
    [
        FlowMatchEulerDiscreteScheduler(),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        FlowMatchEulerDiscreteScheduler(shift=3.0, shift_terminal=0.05),
        FlowMatchEulerDiscreteScheduler(shift=3.0, use_karras_sigmas=True),
        DPMSolverMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0, solver_order=1
        ),
        UniPCMultistepScheduler(
            use_flow_sigmas=True,
            prediction_type="flow_prediction",
            flow_shift=3.0,
            solver_order=1,
            disable_corrector=list(range(20)),
        ),
    ],
)
@pytest.mark.parametrize("steps", [4, 11])
def test_samples_are_those_of_diffusers_at_its_own_steps(scheduler, steps):
    velocity = lambda x, time: (0.8 * x + 0.3 * x.roll(1, -1)).tanh() * (0.5 + time / 2000)  # noqa: E731
    process = RectifiedFlow.of(scheduler, steps=steps)

    def predict(x, t):
        v = velocity(x, process.network_time(t))
        return process.to_clean(v, x, t), process.to_noise(v, x, t)

    expected = x = noise(1, 3, 4, 4)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        v = velocity(expected, float(t))  # as a pipeline gives it to the network, rounded where the scheduler rounds
        expected = scheduler.step(v, t, expected).prev_sample.double()
    found = ddim_sample(SimpleNamespace(schedule=process, predict=predict), x, steps=steps)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: noise_process(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)), "image tokens"),
        (lambda: noise_process(FlowMatchEulerDiscreteScheduler(shift_terminal=0.1)), "number of steps"),
        (lambda: noise_process(FlowMatchEulerDiscreteScheduler(), spacing="leading"), "depend on their number"),
        (lambda: noise_process(DPMSolverMultistepScheduler(use_flow_sigmas=True)), "predicts noise"),
        (lambda: RectifiedFlow(torch.tensor([0.5, 0.4])), "do not rise"),
        (lambda: RectifiedFlow(torch.tensor([0.0, 0.4])), "do not rise"),
        (lambda: RectifiedFlow(torch.tensor([0.5, math.nan])), "do not rise"),
        (lambda: RectifiedFlow(torch.tensor([0.5]), "v_prediction"), "'velocity', 'epsilon' and 'sample'"),
    ],
)
def test_flows_that_cannot_be_followed_are_refused(make, reason):
    with pytest.raises(ModelError, match=reason):
        make()


# --- the variance preserving process is what it was, to the last bit


class Old:
    """The formulas before there was a second process, as they were."""

    def __init__(self, schedule):
        self.alpha, self.prediction = schedule.alpha, schedule.prediction

    def to_noise(self, output, x, t):
        if self.prediction == "epsilon":
            return output
        signal, spread = math.sqrt(self.alpha(t)), math.sqrt(1 - self.alpha(t))
        if self.prediction == "v_prediction":
            return signal * output + spread * x
        return (x - signal * output) / spread

    def to_clean(self, output, x, t):
        if self.prediction == "epsilon":
            return self.predict_x0(x, output, t)
        if self.prediction == "v_prediction":
            return math.sqrt(self.alpha(t)) * x - math.sqrt(1 - self.alpha(t)) * output
        return output

    def predict_x0(self, x, eps, t):
        alpha = self.alpha(t)
        return (x - math.sqrt(1 - alpha) * eps) / math.sqrt(alpha)

    def add_noise(self, x0, eps, t):
        alpha = self.alpha(t)
        return math.sqrt(alpha) * x0 + math.sqrt(1 - alpha) * eps

    def step(self, x, eps, t, s, eta, z):
        alpha_t, alpha_s = self.alpha(t), self.alpha(s)
        x0 = self.predict_x0(x, eps, t)
        if eta == 0:
            return math.sqrt(alpha_s) * x0 + math.sqrt(1 - alpha_s) * eps
        variance = eta**2 * (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)
        return math.sqrt(alpha_s) * x0 + math.sqrt(max(1 - alpha_s - variance, 0)) * eps + math.sqrt(variance) * z

    def normalised(self, predict_noise, x, moved, t, kappa):
        before, after = (self.predict_x0(y, predict_noise(y, t), t) for y in (x, moved))
        pixels = (1, 2, 3)
        scale = before.std(dim=pixels, keepdim=True) / after.std(dim=pixels, keepdim=True).clamp_min(1e-12)
        matched = (after - after.mean(dim=pixels, keepdim=True)) * scale + before.mean(dim=pixels, keepdim=True)
        alpha = self.alpha(t)
        return x + math.sqrt(alpha) / (1 - kappa * math.sqrt(1 - alpha)) * (matched - before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("config", [{}, {"beta_schedule": "scaled_linear"}, {"set_alpha_to_one": False}])
def test_every_formula_of_the_variance_preserving_process_is_the_old_one_to_the_last_bit(dtype, prediction, config):
    schedule = NoiseSchedule.of(DDIMScheduler(prediction_type=prediction, **config))
    old = Old(schedule)
    x, y = noise(2, 3, 4, 4).to(dtype), noise(2, 3, 4, 4, seed=1).to(dtype)
    predict = lambda x, t: (0.8 * x + 0.3 * x.roll(1, -1)).tanh() * (0.5 + t / 2000)  # noqa: E731
    for t in (0, 1, 249, 500, 777, 999):
        assert torch.equal(schedule.to_noise(y, x, t), old.to_noise(y, x, t))
        assert torch.equal(schedule.to_clean(y, x, t), old.to_clean(y, x, t))
        assert torch.equal(schedule.predict_x0(x, y, t), old.predict_x0(x, y, t))
        assert torch.equal(schedule.add_noise(x, y, t), old.add_noise(x, y, t))
        for kappa in (0.0, 0.99):
            found = normalise_distortion(predict, schedule, x, y, t, kappa=kappa)
            assert torch.equal(found, old.normalised(predict, x, y, t, kappa))
        for s, eta in itertools.product((CLEAN, 0, 240, 776, 998), (0.0, 0.3, 1.0)):
            if s >= t and eta:
                continue
            z = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=dtype)
            found = ddim_step(schedule, x, y, t, s, eta=eta, generator=torch.Generator().manual_seed(5))
            assert torch.equal(found, old.step(x, y, t, s, eta, z))

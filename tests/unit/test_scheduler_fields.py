"""The noise process as its scheduler says: every field of every class, against diffusers itself."""

import ast
import inspect
import math
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import KarrasDiffusionSchedulers

from diffgeo.diffusion.noise_schedule import CLEAN, Clipping, NoiseSchedule
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample
from diffgeo.diffusion.scheduler_fields import (
    FIELDS,
    FLOW_SCHEDULERS,
    OLD_FIELDS,
    REFUSED_SCHEDULERS,
    SCHEDULERS,
    read_scheduler,
)
from diffgeo.errors import ModelError, ValueRangeError

F64 = torch.float64


def parameters(name):
    """Fields of a scheduler's class, read from its file: DPMSolverSDEScheduler needs a package to be imported."""
    if name == "DPMSolverSDEScheduler":
        path = Path(diffusers.__file__).parent / "schedulers" / "scheduling_dpmsolver_sde.py"
        (found,) = (n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef) and n.name == name)
        (init,) = (n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        return {argument.arg for argument in init.args.args} - {"self"}
    return set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {"self", "args", "kwargs"}


def network(prediction, alphas):
    """An output that depends on x and t without a symmetry to hide behind, of the size that it has at that α."""

    def output(x, t):
        return (0.8 * x + 0.3 * x.roll(1, -1)).tanh() * (0.5 + t / (2 * len(alphas)))

    return output


def model_of(schedule, output):
    def predict(x, t):
        return schedule.to_clean(output(x, t), x, t), schedule.to_noise(output(x, t), x, t)

    return SimpleNamespace(schedule=schedule, predict_noise=lambda x, t: predict(x, t)[1], predict=predict)


def diffusers_latents(scheduler, x, steps, output):
    """What diffusers' DDIM gives, in double precision."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = torch.as_tensor(scheduler.final_alpha_cumprod).double()
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(output(x, t), t, x, eta=0.0).prev_sample
    return x


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def compare(config, steps=10):
    """Our latents and those of diffusers' DDIM of the same config, spacing included."""
    scheduler = DDIMScheduler(**config)
    schedule = NoiseSchedule.of(scheduler, spacing=None)
    output = network(schedule.prediction, schedule.alphas_cumprod)
    x = noise(2, 3, 4, 4)
    ours = ddim_sample(model_of(schedule, output), x, steps=steps, clip=schedule.clipping is not None)
    torch.testing.assert_close(ours, diffusers_latents(scheduler, x, steps, output), rtol=1e-4, atol=1e-4)
    return ours


def test_every_class_that_diffusers_pairs_with_these_pipelines_is_in_the_table():
    known = {entry.name for entry in KarrasDiffusionSchedulers}
    assert known <= set(SCHEDULERS) | set(REFUSED_SCHEDULERS)


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_field_of_every_class_is_in_the_table(name):
    assert set(SCHEDULERS[name]) == parameters(name)
    assert set(SCHEDULERS[name]) <= set(FIELDS)
    assert len(SCHEDULERS[name]) == len(set(SCHEDULERS[name]))


def test_no_field_of_the_table_is_of_no_class():
    assert set(FIELDS) == {field for fields in SCHEDULERS.values() for field in fields}
    assert not set(FIELDS) & set(OLD_FIELDS)


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"DPMSolverSDEScheduler", *FLOW_SCHEDULERS}))
def test_the_defaults_of_every_class_are_understood(name):
    schedule = NoiseSchedule.of(getattr(diffusers, name)())
    assert schedule.T == 999
    assert schedule.prediction == "epsilon"


@pytest.mark.parametrize(
    "config",
    [
        {"clip_sample": False},
        {"clip_sample_range": 0.3},
        {"thresholding": True, "sample_max_value": 2.0},
        {"thresholding": True, "dynamic_thresholding_ratio": 0.7, "sample_max_value": 1.3},
        {"set_alpha_to_one": False},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False},
        {"num_train_timesteps": 400, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.01, 0.02, 0.05, 0.1, 0.2] * 2, "num_train_timesteps": 10},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"prediction_type": "sample", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ],
)
def test_latents_are_those_of_diffusers_with_every_honoured_field(config):
    plain = compare({"timestep_spacing": "trailing"} if "spacing" in str(config) else {})
    found = compare(config)
    assert (found - plain).abs().max() > 1e-3 or config == {"timestep_spacing": "trailing"}


def test_trailing_steps_that_do_not_divide_are_a_first_order_solver_of_the_same_timesteps():
    """diffusers' DDIM steps to t − (T+1)//n, not to the timestep that it visits next; DPM-Solver of order 1 does."""
    steps = 7
    solver = DPMSolverMultistepScheduler(
        solver_order=1, timestep_spacing="trailing", algorithm_type="dpmsolver++", final_sigmas_type="zero"
    )
    schedule = NoiseSchedule.of(solver)
    output = network("epsilon", schedule.alphas_cumprod)
    expected = x = noise(1, 3, 4, 4)
    solver.set_timesteps(steps)
    assert solver.timesteps.tolist() == schedule.timesteps(steps)
    for t in solver.timesteps:
        expected = solver.step(output(expected, int(t)), t, expected).prev_sample
    ours = ddim_sample(model_of(schedule, output), x, steps=steps)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("scheduler", "clipping"),
    [
        (DDPMScheduler(), Clipping(1.0)),
        (DDPMScheduler(clip_sample=False), None),
        (DDPMScheduler(clip_sample_range=2), Clipping(2.0)),
        (DDPMScheduler(clip_sample=False, thresholding=True, sample_max_value=1.5), Clipping(1.5, 0.995)),
        (PNDMScheduler(), None),
        (EulerDiscreteScheduler(), None),
        (HeunDiscreteScheduler(clip_sample=True, clip_sample_range=3.0), Clipping(3.0)),
        (DPMSolverMultistepScheduler(thresholding=True), Clipping(1.0, 0.995)),
    ],
)
def test_clipping_is_that_of_the_schedulers_own_class(scheduler, clipping):
    assert NoiseSchedule.of(scheduler).clipping == clipping


@pytest.mark.parametrize("largest", [1.0, 1.7])
@pytest.mark.parametrize("quantile", [0.0, 0.6, 1.0])
def test_thresholding_is_that_of_diffusers(quantile, largest):
    x0 = 2 * noise(3, 2, 4, 4)
    config = {"thresholding": True, "dynamic_thresholding_ratio": quantile, "sample_max_value": largest}
    expected = DDIMScheduler(**config)._threshold_sample(x0)
    torch.testing.assert_close(Clipping(largest, quantile)(x0), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_at_zero_terminal_snr_the_clean_picture_is_the_networks_own(prediction):
    scheduler = DDIMScheduler(prediction_type=prediction, rescale_betas_zero_snr=True, clip_sample=False)
    schedule = NoiseSchedule.of(scheduler)
    assert schedule.alpha(schedule.T) == 0
    x, output = noise(1, 3, 4, 4), noise(1, 3, 4, 4, seed=1)
    expected = {"v_prediction": -output, "sample": output}[prediction]
    assert torch.equal(schedule.to_clean(output, x, 999), expected)
    assert torch.equal(schedule.to_noise(output, x, 999), x)
    with pytest.raises(ValueRangeError, match="noise alone"):
        schedule.predict_x0(x, x, 999)


def test_inversion_at_zero_terminal_snr_gives_the_picture_back():
    schedule = NoiseSchedule.of(DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True))
    # data N(0, c²): x̂0 = √α c² x / variance, and v = (√α x − x̂0) / √(1−α)
    c = 0.5

    def velocity(x, t):
        a = schedule.alpha(t)
        return (a**0.5 * x - a**0.5 * c**2 * x / (a * c**2 + 1 - a)) / (1 - a) ** 0.5

    model, x0 = model_of(schedule, velocity), noise(1, 3, 4, 4)
    x = ddim_invert(model, x0, steps=500)
    torch.testing.assert_close(x, x0 / c, rtol=0.02, atol=0.02)  # the exact flow
    torch.testing.assert_close(ddim_sample(model, x, steps=500), x0, rtol=0.03, atol=0.03)


def test_zero_terminal_snr_with_noise_prediction_is_refused_with_the_reason():
    for kind in (DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler):
        with pytest.raises(ModelError, match=r"rescale_betas_zero_snr=True and prediction_type='epsilon'.*no signal"):
            NoiseSchedule.of(kind(rescale_betas_zero_snr=True))


@pytest.mark.parametrize(
    ("scheduler", "alpha"),
    [
        (DDIMScheduler(), 1.0),
        (DDIMScheduler(set_alpha_to_one=False), 0.9999),
        (DDPMScheduler(), 1.0),
        (PNDMScheduler(), 0.9999),
        (PNDMScheduler(set_alpha_to_one=True), 1.0),
        (EulerDiscreteScheduler(final_sigmas_type="sigma_min"), 0.9999),
        (EulerDiscreteScheduler(), 1.0),
    ],
)
def test_the_clean_end_is_the_schedulers(scheduler, alpha):
    assert NoiseSchedule.of(scheduler).alpha(CLEAN) == pytest.approx(alpha, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "prediction"),
    [
        ({"predict_epsilon": False}, "sample"),
        ({"predict_epsilon": True}, "epsilon"),
        ({"predict_epsilon": False, "prediction_type": "sample"}, "sample"),
        ({"predict_epsilon": True, "prediction_type": "v_prediction"}, "v_prediction"),
    ],
)
def test_the_old_key_of_the_parametrisation_is_translated(config, prediction):
    assert read_scheduler("DDPMScheduler", config).get("prediction_type", "epsilon") == prediction
    assert NoiseSchedule.of(DDPMScheduler.from_config(config)).prediction == prediction


def test_old_and_new_key_that_contradict_each_other_are_refused():
    with pytest.raises(ModelError, match="contradict"):
        read_scheduler("DDPMScheduler", {"predict_epsilon": False, "prediction_type": "v_prediction"})


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("DDIMScheduler", {"beta_warmup": 10}, "beta_warmup=10 is not understood"),
        ("DDIMScheduler", {"prediction_type": "flow_prediction"}, "prediction_type='flow_prediction'"),
        ("DDIMScheduler", {"timestep_spacing": "cosine"}, "timestep_spacing='cosine'"),
        ("DDIMScheduler", {"clip_sample": "no"}, "clip_sample='no'"),
        ("DDIMScheduler", {"clip_sample_range": -1}, "clip_sample_range=-1"),
        ("DDIMScheduler", {"clip_sample_range": math.nan}, "clip_sample_range=nan"),
        ("DDIMScheduler", {"steps_offset": 0.5}, r"steps_offset=0\.5"),
        ("DDIMScheduler", {"sample_max_value": 0.5}, r"sample_max_value=0\.5"),
        ("DDIMScheduler", {"timestep_values": [1, 2]}, "timesteps by hand"),
        ("DDPMScheduler", {"beta_end": 1.5}, r"beta_end=1\.5"),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "¼ ln σ"),
        ("EulerDiscreteScheduler", {"final_sigmas_type": "one"}, "final_sigmas_type='one'"),
        ("DPMSolverMultistepScheduler", {"use_dynamic_shifting": True}, "rectified flow"),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "but not use_flow_sigmas"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "v_prediction"}, "no velocity"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "final_sigmas_type": "sigma_min"}, "ends at 0"),
        ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "Mochi"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 0}, "shift=0"),
        ("FlowMatchEulerDiscreteScheduler", {"shift_terminal": 1.5}, r"shift_terminal=1\.5"),
        ("FlowMatchEulerDiscreteScheduler", {"time_shift_type": "cubic"}, "time_shift_type='cubic'"),
        ("UniPCMultistepScheduler", {"shift_terminal": 0.1}, "rectified flow"),
        ("FlowUniPCMultistepScheduler", {}, "diffgeo understands .*DDIMScheduler, DDPM"),
        ("LCMScheduler", {}, "distilled"),
    ],
)
def test_what_is_not_understood_is_refused_and_named(name, config, reason):
    with pytest.raises(ModelError, match=reason):
        read_scheduler(name, config)


@pytest.mark.parametrize("scheduler", [LCMScheduler(), EDMEulerScheduler()])
def test_schedulers_of_other_processes_are_refused_with_the_reason(scheduler):
    with pytest.raises(ModelError, match=REFUSED_SCHEDULERS[type(scheduler).__name__][:20]):
        NoiseSchedule.of(scheduler)


def test_fields_of_another_class_are_ignored_as_diffusers_ignores_them():
    scheduler = PNDMScheduler.from_config(PNDMScheduler().config | {"clip_sample": False, "solver_order": 3})
    assert NoiseSchedule.of(scheduler).clipping is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DDPMScheduler(), DDPMScheduler(variance_type="fixed_large")),
        (PNDMScheduler(), PNDMScheduler(skip_prk_steps=True)),
        (DEISMultistepScheduler(), DEISMultistepScheduler(solver_order=3)),
        (DPMSolverMultistepScheduler(), DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")),
        (EulerDiscreteScheduler(), EulerDiscreteScheduler(use_karras_sigmas=True, timestep_spacing="trailing")),
        (UniPCMultistepScheduler(), UniPCMultistepScheduler(solver_type="bh1", disable_corrector=[0])),
    ],
)
def test_irrelevant_and_chosen_fields_change_nothing(one, other):
    first, second = (NoiseSchedule.of(scheduler).determinants for scheduler in (one, other))
    assert first.pop("alphas_cumprod").equal(second.pop("alphas_cumprod"))
    assert first == {**second, "steps_offset": first["steps_offset"]}


def test_linspace_timesteps_are_refused_only_when_they_are_asked_for():
    scheduler = EulerDiscreteScheduler()
    assert NoiseSchedule.of(scheduler).timesteps(4) == [999, 749, 499, 249]
    with pytest.raises(ModelError, match="linspace"):
        NoiseSchedule.of(scheduler, spacing=None)


def test_leading_timesteps_by_hand():
    schedule = NoiseSchedule.of(DDIMScheduler(steps_offset=1), spacing=None)
    assert schedule.timesteps(4) == [751, 501, 251, 1]
    with pytest.raises(ValueRangeError, match="steps_offset=1"):
        schedule.timesteps(1000)
    with pytest.raises(ValueRangeError, match="steps_offset=1"):
        schedule.timesteps(501)


def test_betas_of_another_number_than_timesteps_are_refused():
    with pytest.raises(ModelError, match="3 trained_betas and num_train_timesteps=1000"):
        NoiseSchedule.of(DDIMScheduler(trained_betas=[0.1, 0.2, 0.3]))


def test_alphas_that_do_not_fall_are_refused():
    with pytest.raises(ModelError, match="do not fall"):
        NoiseSchedule(torch.tensor([0.5, 0.9]))
    with pytest.raises(ModelError, match="do not fall"):
        NoiseSchedule(torch.tensor([0.9, float("nan")]))

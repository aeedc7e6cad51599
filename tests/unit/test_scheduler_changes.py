"""Fields of a model's scheduler that a user sets, against diffusers' scheduler with the same fields."""

import json
from dataclasses import asdict

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from diffgeo.composition import check, composed, results_depend_on
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.diffusion.sampling import ddim_sample, initial_noise
from diffgeo.errors import ConfigError, ModelError
from folders import joint_pipeline, save_prompted

PROMPT = "a face"

STEPS = 8
"""They divide 1000, so that DDIM of diffusers steps to the timesteps that it visits."""


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    return save_prompted(tmp_path_factory.mktemp("changes") / "prompted")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes") / "flow"
    joint_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep_spacing": "leading"},
        {"timestep_spacing": "leading", "steps_offset": 0},  # diffusers' pipeline sets it to 1 in its own scheduler
        {"timestep_spacing": "trailing", "set_alpha_to_one": False},
        {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
)
def test_a_variance_preserving_process_is_that_of_diffusers_with_the_same_fields(prompted, changes):
    model = load_model(prompted, prompt=PROMPT, scheduler=changes)
    plain = load_model(prompted, prompt=PROMPT)
    config = json.loads((prompted / "scheduler" / "scheduler_config.json").read_text())
    theirs = DDIMScheduler.from_config(config, **changes)
    theirs.set_timesteps(STEPS)
    assert model.schedule.timesteps(STEPS) == theirs.timesteps.tolist()
    torch.testing.assert_close(model.schedule.alphas_cumprod, theirs.alphas_cumprod.double(), rtol=0, atol=1e-9)
    assert model.schedule.alpha(CLEAN) == pytest.approx(float(theirs.final_alpha_cumprod))
    assert model.schedule.prediction == theirs.config.prediction_type
    assert model.digest != plain.digest
    x = expected = initial_noise(model, [0])
    with torch.no_grad():
        for t in theirs.timesteps.tolist():
            expected = theirs.step(model.output(expected, t), t, expected, eta=0.0).prev_sample
    torch.testing.assert_close(ddim_sample(model, x, steps=STEPS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"shift": 3.0}, {"shift": 3.0, "shift_terminal": 0.1}, {"use_dynamic_shifting": True, "max_shift": 2.0}]
)
def test_a_flow_has_the_steps_of_diffusers_with_the_same_fields(flow, changes):
    model = load_model(flow, prompt=PROMPT, scheduler=changes, own_steps=STEPS)
    config = json.loads((flow / "scheduler" / "scheduler_config.json").read_text())
    theirs = FlowMatchEulerDiscreteScheduler.from_config(config, **changes)
    tokens = {}
    if "max_shift" in changes:
        low, few, many = (theirs.config[name] for name in ("base_shift", "base_image_seq_len", "max_image_seq_len"))
        tokens = {"mu": low + (2.0 - low) * (16 - few) / (many - few)}
    theirs.set_timesteps(STEPS, **tokens)
    visited = model.schedule.timesteps(STEPS)
    sigmas = torch.tensor([model.schedule.sigma(t) for t in [*visited, CLEAN]])
    torch.testing.assert_close(sigmas, theirs.sigmas)
    times = torch.tensor([model.schedule.network_time(t) for t in visited])
    torch.testing.assert_close(times, theirs.timesteps)


def test_a_shift_changes_the_training_timesteps_of_a_flow(flow):
    plain, shifted = (load_model(flow, prompt=PROMPT, scheduler=changes) for changes in (None, {"shift": 2.0}))
    u = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(shifted.schedule.sigmas, 2 * u / (1 + u))
    assert shifted.digest != plain.digest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shfit": 3.0}, "shfit is no field of a scheduler; did you mean shift"),
        ({"solver_order": 3}, "solver_order changes nothing here; known are"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas changes nothing"),
        ({"shift": -1.0}, r"shift=-1\.0 is not understood; that is static shift"),
        ({"timestep_spacing": "sideways"}, "timestep_spacing='sideways' is not understood"),
        ({"steps_offset": 0.5}, r"steps_offset=0\.5 is not understood"),
    ],
)
def test_what_cannot_be_set_is_refused_before_a_model_loads(changes, reason):
    words = [f"model.scheduler.{name}={value}" for name, value in changes.items()]
    with pytest.raises(ConfigError, match=f"model.scheduler: {reason}"):
        check(composed(words))


def test_a_scheduler_refuses_what_its_class_has_not(prompted, flow):
    for folder, changes, reason in (
        (prompted, {"shift": 3.0}, "shift is no field of the DDIMScheduler"),
        (flow, {"set_alpha_to_one": False}, "set_alpha_to_one is no field of the FlowMatchEulerDiscreteScheduler"),
    ):
        with pytest.raises(ConfigError, match=reason):
            load_model(folder, prompt=PROMPT, scheduler=changes)
    for folder, told, reason in (
        (prompted, {"scheduler": {"beta_schedule": "steep"}}, "steep"),
        (prompted, {"scheduler": {"timestep_spacing": "linspace"}}, "'linspace', whose timesteps"),
        (prompted, {"own_steps": 4}, r"model\.own_steps=4 is of rectified flows"),
        (flow, {"scheduler": {"shift_terminal": 0.1}}, r"depends on the number of steps; say model\.own_steps"),
    ):
        with pytest.raises(ModelError, match=reason):
            load_model(folder, prompt=PROMPT, **told)


def test_results_depend_on_what_was_set_and_say_it():
    words = ["model.scheduler={timestep_spacing: leading, steps_offset: 1}", "model.own_steps=9"]
    cfg = composed(words)
    check(cfg)
    settings = asdict(cfg)
    told = {"scheduler": {"timestep_spacing": "leading", "steps_offset": 1}, "own_steps": 9}
    assert settings["model"]["options"] == told
    assert results_depend_on(settings)["model"]["options"] == told
    assert results_depend_on(asdict(composed([])))["model"]["options"] == {}

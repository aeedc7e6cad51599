"""Random configs of schedulers: the latents of diffusers' DDIM, or a refusal."""

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import event, given, settings
from hypothesis import strategies as st

from diffgeo.diffusion.models import PixelDiffusion
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.diffusion.sampling import ddim_sample
from diffgeo.diffusion.scheduler_fields import FIELDS, OLD_FIELDS, SCHEDULERS
from diffgeo.errors import ModelError, ValueRangeError

settings.register_profile("diffgeo", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("diffgeo")

numbers = st.integers(5, 400)

configs = st.fixed_dictionaries(
    {"num_train_timesteps": numbers},
    optional={
        "beta_start": st.floats(1e-4, 5e-3),
        "beta_end": st.floats(5e-3, 0.05),
        "beta_schedule": st.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2"]),
        "prediction_type": st.sampled_from(["epsilon", "v_prediction", "sample", "flow_prediction"]),
        "clip_sample": st.booleans(),
        "clip_sample_range": st.floats(0.1, 5),
        "thresholding": st.booleans(),
        "dynamic_thresholding_ratio": st.floats(0, 1),
        "sample_max_value": st.floats(1, 4),
        "set_alpha_to_one": st.booleans(),
        "steps_offset": st.integers(0, 2),
        "timestep_spacing": st.sampled_from(["leading", "trailing", "linspace"]),
        "rescale_betas_zero_snr": st.booleans(),
    },
)
surplus = st.sampled_from(
    [
        *({}, {}, {}, {"skip_prk_steps": True}, {"tensor_format": "pt"}, {"beta_warmup": 3}),
        *({"timestep_values": None}, {"timestep_values": [3, 1]}, {"use_flow_sigmas": True}),
    ]
)


class Network(torch.nn.Module):
    """An output that depends on x and t without a symmetry to hide behind."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        self.config = {"sample_size": 4, "in_channels": 3}

    def forward(self, x, t, return_dict=True):
        return ((self.scale * x + 0.3 * x.roll(1, -1)).tanh() * (0.5 + float(t) / 800),)


def reference(scheduler, network, x, steps):
    """diffusers' own DDIM with coefficients in double precision."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = torch.as_tensor(scheduler.final_alpha_cumprod).double()
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t)[0], t, x, eta=0.0).prev_sample
    return x


def predicted(config, steps):
    """What the table of docs/compatibility.md, and its text, predict of a DDIMScheduler: parts of the message.

    Empty if it has to be honoured.
    """
    known, reasons = FIELDS | OLD_FIELDS, []
    for field, value in config.items():
        rule = known.get(field)
        if field in FIELDS and field not in SCHEDULERS["DDIMScheduler"]:
            continue  # of another class: ignored, as diffusers ignores it
        if rule is None:
            reasons.append(f"{field}={value!r} is not understood")
        elif rule.valid is not None and not rule.valid(value):
            reasons.append(f"{field}={value!r}, which is not understood ({rule.reason})")
        elif rule.treatment == "refused" and value not in rule.neutral:
            reasons.append(f"{field}={value!r}, which is refused: {rule.reason}")
    if config["rescale_betas_zero_snr"] and config["prediction_type"] == "epsilon":
        reasons.append("rescale_betas_zero_snr=True and prediction_type='epsilon'")
    if config["prediction_type"] == "flow_prediction":
        reasons.append("prediction_type='flow_prediction' of a rectified flow")
    if config["timestep_spacing"] == "linspace":
        reasons.append("timestep_spacing is 'linspace'")
    stride, offset = config["num_train_timesteps"] // steps, config["steps_offset"]
    if config["timestep_spacing"] == "leading" and offset >= stride:
        reasons.append(f"leading timesteps with steps_offset={offset} do not fit")
    return reasons


def latents_or_a_refusal(config, more, data):
    network = Network()
    scheduler = DDIMScheduler.from_config(config | more)
    n = config["num_train_timesteps"]
    # for other numbers of trailing steps diffusers steps to timesteps that it does not visit: see docs/compatibility.md
    steps = data.draw(st.sampled_from([k for k in range(1, n + 1) if n % k == 0]))
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    fields = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    reasons, refusal = predicted(fields, steps), ""
    try:
        model = PixelDiffusion(network, NoiseSchedule.of(scheduler, spacing=None), name="random", source="random")
        ours = ddim_sample(model, x, steps=steps, clip=model.bounded)
    except (ModelError, ValueRangeError) as error:
        refusal = str(error)
    event("refused" if refusal else "compared")
    if refusal or reasons:
        assert any(reason in refusal for reason in reasons), (refusal, reasons)
        return
    expected = reference(scheduler, network, x, steps)
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(ours / scale, expected / scale, rtol=1e-4, atol=1e-4)


@settings(max_examples=40)
@given(config=configs, more=surplus, data=st.data())
def test_latents_are_those_of_diffusers_or_the_config_is_refused_as_the_table_says(config, more, data):
    latents_or_a_refusal(config, more, data)


@pytest.mark.nightly
@settings(max_examples=2000)
@given(config=configs, more=surplus, data=st.data())
def test_latents_are_those_of_diffusers_or_the_config_is_refused_in_2000_examples(config, more, data):
    latents_or_a_refusal(config, more, data)


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=8), st.lists(st.floats())
)


@settings(max_examples=100)
@given(name=st.sampled_from(sorted(SCHEDULERS)), data=st.data())
def test_no_value_of_any_field_ends_in_anything_but_a_schedule_or_a_refusal(name, data):
    """The scheduler itself is diffusers' to build: here a config as it stands in a file."""
    fields = data.draw(st.lists(st.sampled_from([*SCHEDULERS[name], "predict_epsilon", "unknown"]), max_size=4))
    config = {field: data.draw(values) for field in fields}
    scheduler = type(name, (), {"alphas_cumprod": torch.linspace(0.99, 0.01, 10), "config": config})()
    try:
        schedule = NoiseSchedule.of(scheduler)
    except ModelError:
        return
    assert len(schedule.timesteps(5)) == 5
    x = torch.linspace(-3, 3, 48).reshape(1, 3, 4, 4)
    assert schedule.clipping is None or bool(torch.isfinite(schedule.clipping(x)).all())

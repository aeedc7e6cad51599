"""What every field of a diffusers scheduler means for deterministic DDIM: one table that checks and documents.

A scheduler belongs to a variance preserving process, or to a rectified flow: the classes of :data:`FLOW_SCHEDULERS`
do, and any with ``use_flow_sigmas``.

A pipeline's scheduler is two things: the noise process that the network was trained on, and a sampler with settings of
its own. diffgeo takes the first and samples by DDIM, as after ``DDIMScheduler.from_config(pipeline.scheduler.config)``.
:data:`FIELDS` states for each field whether it is honoured, chosen by diffgeo, irrelevant or refused.
:func:`read_scheduler` follows the table, and ``docs/compatibility.md`` prints it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from diffgeo.errors import ConfigError, ModelError

__all__ = [
    "FIELDS",
    "FLOW_SCHEDULERS",
    "OLD_FIELDS",
    "REFUSED_SCHEDULERS",
    "SCHEDULERS",
    "FieldRule",
    "check_changes",
    "check_length",
    "read_scheduler",
]

Config = dict[str, Any]
"""Fields of a scheduler by name."""

Treatment = Literal["honoured", "chosen", "irrelevant", "refused"]


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one field of a scheduler's config is treated.

    Attributes:
        treatment: ``honoured`` shapes our numbers as it shapes diffusers' DDIM; ``chosen`` is a choice of the sampler
            that diffgeo makes itself; ``irrelevant`` changes nothing in deterministic DDIM; ``refused`` is refused
            unless it has a value of ``neutral``.
        reason: what it does or which values it has, or why it is refused; for the page and for messages.
        neutral: values at which a refused field does nothing.
        valid: whether an honoured value is one that can be honoured.
        note: what the page says after the reason.
    """

    treatment: Treatment
    reason: str
    neutral: tuple[object, ...] = ()
    valid: Callable[[Any], bool] | None = None
    note: str = ""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: object) -> bool:
    return _is_number(value) and value > 0  # type: ignore[operator]


def _is_beta(value: object) -> bool:
    return _is_number(value) and 0 < value < 1  # type: ignore[operator]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_MOST_TIMESTEPS = 100_000
"""Diffusion models have 1000 or a few thousand; α_t is computed for each when a scheduler is built."""
_STEPS = "which timesteps are visited, not the trained process"
_TRAILING = "diffgeo takes trailing ones, so that the first is T"
_SOLVER = "belongs to another solver of the same process"
_FLOW = "of a rectified flow"

FIELDS: dict[str, FieldRule] = {
    "num_train_timesteps": FieldRule(
        "honoured",
        f"T + 1, 1 to {_MOST_TIMESTEPS}",
        valid=lambda n: isinstance(n, int) and not isinstance(n, bool) and 0 < n <= _MOST_TIMESTEPS,
    ),
    "beta_start": FieldRule("honoured", "shapes α_t", valid=_is_beta),
    "beta_end": FieldRule("honoured", "shapes α_t", valid=_is_beta),
    "beta_schedule": FieldRule("honoured", "shapes α_t", valid=lambda value: isinstance(value, str)),
    "trained_betas": FieldRule("honoured", "shapes α_t", note="as many as num_train_timesteps"),
    "prediction_type": FieldRule(
        "honoured",
        "`epsilon`, `v_prediction` or `sample`",
        note="`flow_prediction` of a rectified flow; any other is refused",
        valid=lambda value: value in ("epsilon", "v_prediction", "sample", "flow_prediction"),
    ),
    "rescale_betas_zero_snr": FieldRule(
        "honoured",
        "with `v_prediction` and `sample`",
        note="refused with `epsilon`, which tells no x̂0 at T",
        valid=_is_flag,
    ),
    "clip_sample": FieldRule(
        "honoured", "clips x̂0 of generated samples", note="`schedule.clip` overrides", valid=_is_flag
    ),
    "clip_sample_range": FieldRule("honoured", "half-width of that range", valid=_is_positive),
    "thresholding": FieldRule("honoured", "dynamic thresholding of x̂0, in place of clipping", valid=_is_flag),
    "dynamic_thresholding_ratio": FieldRule(
        "honoured", "quantile of |x̂0| in thresholding", valid=lambda value: _is_number(value) and 0 <= value <= 1
    ),
    "sample_max_value": FieldRule(
        "honoured", "largest threshold, at least 1", valid=lambda v: _is_number(v) and v >= 1
    ),
    "set_alpha_to_one": FieldRule("honoured", "α of the clean end: 1, or α_0 if false", valid=_is_flag),
    "final_sigmas_type": FieldRule(
        "honoured",
        "α of the clean end: 1 (`zero`) or α_0 (`sigma_min`)",
        valid=lambda value: value in ("zero", "sigma_min"),
    ),
    "timestep_spacing": FieldRule(
        "chosen",
        _STEPS,
        note=f"{_TRAILING}; `leading` is honoured if `model.scheduler` says it, or with `load_model(…, spacing=None)`",
        valid=lambda value: value in ("leading", "trailing", "linspace"),
    ),
    "steps_offset": FieldRule(
        "chosen",
        "shifts `leading` timesteps alone",
        note="honoured with them",
        valid=lambda n: isinstance(n, int) and not isinstance(n, bool) and n >= 0,
    ),
    "use_karras_sigmas": FieldRule("chosen", _STEPS, note=_TRAILING),
    "use_exponential_sigmas": FieldRule("chosen", _STEPS, note=_TRAILING),
    "use_beta_sigmas": FieldRule("chosen", _STEPS, note=_TRAILING),
    "use_lu_lambdas": FieldRule("chosen", _STEPS, note=_TRAILING),
    "sigma_min": FieldRule("chosen", _STEPS, note=_TRAILING),
    "sigma_max": FieldRule("chosen", _STEPS, note=_TRAILING),
    "interpolation_type": FieldRule("chosen", f"of σ between timesteps: {_STEPS}", note=_TRAILING),
    "variance_type": FieldRule(
        "irrelevant", "noise that deterministic DDIM does not add", note="a learned variance is dropped"
    ),
    "skip_prk_steps": FieldRule("irrelevant", _SOLVER),
    "solver_order": FieldRule("irrelevant", _SOLVER),
    "algorithm_type": FieldRule("irrelevant", _SOLVER),
    "solver_type": FieldRule("irrelevant", _SOLVER),
    "lower_order_final": FieldRule("irrelevant", _SOLVER),
    "euler_at_final": FieldRule("irrelevant", _SOLVER),
    "predict_x0": FieldRule("irrelevant", _SOLVER),
    "disable_corrector": FieldRule("irrelevant", _SOLVER),
    "solver_p": FieldRule("irrelevant", _SOLVER),
    "lambda_min_clipped": FieldRule("irrelevant", _SOLVER),
    "noise_sampler_seed": FieldRule("irrelevant", "noise that deterministic DDIM does not add"),
    "use_flow_sigmas": FieldRule("honoured", "whether the process is a rectified flow", valid=_is_flag),
    "shift": FieldRule("honoured", f"static shift s {_FLOW}", valid=_is_positive),
    "flow_shift": FieldRule("honoured", "the same, with `use_flow_sigmas`", note="nothing without", valid=_is_positive),
    "use_dynamic_shifting": FieldRule(
        "honoured", f"shift {_FLOW} by the number of image tokens", note="else refused", valid=_is_flag
    ),
    "time_shift_type": FieldRule(
        "honoured", "s = e^μ (`exponential`) or μ (`linear`)", valid=lambda value: value in ("exponential", "linear")
    ),
    "base_shift": FieldRule("honoured", "μ at `base_image_seq_len`", valid=_is_number),
    "max_shift": FieldRule("honoured", "μ at `max_image_seq_len`", valid=_is_number),
    "base_image_seq_len": FieldRule("honoured", "image tokens, from which μ is linear", valid=_is_positive),
    "max_image_seq_len": FieldRule("honoured", "image tokens, to which μ is linear", valid=_is_positive),
    "shift_terminal": FieldRule(
        "honoured",
        f"σ of the last step {_FLOW}, as the scheduler's own steps have it",
        note="else refused",
        valid=lambda value: value is None or value is False or (_is_number(value) and 0 < value < 1),
    ),
    "invert_sigmas": FieldRule("refused", "time runs from 0 to 1 (Mochi)", neutral=(False, None)),
    "stochastic_sampling": FieldRule("irrelevant", "noise that deterministic DDIM does not add"),
    "timestep_type": FieldRule(
        "refused", "`continuous` gives the network ¼ ln σ in place of a timestep", neutral=("discrete",)
    ),
}
"""Fields of the schedulers that are known, by name; a name means the same in every class."""

OLD_FIELDS: dict[str, FieldRule] = {
    "predict_epsilon": FieldRule("honoured", "before `prediction_type`: false is `sample`", valid=_is_flag),
    "tensor_format": FieldRule("irrelevant", "arrays of torch or of numpy"),
    "format": FieldRule("irrelevant", "arrays of torch or of numpy"),
    "timestep_values": FieldRule("refused", "timesteps by hand", neutral=(None,)),
}
"""Fields of configs that earlier versions of diffusers wrote, and this one does not read."""

_BETAS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
_GRID = ("timestep_spacing", "steps_offset")
_CLIP = ("clip_sample", "clip_sample_range")
_THRESHOLD = ("thresholding", "dynamic_thresholding_ratio", "sample_max_value")
_SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
_MULTISTEP = (*_BETAS, *_THRESHOLD, *_SIGMAS, "solver_order", "solver_type", "lower_order_final")
_SHIFT = ("use_flow_sigmas", "flow_shift", "use_dynamic_shifting", "time_shift_type")
_ZERO = "rescale_betas_zero_snr"
_DDIM = (*_BETAS, *_GRID, *_CLIP, *_THRESHOLD, _ZERO, "set_alpha_to_one")
_DDPM = (*_BETAS, *_GRID, *_CLIP, *_THRESHOLD, _ZERO, "variance_type")
_SOLVERS = ("algorithm_type", "lambda_min_clipped", "variance_type", "final_sigmas_type")

FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)
"""Schedulers of rectified flows alone."""

SCHEDULERS: dict[str, tuple[str, ...]] = {
    "DDIMScheduler": _DDIM,
    "DDIMParallelScheduler": _DDIM,
    "DDPMScheduler": _DDPM,
    "DDPMParallelScheduler": _DDPM,
    "PNDMScheduler": (*_BETAS, *_GRID, "skip_prk_steps", "set_alpha_to_one"),
    "LMSDiscreteScheduler": (*_BETAS, *_GRID, *_SIGMAS),
    "EulerDiscreteScheduler": (
        *(*_BETAS, *_GRID, *_SIGMAS, _ZERO),
        *("interpolation_type", "sigma_min", "sigma_max", "timestep_type", "final_sigmas_type"),
    ),
    "EulerAncestralDiscreteScheduler": (*_BETAS, *_GRID, _ZERO),
    "HeunDiscreteScheduler": (*_BETAS, *_GRID, *_SIGMAS, *_CLIP),
    "KDPM2DiscreteScheduler": (*_BETAS, *_GRID, *_SIGMAS),
    "KDPM2AncestralDiscreteScheduler": (*_BETAS, *_GRID, *_SIGMAS),
    "DPMSolverMultistepScheduler": (
        *(*_MULTISTEP, *_SOLVERS, *_SHIFT, *_GRID, _ZERO),
        *("euler_at_final", "use_lu_lambdas"),
    ),
    "DPMSolverSinglestepScheduler": (*_MULTISTEP, *_SOLVERS, *_SHIFT),
    "DPMSolverSDEScheduler": (*_BETAS, *_GRID, *_SIGMAS, "noise_sampler_seed"),
    "DEISMultistepScheduler": (*_MULTISTEP, *_SHIFT, *_GRID, "algorithm_type"),
    "UniPCMultistepScheduler": (
        *(*_MULTISTEP, *_SHIFT, *_GRID, _ZERO, "final_sigmas_type"),
        *("predict_x0", "disable_corrector", "solver_p", "sigma_min", "sigma_max", "shift_terminal"),
    ),
    "FlowMatchEulerDiscreteScheduler": (
        *("num_train_timesteps", "shift", "use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len"),
        *("max_image_seq_len", "invert_sigmas", "shift_terminal", *_SIGMAS, "time_shift_type", "stochastic_sampling"),
    ),
}
"""Fields that each scheduler reads; those of others that a config keeps are ignored, as diffusers ignores them."""

REFUSED_SCHEDULERS: dict[str, str] = {
    "EDMEulerScheduler": "its σ are continuous, the network takes no timestep",
    "EDMDPMSolverMultistepScheduler": "its σ are continuous, the network takes no timestep",
    "CosineDPMSolverMultistepScheduler": "its σ are continuous, the network takes no timestep",
    "ScoreSdeVeScheduler": "its noise grows without bound (VE), x_t is no blend of picture and noise",
    "LCMScheduler": "its network is distilled to give x̂0 in a few steps, DDIM is not its sampler",
    "TCDScheduler": "its network is distilled to give x̂0 in a few steps, DDIM is not its sampler",
    "CMStochasticIterativeScheduler": "its network is distilled to give x̂0 in a few steps, DDIM is not its sampler",
    "DDIMInverseScheduler": "it runs towards noise; save the pipeline with the scheduler that it samples with",
    "DPMSolverMultistepInverseScheduler": "it runs towards noise; save the pipeline with the one that it samples with",
}
"""Schedulers that are refused by name, and why; any other that :data:`SCHEDULERS` lacks is refused, too."""

_REPLACE = "give the folder a DDIMScheduler, DDPMScheduler or FlowMatchEulerDiscreteScheduler of its noise process"


def check_length(config: Mapping[str, Any]) -> None:
    """Whether a scheduler has a number of timesteps that can be built.

    Args:
        config: as its file has it.

    Raises:
        ModelError: it has too many, or that is no number.
    """
    field = "num_train_timesteps"
    if field in config:
        _check_value(str(config.get("_class_name", "scheduler")), field, config[field], FIELDS[field])


def check_changes(changes: Mapping[str, object], name: str | None = None) -> None:
    """Whether fields of a scheduler's config can be set by a user: those that change numbers, each in its range.

    Args:
        changes: field → value.
        name: the scheduler's class in diffusers; None asks whether any has the fields.

    Raises:
        ConfigError: there is no such field, it changes nothing, or it cannot have the value.
    """
    known = FIELDS if name is None else SCHEDULERS.get(name, ())
    settable = [field for field in known if FIELDS[field].treatment == "honoured" or field in _GRID]
    for field, value in changes.items():
        rule, kind = FIELDS.get(field), "a scheduler" if name is None else f"the {name}"
        if rule is None or field not in settable:
            what = "changes nothing here" if rule and field in known else f"is no field of {kind}"
            meant = get_close_matches(field, settable, 1)
            advice = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(settable)}"
            raise ConfigError(f"model.scheduler: {field} {what}", advice)
        if rule.valid is not None and not rule.valid(value):
            raise ConfigError(
                f"model.scheduler: {field}={value!r} is not understood",
                f"that is {rule.reason}: docs/compatibility.md lists all fields",
            )


def read_scheduler(name: str, config: Mapping[str, Any]) -> Config:
    """The honoured fields of a scheduler's config, and those that spacing has, checked.

    Args:
        name: the scheduler's class in diffusers.
        config: its config; names that begin with ``_`` are diffusers' own notes.

    Returns:
        Field → value, for the fields that the class reads; ``prediction_type`` with old names translated.

    Raises:
        ModelError: the class is none that diffgeo understands, or a field is not known, refused, or out of range.
    """
    if name not in SCHEDULERS:
        reason = REFUSED_SCHEDULERS.get(name, f"diffgeo understands {', '.join(sorted(SCHEDULERS))}")
        raise ModelError(f"the scheduler {name} is refused: {reason}", _REPLACE)
    known = FIELDS | OLD_FIELDS
    found: Config = {}
    for field, value in config.items():
        if field.startswith("_"):
            continue
        if field not in known:
            raise ModelError(
                f"the scheduler's {field}={value!r} is not understood",
                f"if it changes nothing in sampling, take it out of scheduler_config.json, else {_REPLACE}",
            )
        if field in SCHEDULERS[name] or field in OLD_FIELDS:
            _check_value(name, field, value, known[field])
            found[field] = value
    if found.pop("predict_epsilon", True) is False:
        if found.get("prediction_type", "epsilon") == "v_prediction":
            raise ModelError(
                "the scheduler has predict_epsilon=False and prediction_type='v_prediction', which contradict each "
                "other",
                "take predict_epsilon out of scheduler_config.json",
            )
        found["prediction_type"] = "sample"
    _check_process(name, found)
    if found.get("rescale_betas_zero_snr") and found.get("prediction_type", "epsilon") == "epsilon":
        raise ModelError(
            "the scheduler has rescale_betas_zero_snr=True and prediction_type='epsilon': at T there is no signal, and "
            "noise tells no x̂0",
            "a network trained so predicts v or the sample, set prediction_type",
        )
    return {field: value for field, value in found.items() if known[field].treatment in ("honoured", "chosen")}


def _check_process(name: str, found: Mapping[str, Any]) -> None:
    """Whether fields of a rectified flow are those of one, and what its network predicts can be one's."""
    flow, predicted = name in FLOW_SCHEDULERS or found.get("use_flow_sigmas"), found.get("prediction_type", "epsilon")
    if flow and predicted == "v_prediction":
        raise ModelError(
            f"the {name} has prediction_type='v_prediction', which is no velocity {_FLOW}",
            "set prediction_type to 'flow_prediction', if that is what its network was trained on",
        )
    if flow and found.get("final_sigmas_type") == "sigma_min":
        raise ModelError(f"the {name} has final_sigmas_type='sigma_min', but a rectified flow ends at 0", _REPLACE)
    if flow:
        return
    for field in ("use_dynamic_shifting", "shift_terminal"):
        if found.get(field):
            raise ModelError(f"the {name} has {field}={found[field]!r} {_FLOW}, but not use_flow_sigmas", _REPLACE)
    if predicted == "flow_prediction":
        raise ModelError(
            f"the {name} has prediction_type='flow_prediction' {_FLOW}, but not use_flow_sigmas",
            "set use_flow_sigmas, if its class has it, or give the folder a FlowMatchEulerDiscreteScheduler",
        )


def _check_value(name: str, field: str, value: object, rule: FieldRule) -> None:
    if rule.treatment == "refused" and not any(value is one or value == one for one in rule.neutral):
        raise ModelError(f"the {name} has {field}={value!r}, which is refused: {rule.reason}", _REPLACE)
    if rule.valid is not None and not rule.valid(value):
        raise ModelError(
            f"the {name} has {field}={value!r}, which is not understood ({rule.reason})",
            "correct scheduler_config.json",
        )

"""Checks of every setting's range, and across keys, before any model loads.

Ranges stand at the fields themselves (:mod:`diffgeo.config.fields`), and checks across the fields of one dataclass in
its method ``check()``; here is what spans several.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from diffgeo.config.fields import check_fields, refusal
from diffgeo.config.schemas import (
    EDIT_SCHEMAS,
    PREDICTOR_SCHEMAS,
    SVD_SCHEMAS,
    Config,
    EditConfig,
    PredictorConfig,
    SvdConfig,
    TextToImageConfig,
)
from diffgeo.errors import UnsuitableModelError
from diffgeo.studies import studies

__all__ = ["TAKEN", "check"]

_COLUMNS = """
    sample name t t_frac direction frame gamma x_change change change_wanted matched perceptual_measure clipped_change
    chroma_change off_data label model block pool solver svd_tol steps edit_method edit_normalise edit_rescale seed rank
    singular_value residual_left residual_right passes converged gap change_low_share path_length largest_step
    pixel_change variant attribute on_target off_target off_target_max off_target_distance precision
    method local_success ssim psnr identity s_dir target target_held_out dependency_mean dependency_max precision_own
    precision_gain precision_gain_matched transfer_success dci_d dci_c dci_i mig sap factor_vae effect_vote
    effect_gap effect_disentanglement effect_completeness
"""
TAKEN = frozenset(_COLUMNS.split())
"""Columns of the tables of edits and lines of the scorecard, which a metric of the user's own cannot be called."""


def check(cfg: Config) -> None:
    """Check ranges and what spans several settings, before any model loads.

    Raises:
        ConfigError: a setting contradicts another or leaves its range; the message names the key, the value and
            what is allowed.
        UnsuitableModelError: a study of prompts with a model that takes none.
    """
    if "prompts" in cfg.study and not isinstance(cfg.model, TextToImageConfig):
        raise UnsuitableModelError(
            f"study prompts compares prompts, and {cfg.model.path} takes none",
            "choose a text-to-image model, such as model=factor_faces_t2i",
        )
    _check_prompt(cfg)
    _check_choice("edit.method", cfg.edit, EditConfig, EDIT_SCHEMAS)
    _check_choice("predictor.kind", cfg.predictor, PredictorConfig, PREDICTOR_SCHEMAS)
    _check_choice("svd.solver", cfg.svd, SvdConfig, SVD_SCHEMAS)
    check_fields(cfg, "")
    for part in fields(cfg):
        if is_dataclass(settings := getattr(cfg, part.name)):
            check_fields(settings, f"{part.name}.")
    for name, node in cfg.metric.extra.items():
        _check_metric(str(name), node)
    _check_objective(cfg)
    if not cfg.study:
        raise refusal("study", "[]", f"one or more of {', '.join(studies())}")
    for name, study in cfg.study.items():
        if name not in studies():
            raise refusal("study", name, ", ".join(studies()))
        if not isinstance(study, studies()[name].settings):
            raise refusal(f"study.{name}", study, "settings, not a value")
        check_fields(study, f"study.{name}.")
    _check_fractions(cfg)


def _check_fractions(cfg: Config) -> None:
    """Whether every fraction of T is within half a step of the schedule."""
    steps, given = cfg.schedule.steps, {"schedule.edit": cfg.schedule.edit}
    for name, study in cfg.study.items():
        given |= {f"study.{name}.t_frac": [study.t_frac]} if getattr(study, "t_frac", None) is not None else {}
        given |= {f"study.{name}.t_fracs": study.t_fracs} if getattr(study, "t_fracs", None) else {}
    for key, fractions in given.items():
        if min(fractions) * steps < 0.5:
            lowest = f"within half a step of its lowest timestep, {1 / steps:g} T"
            shown = fractions if key.endswith(("edit", "s")) else fractions[0]
            raise refusal(key, shown, f"{0.5 / steps:g} to 1 with schedule.steps={steps}, {lowest}")


def _check_prompt(cfg: Config) -> None:
    """A prompt is there if the model takes one, and only then."""
    if isinstance(cfg.model, TextToImageConfig):
        if cfg.model.prompt is None:
            raise refusal("prompt", None, "a text, as this model turns text into pictures")
    elif cfg.prompt is not None:
        raise refusal("prompt", cfg.prompt, "null, as this model takes no prompt")


def _check_choice(key: str, settings: Any, base: type, schemas: dict[str, type]) -> None:
    """What a group's choice sets by itself was not set to another choice's; code of the user's own has any name."""
    group, _, field = key.partition(".")
    name = getattr(settings, field)
    if type(settings) is base:
        return
    if name not in schemas:
        raise refusal(key, name, ", ".join(schemas))
    if type(settings) is not schemas[name]:
        raise refusal(key, name, f"what {group}=… sets; choose {group}={name} instead")


def _check_objective(cfg: Config) -> None:
    """Whether what a search improves is a name of a study that is run."""
    wanted = cfg.objective if isinstance(cfg.objective, list) else [cfg.objective]
    if wanted == [None]:
        return
    if not wanted or not all(isinstance(one, str) and "/" in one for one in wanted):
        raise refusal("objective", cfg.objective, "null, STUDY/SCALAR, or a list of those")
    for one in wanted:
        if one.partition("/")[0] not in cfg.study:
            raise refusal("objective", one, f"scalars of the studies that are run ({', '.join(cfg.study)})")


def _check_metric(name: str, node: object) -> None:
    """One of the user's own metrics."""
    key = f"metric.extra.{name}"
    if not name.isidentifier() or name in TAKEN or name.startswith("delta_"):
        raise refusal(key, "…", "a name of letters, digits and _ that the tables of edits do not use yet")
    target = node.get("_target_") if isinstance(node, dict) else None
    if not (isinstance(target, str) and "." in target and all(part.isidentifier() for part in target.split("."))):
        raise refusal(key, node, f"{key}._target_=package.module.Name, and its arguments as {key}.NAME=VALUE")

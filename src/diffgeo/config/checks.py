"""Checks of ranges and across keys, before any model loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from diffgeo.config.schemas import (
    EDIT_SCHEMAS,
    PREDICTOR_SCHEMAS,
    ClassifierConfig,
    ClipConfig,
    Config,
    EditConfig,
    GolubKahanConfig,
    GuidanceConfig,
    ShootingConfig,
    TextToImageConfig,
)
from diffgeo.config.studies import (
    METHODS,
    PATHS,
    STUDY_SCHEMAS,
    VARIANTS,
    AblationConfig,
    CurvednessConfig,
    DatasetComplexityConfig,
    DiscoveryConfig,
    DisentanglementConfig,
    FrequencyConfig,
    GlobalConsistencyConfig,
    PromptsConfig,
    TangentDistanceConfig,
)
from diffgeo.errors import ConfigError, UnsuitableModelError

__all__ = ["TAKEN", "check"]

_COLUMNS = """
    sample name t t_frac direction frame gamma change change_wanted matched perceptual_measure clipped_change
    chroma_change label model block pool solver svd_tol steps edit_method edit_normalise seed rank
    singular_value residual_left residual_right passes converged gap change_low_share path_length largest_step
    pixel_change variant attribute on_target off_target off_target_max off_target_distance precision
    method local_success ssim psnr identity s_dir target target_held_out dependency_mean dependency_max precision_own
    precision_gain precision_gain_matched transfer_success dci_d dci_c dci_i mig sap factor_vae effect_vote
    effect_gap effect_disentanglement effect_completeness
"""
TAKEN = frozenset(_COLUMNS.split())
"""Columns of the tables of edits and lines of the scorecard, which a metric of the user's own cannot be called."""


def check(cfg: Config) -> None:
    """Checks across fields and of ranges, before any model loads.

    Raises:
        ConfigError: a setting contradicts another or leaves its range; the message names the key, the value and
            what is allowed.
        UnsuitableModelError: a study of prompts with a model that takes none.
    """

    def require(ok: bool, key: str, value: object, allowed: str) -> None:
        if not ok:
            raise ConfigError(f"{key}={value} is not possible; allowed: {allowed}")

    def choose(key: str, value: str | None, *choices: str | None) -> None:
        shown = ", ".join("null" if c is None else c for c in choices)
        require(value in choices, key, value, shown)

    if "prompts" in cfg.study and not isinstance(cfg.model, TextToImageConfig):
        raise UnsuitableModelError(
            f"study prompts compares prompts, and {cfg.model.path} takes none; choose a text-to-image model, such as "
            "model=factor_faces_t2i"
        )
    s, e = cfg.schedule, cfg.edit
    choose("model.dtype", cfg.model.dtype, "float32", "float64")
    if isinstance(cfg.model, TextToImageConfig):
        m = cfg.model
        require(m.prompt is not None, "prompt", "null", "a text, as this model turns text into pictures")
        require(m.guidance >= 1, "model.guidance", m.guidance, "1 or more")
        require(m.inversion_guidance >= 1, "model.inversion_guidance", m.inversion_guidance, "1 or more")
    else:
        require(cfg.prompt is None, "prompt", cfg.prompt, "null, as this model takes no prompt")
    choose("feature.pool", cfg.feature.pool, None, "sum")
    choose("edit.method", e.method, *EDIT_SCHEMAS)
    right = type(e) in (EditConfig, EDIT_SCHEMAS[e.method])
    require(right, "edit.method", e.method, f"what edit=… sets; choose edit={e.method} instead")
    choose("metric.perceptual", cfg.metric.perceptual, "auto", "lpips", "factor_features", "rmse")
    require(cfg.metric.identity_size >= 8, "metric.identity_size", cfg.metric.identity_size, "8 or more")
    for name, node in cfg.metric.extra.items():
        _check_metric(str(name), node, require)
    p = cfg.predictor
    choose("predictor.kind", p.kind, *PREDICTOR_SCHEMAS)
    right = isinstance(p, PREDICTOR_SCHEMAS[p.kind])
    require(right, "predictor.kind", p.kind, f"what predictor=… sets; choose predictor={p.kind} instead")
    if isinstance(p, ClipConfig):
        pairs = bool(p.prompts) and all(len(pair) == 2 for pair in p.prompts.values())
        require(pairs, "predictor.prompts", p.prompts, "two prompts an attribute: where it is there, where it is not")
    if isinstance(p, ClassifierConfig):
        require(bool(p.names) and len(set(p.names)) == len(p.names), "predictor.names", p.names, "each name once")
        choose("predictor.activation", p.activation, "sigmoid", "softmax", "probability", "none")
        require(p.size >= 8, "predictor.size", p.size, "8 or more")
        for key, value in (("mean", p.mean), ("std", p.std)):
            require(len(value) == 3 and (key == "mean" or min(value) > 0), f"predictor.{key}", value, "three numbers")
    choose("tracking.backend", cfg.tracking.backend, "none", "wandb")
    choose("tracking.mode", cfg.tracking.mode, "offline", "online")
    require(cfg.retries is None or cfg.retries >= 0, "retries", cfg.retries, "null, or 0 or more")
    _check_objective(cfg, require)
    require(0 < cfg.store.max_gb < math.inf, "store.max_gb", cfg.store.max_gb, "a positive number")
    require(cfg.data.samples >= 1, "data.samples", cfg.data.samples, "1 or more")
    images = cfg.data.images
    listed = isinstance(images, list) and bool(images) and all(isinstance(file, str) for file in images)
    right = images is None or isinstance(images, str) or listed
    require(right, "data.images", images, "null, a folder, a picture, or a list of pictures")
    require(s.steps >= 1, "schedule.steps", s.steps, "1 to the number of training timesteps")
    require(bool(s.edit) and all(0 < t <= 1 for t in s.edit), "schedule.edit", s.edit, "fractions of T in (0, 1]")
    require(len(set(s.edit)) == len(s.edit), "schedule.edit", s.edit, "each fraction once")
    require(0 <= s.eta <= 1, "schedule.eta", s.eta, "0 to 1")
    require(0 <= s.boost_below <= 1, "schedule.boost_below", s.boost_below, "0 to 1")
    require(cfg.feature.chunk_size >= 1, "feature.chunk_size", cfg.feature.chunk_size, "1 or more")
    require(cfg.svd.rank >= 1, "svd.rank", cfg.svd.rank, "1 to the rank of the Jacobian")
    require(cfg.svd.share is None or 0 < cfg.svd.share < 1, "svd.share", cfg.svd.share, "null, or between 0 and 1")
    choose("svd.precision", cfg.svd.precision, None, "bfloat16", "float16")
    alone = cfg.svd.points == 1 or not (cfg.svd.compile or cfg.svd.precision)
    require(alone, "svd.points", cfg.svd.points, "1 with svd.compile or svd.precision")
    require(cfg.svd.points >= 1, "svd.points", cfg.svd.points, "1 or more")
    if isinstance(cfg.svd, GolubKahanConfig):
        block, probe = cfg.svd.block_size, cfg.svd.probe
        require(block is None or block >= 1, "svd.block_size", block, "null, or 1 or more")
        require(block is None or not probe, "svd.block_size", block, "null where svd.probe=true measures it")
    bound = cfg.max_memory
    require(bound is None or 0 < bound < math.inf, "max_memory", bound, "null, or a positive number of 10^9 bytes")
    require(0 < cfg.svd.tol < math.inf, "svd.tol", cfg.svd.tol, "a positive number")
    require(0 < e.strength < math.inf, "edit.strength", e.strength, "a positive number")
    require(e.frames >= 3 and e.frames % 2 == 1, "edit.frames", e.frames, "an odd number of 3 or more")
    require(0 <= e.kappa < 1, "edit.kappa", e.kappa, "0 <= kappa < 1")
    if isinstance(e, ShootingConfig | GuidanceConfig):
        require(e.steps >= 1, "edit.steps", e.steps, "1 or more")
    if isinstance(e, ShootingConfig):
        choose("edit.transport", e.transport, "isometric", "pullback")
        side = e.frames // 2
        require(
            e.steps % side == 0, "edit.steps", e.steps, f"a multiple of {side}, so that edit.frames lie on the curve"
        )
    for name, study in cfg.study.items():
        schema = STUDY_SCHEMAS.get(name)
        require(schema is not None, "study", name, ", ".join(STUDY_SCHEMAS))
        require(schema is not None and isinstance(study, schema), f"study.{name}", study, "settings, not a value")
        _check_study(name, study, require, choose)
    _check_fractions(cfg, require)


def _check_fractions(cfg: Config, require: Any) -> None:
    """Whether every fraction of T is within half a step of the schedule; arguments as in :func:`check`."""
    steps, given = cfg.schedule.steps, {"schedule.edit": cfg.schedule.edit}
    for name, study in cfg.study.items():
        given |= {f"study.{name}.t_frac": [study.t_frac]} if hasattr(study, "t_frac") else {}
        given |= {f"study.{name}.t_fracs": study.t_fracs} if getattr(study, "t_fracs", None) else {}
    for key, fractions in given.items():
        require(
            min(fractions) * steps >= 0.5,
            key,
            fractions if key.endswith(("edit", "s")) else fractions[0],
            f"{0.5 / steps:g} to 1 with schedule.steps={steps}, within half a step of its lowest timestep, "
            f"{1 / steps:g} T",
        )


def _check_objective(cfg: Config, require: Any) -> None:
    """Whether what a search improves is a name of a study that is run; arguments as in :func:`check`."""
    wanted = cfg.objective if isinstance(cfg.objective, list) else [cfg.objective]
    if wanted == [None]:
        return
    ok = bool(wanted) and all(isinstance(one, str) and "/" in one for one in wanted)
    require(ok, "objective", cfg.objective, "null, STUDY/SCALAR, or a list of those")
    for one in wanted:
        study = one.partition("/")[0]
        require(study in cfg.study, "objective", one, f"scalars of the studies that are run ({', '.join(cfg.study)})")


def _check_metric(name: str, node: object, require: Any) -> None:
    """One of the user's own metrics; arguments as in :func:`check`."""
    key = f"metric.extra.{name}"
    free = name.isidentifier() and name not in TAKEN and not name.startswith("delta_")
    require(free, key, "…", "a name of letters, digits and _ that the tables of edits do not use yet")
    target = node.get("_target_") if isinstance(node, dict) else None
    named = isinstance(target, str) and all(part.isidentifier() for part in target.split(".")) and "." in target
    require(named, key, node, f"{key}._target_=package.module.Name, and its arguments as {key}.NAME=VALUE")


def _check_study(name: str, study: Any, require: Any, choose: Any) -> None:
    """Ranges of one study's settings; arguments as in :func:`check`."""

    def within(key: str, low: float, high: float, allowed: str) -> None:
        value = getattr(study, key)
        require(low <= value <= high, f"study.{name}.{key}", value, allowed)

    def subset(key: str, known: Sequence[str]) -> None:
        values = getattr(study, key)
        ok = bool(values) and set(values) <= set(known) and len(set(values)) == len(values)
        require(ok, f"study.{name}.{key}", values, f"any of {', '.join(known)}, each once")

    match study:
        case DiscoveryConfig():
            within("directions", 1, math.inf, "1 or more")
        case FrequencyConfig():
            within("directions", 1, math.inf, "1 or more")
            require(
                0 < study.low < math.sqrt(2),
                "study.frequency.low",
                study.low,
                "a fraction of Nyquist, above 0, below 1.41",
            )
        case GlobalConsistencyConfig():
            within("directions", 1, math.inf, "1 or more")
            within("draws", 99, math.inf, "99 or more, for p-values down to 0.01")
            subset("methods", ("nearest", "hungarian", "frechet"))
        case CurvednessConfig():
            within("pairs", 1, math.inf, "1 or more")
            within("segments", 2, math.inf, "2 or more")
            within("rank", 2, math.inf, "2 or more")
            choose(f"study.{name}.rule", study.rule, "fixed", "share", "gap")
            require(0 < study.t_frac <= 1, f"study.{name}.t_frac", study.t_frac, "a fraction of T in (0, 1]")
            subset("pools", ("none", "sum"))
            subset("paths", PATHS)
        case DatasetComplexityConfig():
            require(len(study.models) >= 2, f"study.{name}.models", study.models, "two or more models")
            within("samples", 2, math.inf, "2 or more")
            within("rank", 1, math.inf, "1 or more")
            choose(f"study.{name}.rule", study.rule, "fixed", "share", "gap")
        case PromptsConfig():
            texts, scales = study.prompts, study.guidance
            require(len(set(texts)) == len(texts) >= 2, f"study.{name}.prompts", texts, "two or more, each once")
            within("samples", 1, math.inf, "1 or more")
            ok = scales is None or (bool(scales) and all(1 <= x < math.inf for x in scales))
            require(ok, f"study.{name}.guidance", scales, "null, or scales of 1 or more")
            within("rank", 1, math.inf, "1 or more")
            choose(f"study.{name}.rule", study.rule, "fixed", "share", "gap")
            within("draws", 99, math.inf, "99 or more, for p-values down to 0.01")
        case TangentDistanceConfig():
            within("rank", 1, math.inf, "1 or more")
            choose(f"study.{name}.rule", study.rule, "fixed", "share", "gap")
            within("controls", 0, math.inf, "0 or more")
        case DisentanglementConfig():
            subset("methods", METHODS)
            within("samples", 3, math.inf, "3 or more: two make the global directions, one is edited")
            split = study.training is None or 2 <= study.training < study.samples
            require(split, f"study.{name}.training", study.training, "null, or 2 to one less than samples")
            within("directions", 1, math.inf, "1 or more")
            within("limit", 1, math.inf, "1 or more")
            within("codes", 12, math.inf, "12 or more")
            within("draws", 2, math.inf, "2 or more")
            within("subspace", 0, math.inf, "0 or more")
            within("still", 1e-9, 1, "above 0, to 1")
            choose(f"study.{name}.regressor", study.regressor, "lasso", "forest")
            require(study.min_spread >= 0, f"study.{name}.min_spread", study.min_spread, "0 or more")
            require(study.moved > 0, f"study.{name}.moved", study.moved, "a positive number")
            levels = study.levels
            require(all(0 < x < 1 for x in levels), f"study.{name}.levels", levels, "numbers between 0 and 1")
            fracs = study.t_fracs
            ok = fracs is None or (bool(fracs) and all(0 < x <= 1 for x in fracs))
            require(ok, f"study.{name}.t_fracs", fracs, "null, or fractions of T in (0, 1]")
            require(
                study.change is None or study.change > 0,
                f"study.{name}.change",
                study.change,
                "null or a positive number",
            )
        case AblationConfig():
            subset("variants", VARIANTS)
            within("samples", 1, math.inf, "1 or more")
            within("directions", 1, math.inf, "1 or more")
            within("limit", 1, math.inf, "1 or more")
            within("pca_samples", study.directions + 1, math.inf, "more than the directions")
            require(0 < study.t_frac <= 1, f"study.{name}.t_frac", study.t_frac, "a fraction of T in (0, 1]")
            require(
                study.change is None or study.change > 0,
                f"study.{name}.change",
                study.change,
                "null or a positive number",
            )
        case _:
            pass

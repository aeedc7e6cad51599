"""Checks of every setting's range, and across keys, before any model loads.

Ranges stand at the fields themselves (:mod:`diffgeo.config.fields`), and checks across the fields of one dataclass in
its method ``check()``; here is what spans several.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

from diffgeo.config.fields import check_fields, refusal, rule_of
from diffgeo.config.instances import GIVEN, check_own
from diffgeo.config.lookup import config_folder, raw
from diffgeo.config.schemas import Config, TextToImageConfig
from diffgeo.studies import COLUMNS, studies


def check(cfg: Config) -> None:
    """Check ranges and what spans several settings, before any model loads.

    Raises:
        ConfigError: a setting contradicts another or leaves its range; the message names the key, the value and
            what is allowed.
        DiffgeoError: what the method ``check_run(cfg)`` of a study's settings raises, if it has one.
    """
    for study in cfg.study.values():
        if isinstance(suits := getattr(study, "check_run", None), MethodType):
            suits(cfg)
    _check_prompt(cfg)
    _check_name("edit.method", cfg.edit)
    _check_name("metric.perceptual", cfg.metric)
    _check_name("predictor.kind", cfg.predictor)
    _check_name("svd.solver", cfg.svd)
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
    for group in GIVEN:
        if (settings := getattr(cfg, group)).options:  # the code that takes them is imported, after all that is quick
            check_own(group, settings)


def _check_fractions(cfg: Config) -> None:
    """Whether every fraction of T that has to be on the schedule is within half a step of it."""
    steps = cfg.schedule.steps
    groups: dict[str, Any] = {f"study.{name}": study for name, study in cfg.study.items()}
    if cfg.schedule.edit_log_snr is None:
        groups["schedule"] = cfg.schedule
    for group, settings in groups.items():
        for one in fields(settings):
            value = getattr(settings, one.name)
            if value is None or not rule_of(one).scheduled:
                continue
            if min(value if isinstance(value, list) else [value]) * steps < 0.5:
                lowest = f"within half a step of its lowest timestep, {1 / steps:g} T"
                allowed = f"{0.5 / steps:g} to 1 with schedule.steps={steps}, {lowest}"
                raise refusal(f"{group}.{one.name}", value, allowed)


def _check_prompt(cfg: Config) -> None:
    """A prompt is there if the model takes one, and only then."""
    if isinstance(cfg.model, TextToImageConfig):
        if cfg.model.prompt is None:
            raise refusal("prompt", None, "a text, as this model turns text into pictures")
    elif cfg.prompt is not None:
        raise refusal("prompt", cfg.prompt, "null, as this model takes no prompt")


def _check_name(key: str, settings: Any) -> None:
    """What a choice calls itself in tables was not set to another choice's name; code of the user's own has any."""
    group, _, field = key.partition(".")
    name, target = getattr(settings, field), settings._target_
    ours = _targets(config_folder() / group)
    if target not in ours.values() or ours.get(name) == target:
        return
    raise refusal(key, name, f"what {group}=… sets; choose {group}={name} instead" if name in ours else ", ".join(ours))


@cache
def _targets(group: Path) -> dict[str, object]:
    """What the choices of a group name, by choice."""
    return {path.stem: raw(path).get("_target_") for path in sorted(group.glob("*.yaml"))}


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


def taken() -> frozenset[str]:
    """Columns of the tables of edits and lines of the scorecard, which a metric of the user's own cannot be called."""
    return frozenset(COLUMNS).union(*(study.columns for study in studies().values()))


def _check_metric(name: str, node: object) -> None:
    """One of the user's own metrics."""
    key = f"metric.extra.{name}"
    if not name.isidentifier() or name in taken() or name.startswith("delta_"):
        raise refusal(key, "…", "a name of letters, digits and _ that the tables of edits do not use yet")
    target = node.get("_target_") if isinstance(node, dict) else None
    if not (isinstance(target, str) and "." in target and all(part.isidentifier() for part in target.split("."))):
        raise refusal(key, node, f"{key}._target_=package.module.Name, and its arguments as {key}.NAME=VALUE")

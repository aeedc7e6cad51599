"""Which settings a result depends on, read from the metadata of their fields.

The store's keys, ``diffgeo-report`` and ``diffgeo-paper`` ask for what results depend on; a process that runs one thing
after another asks what it has to load again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from diffgeo.composition.hydra import group_schemas
from diffgeo.config.fields import rule_of
from diffgeo.config.lookup import Plain
from diffgeo.config.schemas import Config, StoreConfig
from diffgeo.ranges import Affects

_PARTS: Mapping[str, Mapping[str, type]] = {"store": {"store": StoreConfig}}
"""Parts of the settings that are no group of ``conf/``."""


def results_depend_on(settings: Mapping[str, Any]) -> Plain:
    """The settings that a number of a run depends on.

    Args:
        settings: of a run, as ``asdict(cfg)`` or ``run.json`` has them.

    Returns:
        The same, less those without influence; settings that no schema knows count as having some.
    """
    return _of_kind(settings, ("results", "model"))


def session_depends_on(settings: Mapping[str, Any]) -> Plain:
    """The settings that model, latents, bases and store depend on: runs that agree in them may share those.

    Args:
        settings: of a run, as ``asdict(cfg)`` has them.
    """
    return _of_kind(settings, ("model", "session"))


def _of_kind(settings: Mapping[str, Any], kinds: tuple[Affects, ...]) -> Plain:
    chosen: Plain = {}
    for name, value in settings.items():
        affects = _affects([Config], name) or "results"
        schemas = _PARTS.get(name) or group_schemas().get(name, {})
        kept: Any = value if affects in kinds else {}
        if name == "study" and isinstance(value, Mapping):
            studies = {
                key: _fields(own, [schemas[key]] if key in schemas else [], affects, kinds)
                for key, own in value.items()
            }
            kept = {key: own for key, own in studies.items() if own or affects in kinds}
        elif schemas and isinstance(value, Mapping):
            kept = _fields(value, schemas.values(), affects, kinds)
        if kept != {} or affects in kinds:
            chosen[name] = kept
    return chosen


def _fields(
    settings: Mapping[str, Any], schemas: Iterable[type], inherited: Affects, kinds: tuple[Affects, ...]
) -> Plain:
    """The settings of one group or study whose own effect, or else the group's, is one of ``kinds``."""
    known = list(schemas)
    return {name: value for name, value in settings.items() if (_affects(known, name) or inherited) in kinds}


def _affects(schemas: Iterable[type], name: str) -> Affects | None:
    """What the field of this name affects in the first schema that says so."""
    stated = (rule_of(one).affects for schema in schemas for one in fields(schema) if one.name == name)
    return next(filter(None, stated), None)

"""Where ``conf/`` is, what keys a configuration has, and which one a typo may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from diffgeo.errors import ConfigError

Plain = dict[str, Any]
"""Settings as plain values, by name: as YAML and ``run.json`` have them."""


def config_folder() -> Path:
    """``conf/``: inside the package in a wheel, at the top of the repository in a checkout.

    Raises:
        ConfigError: neither is there (a broken installation).
    """
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "conf", here.parent.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError("diffgeo's conf/ folder is missing", "reinstall the package")


def raw(path: Path) -> Plain:
    """A file of ``conf/`` as it is written, references unresolved."""
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def leaf_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, inner nodes included."""
    keys = []
    for key in map(str, cfg):
        keys.append(f"{prefix}{key}")
        value = cfg._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            keys += leaf_keys(value, f"{prefix}{key}.")
    return keys


def flat(settings: Mapping[str, Any], prefix: str = "") -> Plain:
    """Settings by dotted key, as a command line has them: ``options`` are in their group; empty parts are left out."""
    found: Plain = {}
    for key, value in settings.items():
        inside = prefix if prefix and key == "options" else f"{prefix}{key}."
        found |= flat(value, inside) if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def nearest(word: str, known: list[str]) -> str | None:
    """The known word most like ``word``, or None if nothing is near.

    A word without dots is compared with the last parts of keys, too: ``steps`` is near ``schedule.steps``, the first of
    those that end so.
    """
    likeness = difflib.SequenceMatcher(b=word)

    def near(other: str) -> float:
        likeness.set_seq1(other)
        return likeness.ratio()

    def closeness(other: str) -> float:
        last = other.rpartition(".")[2]
        return near(other) if "." in word or last == other else max(near(other), 0.9 * near(last))

    best = max(known, key=closeness, default="")
    return best if best and closeness(best) >= 0.5 else None

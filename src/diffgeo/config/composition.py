"""From YAML to dataclasses: where ``conf/`` is, its schemas, and the names that a typo may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from diffgeo.config.schemas import (
    EDIT_SCHEMAS,
    MODEL_SCHEMAS,
    PREDICTOR_SCHEMAS,
    SVD_SCHEMAS,
    Config,
    DataConfig,
    FeatureConfig,
    MetricConfig,
    ScaleConfig,
    ScheduleConfig,
    TrackingConfig,
)
from diffgeo.config.studies import STUDY_SCHEMAS
from diffgeo.errors import ConfigError

__all__ = ["GROUP_SCHEMAS", "composed", "config_folder", "leaf_keys", "nearest", "raw", "register", "typed"]

GROUP_SCHEMAS: dict[str, Mapping[str, type]] = {
    "model": MODEL_SCHEMAS,
    "data": {"data": DataConfig},
    "schedule": {"schedule": ScheduleConfig},
    "feature": {"feature": FeatureConfig},
    "svd": SVD_SCHEMAS,
    "edit": EDIT_SCHEMAS,
    "predictor": PREDICTOR_SCHEMAS,
    "metric": {"metric": MetricConfig},
    "study": STUDY_SCHEMAS,
    "scale": {"scale": ScaleConfig},
    "tracking": {"tracking": TrackingConfig},
}
"""Schemas by group and by the name that a choice's ``/schema/GROUP/NAME`` gives."""


def register() -> None:
    """Put the schemas where the YAML's defaults lists find them (``/schema/…``)."""
    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    for group, schemas in GROUP_SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    metric = OmegaConf.structured(MetricConfig)
    OmegaConf.set_struct(metric.extra, False)  # its keys are names of the user's: metric.extra.NAME=… needs no +
    store.store(group="schema/metric", name="metric", node=metric)


def config_folder() -> Path:
    """``conf/``: inside the package in a wheel, at the top of the repository in a checkout.

    Raises:
        ConfigError: neither is there (a broken installation).
    """
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "conf", here.parent.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError("diffgeo's conf/ folder is missing; reinstall the package")


def raw(path: Path) -> dict[str, Any]:
    """A file of ``conf/`` as it is written, references unresolved."""
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def typed(cfg: DictConfig) -> Config:
    """The composed configuration as dataclasses, interpolations resolved.

    Raises:
        ConfigError: a mandatory key has no value, or a key was appended (``+key=``) that no schema knows.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"{missing[0]} has no value; give one: {missing[0]}=…")
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, Config)  # the primary config derives from the schema
    for part, where in [(config, ""), *((v, f"{k}.") for k, v in vars(config).items() if is_dataclass(v))]:
        for name in set(vars(part)) - {f.name for f in fields(part)}:
            raise ConfigError(f"there is no setting {where}{name}; remove +{where}{name}, diffgeo takes no extra keys")
    return config


def composed(overrides: Sequence[str]) -> Config:
    """The settings of a command line, outside of Hydra's own main function.

    Args:
        overrides: its words, such as ``svd.rank=25``.

    Raises:
        ConfigError: as :func:`typed`.
        HydraException, OmegaConfBaseException: an override that does not fit, as Hydra words it.
    """
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return typed(compose("config", overrides=list(overrides)))


def leaf_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, inner nodes included."""
    keys = []
    for key in map(str, cfg):
        keys.append(f"{prefix}{key}")
        value = cfg._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            keys += leaf_keys(value, f"{prefix}{key}.")
    return keys


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

"""From YAML to dataclasses: where ``conf/`` is, its schemas, and the names that a typo may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

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

__all__ = ["composed", "config_folder", "leaf_keys", "nearest", "register", "typed"]


def register() -> None:
    """Put the schemas where the YAML's defaults lists find them (``/schema/…``)."""
    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    groups: dict[str, type] = {
        "data": DataConfig,
        "schedule": ScheduleConfig,
        "feature": FeatureConfig,
        "metric": MetricConfig,
        "scale": ScaleConfig,
        "tracking": TrackingConfig,
    }
    for group, schema in groups.items():
        store.store(group=f"schema/{group}", name=group, node=schema)
    for name, schema in MODEL_SCHEMAS.items():
        store.store(group="schema/model", name=name, node=schema)
    for name, schema in SVD_SCHEMAS.items():
        store.store(group="schema/svd", name=name, node=schema)
    for name, schema in EDIT_SCHEMAS.items():
        store.store(group="schema/edit", name=name, node=schema)
    for name, schema in PREDICTOR_SCHEMAS.items():
        store.store(group="schema/predictor", name=name, node=schema)
    for name, schema in STUDY_SCHEMAS.items():
        store.store(group="schema/study", name=name, node=schema)


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
    """The known word most like ``word``, or None if nothing is near."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return matches[0] if matches else None

"""Typed schemas under ``conf/``: what a run can be told, the range of every setting, and what depends on it.

Hydra composes the YAML onto these dataclasses, so a typo or a wrong type fails while the configuration is read, before
torch is even imported. This package imports nothing heavy.
"""

from diffgeo.config.environment import heed_wandb
from diffgeo.config.fields import refusal, setting
from diffgeo.config.instances import GIVEN, build, check_own, instance, own_settings, targets
from diffgeo.config.lookup import Plain, config_folder, flat, leaf_keys, nearest, raw
from diffgeo.config.schemas import (
    MODEL_SCHEMAS,
    Config,
    DataConfig,
    EditConfig,
    FeatureConfig,
    MetricConfig,
    ModelConfig,
    PredictorConfig,
    ScaleConfig,
    ScheduleConfig,
    StoreConfig,
    SvdConfig,
    TextToImageConfig,
    TrackingConfig,
)

__all__ = [
    "GIVEN",
    "build",
    "check_own",
    "own_settings",
    "Config",
    "DataConfig",
    "EditConfig",
    "FeatureConfig",
    "MODEL_SCHEMAS",
    "MetricConfig",
    "ModelConfig",
    "Plain",
    "PredictorConfig",
    "ScaleConfig",
    "ScheduleConfig",
    "StoreConfig",
    "SvdConfig",
    "TextToImageConfig",
    "TrackingConfig",
    "config_folder",
    "flat",
    "heed_wandb",
    "instance",
    "leaf_keys",
    "nearest",
    "raw",
    "refusal",
    "setting",
    "targets",
]

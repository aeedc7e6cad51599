"""Typed schemas under ``conf/``, and the checks that span several keys.

Hydra composes the YAML onto these dataclasses, so a typo or a wrong type fails while the configuration is read, before
torch is even imported. ``check`` then looks at what no single field can know. This package imports nothing heavy.
"""

from diffgeo.config.checks import check
from diffgeo.config.composition import (
    GROUP_SCHEMAS,
    composed,
    config_folder,
    leaf_keys,
    nearest,
    raw,
    register,
    typed,
)
from diffgeo.config.effects import results_depend_on, session_depends_on
from diffgeo.config.fields import refusal, setting
from diffgeo.config.instances import instance, source_files
from diffgeo.config.schemas import (
    EDIT_SCHEMAS,
    MODEL_SCHEMAS,
    PREDICTOR_SCHEMAS,
    SVD_SCHEMAS,
    ClassifierConfig,
    ClipConfig,
    Config,
    DataConfig,
    DenseConfig,
    EditConfig,
    FeatureConfig,
    GolubKahanConfig,
    GuidanceConfig,
    MetricConfig,
    ModelConfig,
    ModelPredictorConfig,
    NoPredictorConfig,
    PredictorConfig,
    RandomizedConfig,
    ScaleConfig,
    ScheduleConfig,
    ShootingConfig,
    SingleConfig,
    StoreConfig,
    SubspaceConfig,
    SvdConfig,
    TextToImageConfig,
    TrackingConfig,
)
from diffgeo.config.studies import STUDY_SCHEMAS
from diffgeo.config.studies.ablation import VARIANTS, AblationConfig
from diffgeo.config.studies.curvedness import PATHS, CurvednessConfig
from diffgeo.config.studies.dataset_complexity import DatasetComplexityConfig
from diffgeo.config.studies.discovery import DiscoveryConfig
from diffgeo.config.studies.disentanglement import METHODS, DisentanglementConfig
from diffgeo.config.studies.frequency import FrequencyConfig
from diffgeo.config.studies.global_consistency import GlobalConsistencyConfig
from diffgeo.config.studies.prompts import PromptsConfig
from diffgeo.config.studies.spectrum import SpectrumConfig
from diffgeo.config.studies.tangent_distance import TangentDistanceConfig

__all__ = [
    "AblationConfig",
    "ClassifierConfig",
    "ClipConfig",
    "Config",
    "CurvednessConfig",
    "DataConfig",
    "DatasetComplexityConfig",
    "DenseConfig",
    "DiscoveryConfig",
    "DisentanglementConfig",
    "EDIT_SCHEMAS",
    "EditConfig",
    "FeatureConfig",
    "FrequencyConfig",
    "GlobalConsistencyConfig",
    "GolubKahanConfig",
    "GROUP_SCHEMAS",
    "GuidanceConfig",
    "METHODS",
    "MODEL_SCHEMAS",
    "MetricConfig",
    "ModelConfig",
    "ModelPredictorConfig",
    "NoPredictorConfig",
    "PATHS",
    "PREDICTOR_SCHEMAS",
    "PredictorConfig",
    "PromptsConfig",
    "RandomizedConfig",
    "STUDY_SCHEMAS",
    "SVD_SCHEMAS",
    "ScaleConfig",
    "ScheduleConfig",
    "ShootingConfig",
    "SingleConfig",
    "SpectrumConfig",
    "StoreConfig",
    "SubspaceConfig",
    "SvdConfig",
    "TangentDistanceConfig",
    "TextToImageConfig",
    "TrackingConfig",
    "VARIANTS",
    "check",
    "composed",
    "config_folder",
    "instance",
    "leaf_keys",
    "nearest",
    "raw",
    "refusal",
    "register",
    "results_depend_on",
    "session_depends_on",
    "setting",
    "source_files",
    "typed",
]

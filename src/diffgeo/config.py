"""Typed schemas under ``conf/``, and the checks that span several keys.

Hydra composes the YAML onto these dataclasses, so a typo or a wrong type fails while the configuration is read, before
torch is even imported. ``check`` then looks at what no single field can know. This module imports nothing heavy.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from diffgeo.errors import ConfigError, UnsuitableModelError

__all__ = [
    "VARIANTS",
    "PATHS",
    "TangentDistanceConfig",
    "SingleConfig",
    "ShootingConfig",
    "ScaleConfig",
    "MetricConfig",
    "GuidanceConfig",
    "GlobalConsistencyConfig",
    "CurvednessConfig",
    "DatasetComplexityConfig",
    "PromptsConfig",
    "AblationConfig",
    "Config",
    "DataConfig",
    "DiscoveryConfig",
    "EditConfig",
    "FeatureConfig",
    "FrequencyConfig",
    "ModelConfig",
    "PredictorConfig",
    "ClipConfig",
    "ClassifierConfig",
    "DisentanglementConfig",
    "METHODS",
    "ScheduleConfig",
    "StoreConfig",
    "SpectrumConfig",
    "SvdConfig",
    "TrackingConfig",
    "check",
    "config_folder",
    "leaf_keys",
    "nearest",
    "register",
    "typed",
]


PATHS = ("lerp", "slerp", "shooting", "pursuit", "shooting_x", "geodesic")
"""Paths of the study ``curvedness``; its module says what each is."""

VARIANTS = (
    "local",
    "global",
    "random",
    "no_normalisation",
    "pca_h",
    "x0",
    "eps",
    "block",
    "pooling",
    "shooting_isometric",
    "shooting_pullback",
)
"""What the study ``ablation`` compares; see its module."""


METHODS = ("local", "nearest", "hungarian", "frechet", "pca_h", "random", "x0", "eps")
"""What the study ``disentanglement`` compares; see its module."""


@dataclass
class ModelConfig:
    """Which diffusion model.

    Attributes:
        path: a shipped name, a diffusers pipeline folder, or a hub id ``owner/name``.
        revision: commit, tag or branch of a hub id, ``main`` when null; a folder has none. ``run.json`` says which
            commit it was.
        cache_dir: folder for hub downloads; diffusers' default when null.
        local_files_only: never ask the hub.
        variant: of the weight files, such as ``fp16``; they are computed with in ``dtype`` all the same.
        dtype: ``float32`` or ``float64``, of weights, latents and Jacobians.
        predictor: attribute predictor for the model's pictures: ``factor_predictor`` (shipped), a folder, or null.
        chunk_size: columns per vectorised Jacobian product (``feature.chunk_size``) that fit 24 GB of GPU memory.
    """

    path: str = MISSING
    revision: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False
    variant: str | None = None
    dtype: str = "float32"
    predictor: str | None = None
    chunk_size: int = 32


@dataclass
class TextToImageConfig(ModelConfig):
    """A text-to-image model with its prompt.

    Attributes:
        prompt: what it shows, usually the run's ``prompt``; empty is the unconditional model.
        negative_prompt: what guidance leads away from.
        edit_prompt: under which directions are looked for and x-space guidance runs (P23b); null is the prompt.
        guidance: scale of classifier-free guidance in sampling, 1 or more; 1 is none. The feature map never uses it.
        inversion_guidance: the same in DDIM inversion.
    """

    prompt: str | None = None
    negative_prompt: str = ""
    edit_prompt: str | None = None
    guidance: float = 3.0
    inversion_guidance: float = 1.0


@dataclass
class DataConfig:
    """What is edited.

    Attributes:
        samples: how many: seeds seed, seed + 1, …, or the first pictures of a folder in the order of their names. A
            list of pictures is taken whole.
        images: pictures to invert: a folder, one file, or a list of files; null (``data=generated``) generates from
            seeds.
    """

    samples: int = 4
    images: Any = MISSING  # str | list[str] | None, a union that Hydra's schemas cannot hold; checked in `check`


@dataclass
class ScheduleConfig:
    """DDIM schedule and edit timesteps.

    Attributes:
        steps: DDIM steps from T to the picture, and back for inversion.
        edit: edit timesteps as fractions of T in (0, 1]; the nearest timesteps of the schedule are taken.
        eta: η of the DDIM steps after the edit, in [0, 1]; those before it are always deterministic.
        boost_below: quality boosting, η = 1 below this fraction of T (P23b's scripts: 0.2); 0 is off.
        clip: clip x̂0 to [−1, 1] while denoising; null clips generated samples and never inverted pictures.
    """

    steps: int = 40
    edit: list[float] = field(default_factory=lambda: [1.0, 0.75, 0.5, 0.25])
    eta: float = 0.0
    boost_below: float = 0.0
    clip: bool | None = None


@dataclass
class FeatureConfig:
    """The feature map f: x → h.

    Attributes:
        block: ``mid``, ``down.i`` or ``up.i`` of the U-Net.
        pool: ``sum`` over space (P23a) or null for the whole map (P23b).
        chunk_size: columns per vectorised Jacobian product; bounds memory.
    """

    block: str = "mid"
    pool: str | None = None
    chunk_size: int = 32


@dataclass
class SvdConfig:
    """What every solver takes.

    Attributes:
        solver: set by the choice ``svd=…``.
        rank: n, directions per basis; with ``share``, the most to look for.
        share: instead, the smallest n whose squared singular values reach this share of ‖J‖²_F.
        tol: bound on the residuals relative to s_1. 1e-4 puts 50 directions of the shipped model within
            1e-3 rad of the dense SVD.
    """

    solver: str = MISSING
    rank: int = 50
    share: float | None = None
    tol: float = 1e-4


@dataclass
class GolubKahanConfig(SvdConfig):
    """Block Golub–Kahan.

    Attributes:
        block_size: columns per product; larger blocks need more passes, which a GPU may well take in less time.
        max_passes: budget; null is 40 a direction, at least 400.
    """

    solver: str = "golub_kahan"
    block_size: int = 4
    max_passes: int | None = None


@dataclass
class SubspaceConfig(SvdConfig):
    """Subspace iteration. oversample: extra columns; max_passes: budget, null is 100 a direction."""

    solver: str = "subspace"
    oversample: int = 10
    max_passes: int | None = None


@dataclass
class RandomizedConfig(SvdConfig):
    """Randomised SVD. oversample: extra columns; power_steps: each costs two passes a column."""

    solver: str = "randomized"
    oversample: int = 10
    power_steps: int = 3


@dataclass
class DenseConfig(SvdConfig):
    """The whole Jacobian, min(m, d) passes."""

    solver: str = "dense"


@dataclass
class EditConfig:
    """How a latent is moved.

    Attributes:
        method: set by the choice ``edit=…``.
        strength: largest |γ| as a share of √d, the norm of pure noise in d dimensions.
        frames: odd number of γ from −strength to +strength.
        normalise: distortion normalisation (P23a).
        kappa: its κ in [0, 1).
    """

    method: str = MISSING
    strength: float = 0.06
    frames: int = 7
    normalise: bool = True
    kappa: float = 0.99


@dataclass
class SingleConfig(EditConfig):
    """One straight step, x + γv."""

    method: str = "single"


@dataclass
class ShootingConfig(EditConfig):
    """Geodesic shooting. steps: pieces of the curve, a side; transport: ``isometric`` (as released) or ``pullback``."""

    method: str = "shooting"
    steps: int = 6
    transport: str = "isometric"


@dataclass
class GuidanceConfig(EditConfig):
    """x-space guidance (P23b). ``steps`` times, x moves by ``guidance_scale`` times the change of ε that γv makes."""

    method: str = "guidance"
    normalise: bool = False
    steps: int = 16
    guidance_scale: float = 0.5


@dataclass
class PredictorConfig:
    """What reads attributes off pictures. kind: set by the choice ``predictor=…``."""

    kind: str = MISSING


@dataclass
class ModelPredictorConfig(PredictorConfig):
    """The model's own, ``model.predictor``."""

    kind: str = "model"


@dataclass
class NoPredictorConfig(PredictorConfig):
    """None."""

    kind: str = "none"


@dataclass
class ClipConfig(PredictorConfig):
    """CLIP, zero-shot.

    Attributes:
        path: a folder or a hub id of a CLIP model.
        prompts: attribute → [prompt where it is there, prompt where it is not].
        local_files_only: never ask the hub.
    """

    kind: str = "clip"
    path: str = MISSING
    prompts: dict[str, list[str]] = field(default_factory=dict)
    local_files_only: bool = False


@dataclass
class ClassifierConfig(PredictorConfig):
    """A network by path; file types in ``diffgeo.metrics.classifiers``.

    Attributes:
        path: the file.
        names: attributes, in the order of the network's outputs.
        arch: torchvision's name of the architecture, for a file that holds weights alone.
        size: side of its pictures in pixels.
        mean: subtracted from pictures in [0, 1], by channel.
        std: divided by.
        activation: ``sigmoid`` or ``softmax`` (of logits), ``probability``, or ``none``; all but the last give 2 p − 1.
    """

    kind: str = "classifier"
    path: str = MISSING
    names: list[str] = MISSING
    arch: str | None = None
    size: int = 224
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])
    activation: str = "sigmoid"


@dataclass
class MetricConfig:
    """How edits are judged.

    Attributes:
        perceptual: ``auto``, ``lpips``, ``factor_features`` (features of the shipped predictor) or ``rmse`` (pixels).
            auto takes LPIPS where its weights are found and pictures have 64 pixels a side, else the features where the
            model has that predictor. Every table names the measure it used.
        lpips_weights: torchvision's AlexNet weights, ``alexnet-owt-7be5be79.pth``; torch hub's cache when null.
        identity: a network (TorchScript, ONNX, exported) whose embedding tells people apart; null leaves it out.
        identity_size: side of its pictures in pixels.
    """

    perceptual: str = "auto"
    lpips_weights: str | None = None
    identity: str | None = None
    identity_size: int = 112


@dataclass
class ScaleConfig:
    """How much a run computes; other settings refer to these, and may be set one by one.

    Attributes:
        samples: pictures (``data.samples``).
        steps: DDIM steps (``schedule.steps``).
        rank: directions a basis (``svd.rank``).
        path_rank: directions of a tangent space along paths and between timesteps (``study.….rank``).
        pairs: paths of every kind.
        segments: of a path.
        directions: leading directions that are edited.
        frames: pictures a traversal (``edit.frames``).
        codes: pictures whose codes are scored against their attributes (``study.disentanglement.codes``).
        controls: samples of the controls in ``tangent_distance``.
        levels: strengths of Pareto curves below the matched one.
        grid: fractions of T whose tangent spaces P23b's experiments compare (their ``schedule.edit``).
    """

    samples: int = MISSING
    steps: int = MISSING
    rank: int = MISSING
    path_rank: int = MISSING
    pairs: int = MISSING
    segments: int = MISSING
    directions: int = MISSING
    frames: int = MISSING
    codes: int = MISSING
    controls: int = MISSING
    levels: list[float] = MISSING
    grid: list[float] = MISSING


@dataclass
class TrackingConfig:
    """Experiment tracking.

    Attributes:
        backend: ``wandb`` or ``none``.
        mode: ``offline`` or ``online``.
        project: W&B project.
        entity: W&B team or user.
        group: groups runs of one sweep.
        name: of the run.
        tags: any.
    """

    backend: str = "none"
    mode: str = "offline"
    project: str = "diffgeo"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class StoreConfig:
    """Results that are kept from run to run (``diffgeo.store``).

    Attributes:
        enabled: whether results are stored and taken.
        path: its folder; null is ``diffgeo/store`` in the user's cache folder, or what the environment variable
            ``DIFFGEO_STORE`` says.
        max_gb: size in 10⁹ bytes above which the results that were used least recently go.
    """

    enabled: bool = True
    path: str | None = None
    max_gb: float = 20.0


@dataclass
class DiscoveryConfig:
    """Study ``discovery``: local bases, spectra and traversals.

    Attributes:
        directions: leading directions that are traversed; fewer where ``svd.rank`` is lower.
    """

    directions: int = 3


@dataclass
class SpectrumConfig:
    """Study ``spectrum``: effective dimension and flatness by timestep; nothing to set."""


@dataclass
class FrequencyConfig:
    """Study ``frequency``: radial power spectra of the directions.

    Attributes:
        directions: leading directions that are averaged; fewer where ``svd.rank`` is lower.
        low: what counts as low frequency, as a fraction of Nyquist.
    """

    directions: int = 50
    low: float = 0.25


@dataclass
class GlobalConsistencyConfig:
    """Study ``global_consistency``: do directions of different samples agree, and do global ones serve every sample?

    Attributes:
        directions: leading directions that are averaged and edited; fewer where ``svd.rank`` is lower.
        methods: of :func:`diffgeo.geometry.global_directions`: any of ``nearest``, ``hungarian``, ``frechet``.
        draws: random subspaces in the null.
        edit: whether held-out samples are edited by the global directions of the first method.
    """

    directions: int = 3
    methods: list[str] = field(default_factory=lambda: ["nearest", "hungarian", "frechet"])
    draws: int = 999
    edit: bool = True


@dataclass
class CurvednessConfig:
    """Study ``curvedness``: tangent spaces along paths between samples (P23a, Table 1, Fig. 7).

    Attributes:
        pairs: of samples (0, 1), (2, 3), …
        segments: of every path.
        rank: n, directions of a tangent space.
        rule: how n is chosen: ``fixed``, ``share`` (half of the energy of rank directions) or ``gap`` (the largest gap
            within ± 30 % of rank); one n serves all paths of a run.
        t_frac: where, as a fraction of T.
        pools: poolings of h: ``sum``, ``none`` or both.
        paths: any of ``lerp``, ``slerp``, ``shooting``, ``pursuit``, ``shooting_x``, ``geodesic``.
        perceptual: whether the points are decoded for the perceptual path length.
        tol: of the bases along paths.
    """

    pairs: int = 2
    segments: int = 5
    rank: int = 10
    rule: str = "fixed"
    t_frac: float = 1.0
    pools: list[str] = field(default_factory=lambda: ["none", "sum"])
    paths: list[str] = field(default_factory=lambda: list(PATHS))
    perceptual: bool = True
    tol: float = 1e-3


@dataclass
class TangentDistanceConfig:
    """Study ``tangent_distance``: between samples, between timesteps, and the controls that tell x from t (P23b).

    Attributes:
        rank: n, directions of a tangent space; fewer where ``svd.rank`` is lower.
        rule: as in ``curvedness``.
        controls: samples for the controls "x fixed, t varies" and "t fixed, x varies"; 0 leaves them out.
    """

    rank: int = 10
    rule: str = "fixed"
    controls: int = 2


@dataclass
class DatasetComplexityConfig:
    """Study ``dataset_complexity``: models that differ only in how complex their data are (P23b).

    Attributes:
        models: as ``model.path``, the simplest data first; the run's own model is not used.
        samples: compared, of each model, from the same seeds.
        rank: n, directions of a tangent space.
        rule: as in ``curvedness``.
    """

    models: list[str] = field(default_factory=lambda: ["factor_faces_4", "factor_faces"])
    samples: int = 4
    rank: int = 10
    rule: str = "fixed"


@dataclass
class PromptsConfig:
    """Study ``prompts``: tangent spaces of a text-to-image model under different prompts (P23b).

    Attributes:
        prompts: compared with one another, all at the same samples; some alike, some not.
        samples: compared.
        guidance: scales under which paths are denoised; null is 1 and ``model.guidance``.
        rank: n, directions of a tangent space; fewer where ``svd.rank`` is lower.
        rule: as in ``curvedness``.
        draws: orders of the prompts in the test of similarity against distance.
    """

    prompts: list[str] = field(default_factory=list)
    samples: int = 2
    guidance: list[float] | None = None
    rank: int = 10
    rule: str = "fixed"
    draws: int = 999


@dataclass
class AblationConfig:
    """Study ``ablation``: other directions and other edits, at matched strength (P23a, Figs. 9 to 12).

    Attributes:
        variants: what to compare; the names are those of ``VARIANTS`` above.
        samples: edited samples.
        directions: leading directions of each variant; fewer where ``svd.rank`` is lower.
        t_frac: edit timestep, as a fraction of T.
        change: perceptual change that every edit is brought to; the unit is the measure's. null takes what the local
            basis reaches at ``edit.strength``, the median over samples and directions.
        limit: largest |γ| that is tried, as a multiple of ``edit.strength``.
        blocks: other blocks of the U-Net for the variant ``block``; those it lacks are left out.
        pca_samples: random latents for PCA of h.
    """

    variants: list[str] = field(default_factory=lambda: list(VARIANTS))
    samples: int = 1
    directions: int = 2
    t_frac: float = 1.0
    change: float | None = None
    limit: float = 8.0
    blocks: list[str] = field(default_factory=lambda: ["down.1", "up.1"])
    pca_samples: int = 64


@dataclass
class DisentanglementConfig:
    """Study ``disentanglement``: a scorecard of directions by method, at matched strength.

    Attributes:
        methods: what to compare: any of ``local``, ``nearest``, ``hungarian``, ``frechet``, ``pca_h``, ``random``,
            ``x0``, ``eps``.
        files: further directions, saved by :func:`diffgeo.save_directions`; each scored at its own timestep.
        samples: some make the global directions, the others are edited and scored.
        training: how many make them; null takes the first two fifths, at least two.
        directions: K, leading directions of each method; fewer where ``svd.rank`` is lower.
        t_fracs: edit timesteps as fractions of T; null takes ``schedule.edit``.
        change: perceptual change that every edit is brought to; null takes what the local basis reaches at
            ``edit.strength``, once for every timestep.
        levels: strengths of the Pareto curve, as multiples of the matched one; 1 is always there.
        limit: largest |γ| that is tried, as a multiple of ``edit.strength``.
        codes: pictures whose codes ⟨h, ū_i⟩ are scored against their attributes, and over whose attributes Δa is
            standardised.
        renders: these pictures are rendered FactorFaces with their true factors, inverted (true), or generated ones
            with predicted attributes (false); null renders for the shipped model of all factors.
        regressor: of DCI, ``lasso`` or ``forest``.
        min_spread: smallest standard deviation, over unedited pictures and in the predictor's units (range −1 to 1), of
            an attribute that counts; one that hardly varies has no scale.
        moved: standard deviations that count as a change (local and transfer success).
        still: what the others must stay under, as a fraction of ``moved``.
        draws: bootstrap resamples.
        subspace: samples for the entanglement within the subspace; 0 leaves it out.
    """

    methods: list[str] = field(default_factory=lambda: ["local", "nearest", "random"])
    files: list[str] = field(default_factory=list)
    samples: int = 4
    training: int | None = None
    directions: int = 2
    t_fracs: list[float] | None = None
    change: float | None = None
    levels: list[float] = field(default_factory=lambda: [0.5])
    limit: float = 8.0
    codes: int = 48
    renders: bool | None = None
    regressor: str = "lasso"
    min_spread: float = 0.02
    moved: float = 1.0
    still: float = 0.5
    draws: int = 200
    subspace: int = 1


@dataclass
class Config:
    """A run.

    ``study`` maps the name of every study to execute to its settings, in order; ``prompt`` is what a text-to-image
    model shows.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    feature: FeatureConfig = field(default_factory=FeatureConfig)
    svd: SvdConfig = field(default_factory=SvdConfig)
    edit: EditConfig = field(default_factory=EditConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    study: dict[str, Any] = field(default_factory=dict)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    prompt: str | None = None
    seed: int = 0
    device: str = "auto"


MODEL_SCHEMAS = {"model": ModelConfig, "text_to_image": TextToImageConfig}
SVD_SCHEMAS = {
    "golub_kahan": GolubKahanConfig,
    "subspace": SubspaceConfig,
    "randomized": RandomizedConfig,
    "dense": DenseConfig,
}
EDIT_SCHEMAS = {"single": SingleConfig, "shooting": ShootingConfig, "guidance": GuidanceConfig}
PREDICTOR_SCHEMAS = {
    "model": ModelPredictorConfig,
    "clip": ClipConfig,
    "classifier": ClassifierConfig,
    "none": NoPredictorConfig,
}
STUDY_SCHEMAS: dict[str, type] = {
    "discovery": DiscoveryConfig,
    "spectrum": SpectrumConfig,
    "frequency": FrequencyConfig,
    "global_consistency": GlobalConsistencyConfig,
    "curvedness": CurvednessConfig,
    "tangent_distance": TangentDistanceConfig,
    "ablation": AblationConfig,
    "disentanglement": DisentanglementConfig,
    "dataset_complexity": DatasetComplexityConfig,
    "prompts": PromptsConfig,
}
"""One entry per study; ``conf/study/NAME.yaml`` fills it and ``diffgeo.studies.NAME`` runs on it."""


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
    here = Path(__file__).resolve().parent
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

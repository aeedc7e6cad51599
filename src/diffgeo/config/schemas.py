"""What a run can be told beside its studies: a dataclass a group of ``conf/``, and a choice with keys of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = [
    "EDIT_SCHEMAS",
    "MODEL_SCHEMAS",
    "PREDICTOR_SCHEMAS",
    "SVD_SCHEMAS",
    "ClassifierConfig",
    "ClipConfig",
    "Config",
    "DataConfig",
    "DenseConfig",
    "EditConfig",
    "FeatureConfig",
    "GolubKahanConfig",
    "GuidanceConfig",
    "MetricConfig",
    "ModelConfig",
    "ModelPredictorConfig",
    "NoPredictorConfig",
    "PredictorConfig",
    "RandomizedConfig",
    "ScaleConfig",
    "ScheduleConfig",
    "ShootingConfig",
    "SingleConfig",
    "StoreConfig",
    "SubspaceConfig",
    "SvdConfig",
    "TextToImageConfig",
    "TrackingConfig",
]


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
        edit: edit timesteps as fractions of T in (0, 1]; the nearest timesteps of the schedule are taken, and fractions
            more than half a step below the lowest are refused.
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
        precision: what the network computes in while directions are looked for: ``bfloat16`` or ``float16`` are quicker
            on accelerators; singular values and residuals are taken in ``model.dtype`` all the same, and show what it
            cost. null is ``model.dtype``.
        compile: make products with J by compiled graphs: minutes for each network, timestep and number of columns,
            which pay on accelerators for thousands of bases.
        points: samples, or points of a path, whose bases are computed together; more fill a GPU (``golub_kahan``, with
            the whole h).
    """

    solver: str = MISSING
    rank: int = 50
    share: float | None = None
    tol: float = 1e-4
    precision: str | None = None
    compile: bool = False
    points: int = 1


@dataclass
class GolubKahanConfig(SvdConfig):
    """Block Golub–Kahan.

    Attributes:
        block_size: columns per product; larger blocks need more passes, which a GPU may well take in less time. null is
            4 on a CPU and 16 elsewhere.
        probe: measure which block size is quickest for this network on this device instead, once; the store remembers
            it, so that repeated runs agree.
        max_passes: budget; null is 40 a direction, at least 400.
    """

    solver: str = "golub_kahan"
    block_size: int | None = None
    probe: bool = False
    max_passes: int | None = None


@dataclass
class SubspaceConfig(SvdConfig):
    """Subspace iteration, the papers' algorithm.

    Attributes:
        oversample: extra columns.
        max_passes: budget; null is 100 a direction.
    """

    solver: str = "subspace"
    oversample: int = 10
    max_passes: int | None = None


@dataclass
class RandomizedConfig(SvdConfig):
    """Randomised SVD (Halko et al.), of fixed cost.

    Attributes:
        oversample: extra columns.
        power_steps: each costs two passes a column.
    """

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
    """Geodesic shooting.

    Attributes:
        steps: pieces of the curve, a side; a multiple of half of ``edit.frames``.
        transport: ``isometric`` (as released) or ``pullback``.
    """

    method: str = "shooting"
    steps: int = 6
    transport: str = "isometric"


@dataclass
class GuidanceConfig(EditConfig):
    """x-space guidance (P23b): step by step, x moves by a multiple of the change of ε that γv makes.

    Attributes:
        steps: how often x moves.
        guidance_scale: multiple of the change of ε.
    """

    method: str = "guidance"
    normalise: bool = False
    steps: int = 16
    guidance_scale: float = 0.5


@dataclass
class PredictorConfig:
    """What reads attributes off pictures.

    Attributes:
        kind: set by the choice ``predictor=…``.
    """

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
        extra: metrics of your own, name → ``{_target_: package.module.Name, argument: value}``: a callable of edited
            pictures (B, 3, H, W) and the original (1, 3, H, W), both in [−1, 1], that returns (B,). Every name is a
            column of the tables of edits and a line of the scorecard.
    """

    perceptual: str = "auto"
    lpips_weights: str | None = None
    identity: str | None = None
    identity_size: int = 112
    extra: dict[str, Any] = field(default_factory=dict)


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
class Config:
    """A run.

    Attributes:
        model: which diffusion model.
        data: what is edited.
        schedule: DDIM schedule and edit timesteps.
        feature: the feature map f: x → h.
        svd: how bases are computed.
        edit: how a latent is moved.
        predictor: what reads attributes off pictures.
        metric: how edits are judged.
        study: the studies to execute, in order, each with its settings.
        scale: how much is computed.
        tracking: experiment tracking.
        store: results that are kept from run to run.
        prompt: what a text-to-image model shows; null for the others.
        seed: seeds samples and solvers.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        max_memory: 10⁹ bytes that the tensors of one product with J, or of one batch of pictures, may take beside the
            weights; fewer columns or pictures are taken at once to stay below. null sets no bound, and a product that
            a GPU has no memory for is halved.
        objective: ``STUDY/SCALAR`` of the run that a search improves, or a list of several; ``*`` takes the mean of all
            scalars that match.
        retries: how often a sweep's job starts again whose process died; each job is a process of its own then. 0
            computes in the worker itself; null is 1 with a launcher that has workers, and 0 with Hydra's serial one.
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
    max_memory: float | None = None
    objective: Any = None  # str | list[str] | None; checked in `check`
    retries: int | None = None


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

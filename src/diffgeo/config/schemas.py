"""Settings of a run, except those of its studies: one dataclass per group of ``conf/``, and per choice that has keys
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import II, MISSING

from diffgeo.config.fields import refusal, setting

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


def _pictures(value: Any) -> bool:
    """Whether ``data.images`` is null, a path or a list of paths."""
    listed = isinstance(value, list) and bool(value) and all(isinstance(file, str) for file in value)
    return value is None or isinstance(value, str) or listed


def _odd(value: int) -> bool:
    return value % 2 == 1


def _pairs(value: dict[str, list[str]]) -> bool:
    return bool(value) and all(len(pair) == 2 for pair in value.values())


def _three(value: list[float]) -> bool:
    return len(value) == 3


@dataclass
class ModelConfig:
    """Which diffusion model.

    Attributes:
        _target_: set by the choice ``model=…``: what loads it, called as
            :func:`diffgeo.diffusion.models.load_model` is, yours or ours.
        path: a shipped name, a diffusers pipeline folder, or a hub id ``owner/name``.
        revision: commit, tag or branch of a hub id, ``main`` when null; a folder has none. ``run.json`` says which
            commit it was.
        cache_dir: folder for hub downloads; diffusers' default when null.
        local_files_only: never ask the hub.
        variant: of the weight files, such as ``fp16``; they are computed with in ``dtype`` all the same.
        strict: refuse weight files with tensors that the network of their config has not; false leaves them out, and
            the log names them.
        dtype: ``float32`` or ``float64``, of weights, latents and Jacobians.
        predictor: attribute predictor for the model's pictures: ``factor_predictor`` (shipped), a folder, or null.
        chunk_size: columns per vectorised Jacobian product (``feature.chunk_size``) that fit 24 GB of GPU memory.
        options: further arguments of a ``_target_`` of your own, name → value.
    """

    _target_: str = "diffgeo.diffusion.models.load_model"
    path: str = MISSING
    revision: str | None = None
    cache_dir: str | None = setting(None, affects="session")
    local_files_only: bool = setting(False, affects="session")
    variant: str | None = None
    strict: bool = setting(True, affects="session")
    dtype: str = setting("float32", choices=("float32", "float64"))
    predictor: str | None = None
    chunk_size: int = setting(32, ge=1)
    options: dict[str, Any] = setting({})


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

    prompt: str | None = setting(II("prompt"))
    negative_prompt: str = ""
    edit_prompt: str | None = None
    guidance: float = setting(3.0, ge=1)
    inversion_guidance: float = setting(1.0, ge=1)


@dataclass
class DataConfig:
    """What is edited.

    Attributes:
        samples: how many: seeds seed, seed + 1, …, or the first pictures of a folder in the order of their names. A
            list of pictures is taken whole.
        images: pictures to invert: a folder, one file, or a list of files; null (``data=generated``) generates from
            seeds.
    """

    samples: int = setting(II("scale.samples"), ge=1)
    images: Any = setting(
        affects="model", fits=_pictures, allowed="null, a folder, a picture, or a list of pictures"
    )  # str | list[str] | None, a union that Hydra's schemas cannot hold; see `_pictures`


@dataclass
class ScheduleConfig:
    """DDIM schedule and edit timesteps.

    Attributes:
        steps: DDIM steps from T to the picture, and back for inversion.
        edit: edit timesteps as fractions of T in (0, 1]; the nearest timesteps of the schedule are taken, and fractions
            more than half a step below the lowest are refused.
        eta: η of the DDIM steps after the edit, in [0, 1]; those before it are always deterministic.
        boost_below: quality boosting, η = 1 below this fraction of T (P23b's scripts: 0.2); 0 is off.
        clip: clip x̂0 while denoising, as the model's scheduler does, to [−1, 1] if it does not clip; null does so for
            generated samples of a model whose scheduler clips, and never for inverted pictures.
    """

    steps: int = setting(II("scale.steps"), affects="model", ge=1, allowed="1 to the number of training timesteps")
    edit: list[float] = setting(
        [1.0, 0.75, 0.5, 0.25], gt=0, le=1, items=1, distinct=True, allowed="fractions of T in (0, 1], each once"
    )
    eta: float = setting(0.0, ge=0, le=1)
    boost_below: float = setting(0.0, ge=0, le=1)
    clip: bool | None = setting(None, affects="model")


@dataclass
class FeatureConfig:
    """The feature map f: x → h.

    Attributes:
        block: ``mid``, ``down.i`` or ``up.i`` of the U-Net.
        pool: ``sum`` over space (P23a) or null for the whole map (P23b).
        chunk_size: columns per vectorised Jacobian product; bounds memory.
    """

    block: str = "mid"
    pool: str | None = setting(None, choices=("sum",))
    chunk_size: int = setting(II("model.chunk_size"), ge=1)


@dataclass
class SvdConfig:
    """What every solver takes.

    Attributes:
        _target_: set by the choice ``svd=…``: a :class:`diffgeo.svd.Solver`, yours or ours.
        solver: set by the choice ``svd=…``: its name.
        rank: n, directions per basis; with ``share``, the most to look for.
        share: instead, the smallest n whose squared singular values reach this share of ‖J‖²_F.
        tol: bound on the residuals relative to s_1. 1e-4 puts 50 directions of the shipped model within
            1e-3 rad of the dense SVD.
        points: samples, or points of a path, whose bases are computed together; more fill a GPU (``golub_kahan``, with
            the whole h).
        options: further arguments of a ``_target_`` of your own, name → value.
    """

    _target_: str = MISSING
    solver: str = MISSING
    rank: int = setting(II("scale.rank"), ge=1, allowed="1 to the rank of the Jacobian")
    share: float | None = setting(None, gt=0, lt=1, allowed="between 0 and 1")
    tol: float = setting(1e-4, gt=0)
    points: int = setting(1, ge=1)
    options: dict[str, Any] = setting({})


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

    _target_: str = "diffgeo.svd.GolubKahan"
    solver: str = "golub_kahan"
    block_size: int | None = setting(None, ge=1)
    probe: bool = False
    max_passes: int | None = setting(None, ge=1)

    def check(self) -> None:
        """The block size is given, or measured.

        Raises:
            ConfigError: both.
        """
        if self.probe and self.block_size is not None:
            raise refusal("svd.block_size", self.block_size, "null if svd.probe=true measures it")


@dataclass
class SubspaceConfig(SvdConfig):
    """Subspace iteration, the papers' algorithm.

    Attributes:
        oversample: extra columns.
        max_passes: budget; null is 100 a direction.
    """

    _target_: str = "diffgeo.svd.Subspace"
    solver: str = "subspace"
    oversample: int = setting(10, ge=0)
    max_passes: int | None = setting(None, ge=1)


@dataclass
class RandomizedConfig(SvdConfig):
    """Randomised SVD (Halko et al.), of fixed cost.

    Attributes:
        oversample: extra columns.
        power_steps: each costs two passes a column.
    """

    _target_: str = "diffgeo.svd.Randomized"
    solver: str = "randomized"
    oversample: int = setting(10, ge=0)
    power_steps: int = setting(3, ge=0)


@dataclass
class DenseConfig(SvdConfig):
    """The whole Jacobian, min(m, d) passes."""

    _target_: str = "diffgeo.svd.Dense"
    solver: str = "dense"


@dataclass
class EditConfig:
    """How a latent is moved.

    Attributes:
        _target_: set by the choice ``edit=…``: a :class:`diffgeo.session.editor.Straight`, yours or ours.
        method: set by the choice ``edit=…``: its name.
        strength: largest |γ| as a share of √d, the norm of pure noise in d dimensions.
        frames: odd number of γ from −strength to +strength.
        normalise: distortion normalisation (P23a); null takes it for generated samples and a plain step for inverted
            pictures, on which its premise fails.
        rescale: give a normalised step the length that it has without, |γ|; false is P23a's formula alone.
        kappa: the formula's κ in [0, 1); without effect if rescaled.
        options: further arguments of a ``_target_`` of your own, name → value.
    """

    _target_: str = MISSING
    method: str = MISSING
    strength: float = setting(0.06, gt=0)
    frames: int = setting(II("scale.frames"), ge=3, fits=_odd, allowed="an odd number of 3 or more")
    normalise: bool | None = None
    rescale: bool = True
    kappa: float = setting(0.99, ge=0, lt=1, allowed="0 <= kappa < 1")
    options: dict[str, Any] = setting({})


@dataclass
class SingleConfig(EditConfig):
    """One straight step, x + γv."""

    _target_: str = "diffgeo.session.editor.Straight"
    method: str = "single"


@dataclass
class ShootingConfig(EditConfig):
    """Geodesic shooting.

    Attributes:
        steps: pieces of the curve, a side; a multiple of half of ``edit.frames``.
        transport: ``isometric`` (as released) or ``pullback``.
    """

    _target_: str = "diffgeo.session.editor.Shooting"
    method: str = "shooting"
    steps: int = setting(6, ge=1)
    transport: str = setting("isometric", choices=("isometric", "pullback"))

    def check(self) -> None:
        """The frames of a traversal are points of the curve.

        Raises:
            ConfigError: some lie between two of its points.
        """
        if self.steps % (side := self.frames // 2):
            raise refusal("edit.steps", self.steps, f"a multiple of {side}, so that edit.frames lie on the curve")


@dataclass
class GuidanceConfig(EditConfig):
    """x-space guidance (P23b): step by step, x moves by a multiple of the change of ε that γv makes.

    Attributes:
        steps: how often x moves.
        guidance_scale: multiple of the change of ε.
    """

    _target_: str = "diffgeo.session.editor.Guidance"
    method: str = "guidance"
    normalise: bool | None = False
    steps: int = setting(16, ge=1)
    guidance_scale: float = 0.5


@dataclass
class PredictorConfig:
    """What reads attributes off pictures.

    Attributes:
        _target_: set by the choice ``predictor=…``: what gives an
            :class:`diffgeo.metrics.attributes.AttributePredictor` or None, yours or ours.
        kind: set by the choice ``predictor=…``: its name.
        options: further arguments of a ``_target_`` of your own, name → value.
    """

    _target_: str = MISSING
    kind: str = MISSING
    options: dict[str, Any] = setting({})


@dataclass
class ModelPredictorConfig(PredictorConfig):
    """The model's own, ``model.predictor``."""

    _target_: str = "diffgeo.metrics.attributes.own_predictor"
    kind: str = "model"


@dataclass
class NoPredictorConfig(PredictorConfig):
    """None."""

    _target_: str = "diffgeo.metrics.attributes.no_predictor"
    kind: str = "none"


@dataclass
class ClipConfig(PredictorConfig):
    """CLIP, zero-shot.

    Attributes:
        path: a folder or a hub id of a CLIP model.
        prompts: attribute → [prompt where it is there, prompt where it is not].
        local_files_only: never ask the hub.
    """

    _target_: str = "diffgeo.metrics.clip.load_clip"
    kind: str = "clip"
    path: str = MISSING
    prompts: dict[str, list[str]] = setting(
        fits=_pairs, allowed="two prompts an attribute: where it is there, where it is not"
    )
    local_files_only: bool = setting(False, affects="session")


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

    _target_: str = "diffgeo.metrics.classifiers.load_classifier"
    kind: str = "classifier"
    path: str = MISSING
    names: list[str] = setting(items=1, distinct=True, allowed="each name once")
    arch: str | None = None
    size: int = setting(224, ge=8)
    mean: list[float] = setting([0.485, 0.456, 0.406], fits=_three, allowed="three numbers")
    std: list[float] = setting([0.229, 0.224, 0.225], gt=0, fits=_three, allowed="three positive numbers")
    activation: str = setting("sigmoid", choices=("sigmoid", "softmax", "probability", "none"))


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

    perceptual: str = setting("auto", choices=("auto", "lpips", "factor_features", "rmse"))
    lpips_weights: str | None = None
    identity: str | None = None
    identity_size: int = setting(112, ge=8)
    extra: dict[str, Any] = setting({})


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
        name: of the run; if null, the model and the studies, and of a sweep's job the words of its command line.
        tags: any.
    """

    backend: str = setting("none", choices=("none", "wandb"))
    mode: str = setting("offline", choices=("offline", "online"))
    project: str = "diffgeo"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = setting(
        [], fits=lambda tags: all(1 <= len(tag) <= 64 for tag in tags), allowed="tags of 1 to 64 characters each"
    )


@dataclass
class StoreConfig:
    """Results that are kept from run to run (``diffgeo.session.store``).

    Attributes:
        enabled: whether results are stored and taken.
        path: its folder; null is ``diffgeo/store`` in the user's cache folder, or what the environment variable
            ``DIFFGEO_STORE`` says.
        max_gb: size in 10⁹ bytes above which the results that were used least recently go.
    """

    enabled: bool = True
    path: str | None = setting(
        None,
        fits=lambda folder: bool(folder.strip()),
        allowed="a folder; store.enabled=false keeps nothing",
    )
    max_gb: float = setting(20.0, gt=0)


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
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        max_memory: 10⁹ bytes that the tensors of one product with J, or of one batch of pictures, may take beside the
            weights; fewer columns or pictures are taken at once to stay below. null sets no bound, and a product that
            a GPU has no memory for is halved.
        objective: ``STUDY/SCALAR`` of the run that a search improves, or a list of several; ``*`` takes the mean of all
            scalars that match.
        retries: how often a sweep's job starts again whose process died; each job is a process of its own then. 0
            computes in the worker itself; null is 1 with a launcher that has workers, and 0 with Hydra's serial one.
    """

    model: ModelConfig = setting(ModelConfig, affects="model")
    data: DataConfig = setting(DataConfig)
    schedule: ScheduleConfig = setting(ScheduleConfig)
    feature: FeatureConfig = setting(FeatureConfig, affects="model")
    svd: SvdConfig = setting(SvdConfig, affects="model")
    edit: EditConfig = setting(EditConfig)
    predictor: PredictorConfig = setting(PredictorConfig, affects="model")
    metric: MetricConfig = setting(MetricConfig)
    study: dict[str, Any] = setting({})
    scale: ScaleConfig = setting(ScaleConfig, affects="nothing")
    tracking: TrackingConfig = setting(TrackingConfig, affects="nothing")
    store: StoreConfig = setting(StoreConfig, affects="session")
    prompt: str | None = None
    seed: int = setting(0, affects="model", ge=0, le=2**32 - 1, allowed=f"0 to {2**32 - 1}")
    device: str = setting("auto", affects="session")
    max_memory: float | None = setting(None, affects="model", gt=0, allowed="a positive number of 10^9 bytes")
    objective: Any = setting(None, affects="nothing")  # str | list[str] | None; checked in `check`
    retries: int | None = setting(None, affects="nothing", ge=0)


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

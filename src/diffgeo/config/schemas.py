"""Settings of a run, except those of its studies: one dataclass per group of ``conf/``.

Choices that name code by their ``_target_`` may have settings of their own: what that code has parameters for, which
:func:`diffgeo.config.own_settings` reads there. They stand in ``options``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import II, MISSING

from diffgeo.config.fields import refusal, setting
from diffgeo.errors import ModelError

Options = dict[str, Any]
"""Settings by name that only the code knows which a ``_target_`` names."""


def _pictures(value: Any) -> bool:
    """Whether ``data.images`` is null, a path or a list of paths."""
    listed = isinstance(value, list) and bool(value) and all(isinstance(file, str) for file in value)
    return value is None or isinstance(value, str) or listed


def _masks(value: Any) -> bool:
    """Whether ``data.masks`` is null, a path or a factor's name, or four edges."""
    edges = isinstance(value, list) and len(value) == 4 and all(isinstance(one, int | float) for one in value)
    return value is None or isinstance(value, str) or edges


def _odd(value: int) -> bool:
    return value % 2 == 1


_EDIT = [1.0, 0.75, 0.5, 0.25]
"""Fractions of T at which is edited unless a run says otherwise."""


@dataclass
class ModelConfig:
    """Which diffusion model.

    Attributes:
        _target_: set by the choice ``model=…``: what loads it, called as
            :func:`diffgeo.diffusion.models.load_model` is, yours or ours.
        path: a shipped name, a diffusers pipeline folder, a hub id ``owner/name``, or a safetensors file.
        revision: commit, tag or branch of a hub id, ``main`` when null; a folder has none. ``run.json`` says which
            commit it was.
        cache_dir: folder for hub downloads; diffusers' default when null.
        local_files_only: never ask the hub.
        variant: of the weight files, such as ``fp16``; they are computed with in ``dtype`` all the same.
        strict: refuse weight files with tensors that the network of their config has not; false leaves them out, and
            the log names them.
        dtype: ``float32`` or ``float64``, of weights, latents and Jacobians.
        predictor: attribute predictor for the model's pictures: ``factor_predictor`` (shipped), a folder, or null.
        block: whose output is h unless ``feature.block`` says otherwise.
        chunk_size: columns per vectorised Jacobian product (``feature.chunk_size``) that fit 24 GB of GPU memory.
        options: settings that the chosen ``_target_`` alone has, name → value; GROUP.NAME=VALUE sets one.
    """

    _target_: str = "diffgeo.diffusion.models.load_model"
    path: str = setting(
        path="perhaps",
        absent=ModelError,
        allowed="a shipped name, a pipeline folder, a safetensors file, or a hub id owner/name",
    )
    revision: str | None = None
    cache_dir: str | None = setting(None, affects="session")
    local_files_only: bool = setting(False, affects="session")
    variant: str | None = None
    strict: bool = setting(True, affects="session")
    dtype: str = setting("float32", choices=("float32", "float64"))
    predictor: str | None = setting(None, path="perhaps", absent=ModelError)
    block: str = "mid"
    chunk_size: int = setting(32, ge=1)
    options: Options = setting({})


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
class ClassConditionalConfig(ModelConfig):
    """A class-conditional model with its label.

    Attributes:
        class_label: from 0.
        guidance: scale of classifier-free guidance in sampling, 1 or more; 1 is none. The feature map never uses it. It
            does nothing in models on pixels, which have no label for none.
        inversion_guidance: the same in DDIM inversion.
    """

    class_label: int = setting(ge=0)
    guidance: float = setting(1.0, ge=1)
    inversion_guidance: float = setting(1.0, ge=1)


@dataclass
class DataConfig:
    """What is edited.

    Attributes:
        samples: how many: seeds seed, seed + 1, …, or the first pictures of a folder in the order of their names. A
            list of pictures is taken whole.
        images: pictures to invert: a folder, one file, or a list of files; null (``data=generated``) generates from
            seeds.
        masks: where local edits should act: a picture that is white there, or a folder with one for each of
            ``images`` under its name (for generated samples: in the order of the names); a rectangle
            ``[top, left, bottom, right]`` in shares of the picture; or a factor of FactorFaces, such as ``smile``, for
            the pixels that it changes. null is none.
    """

    samples: int = setting(II("scale.samples"), ge=1)
    images: Any = setting(
        affects="model", fits=_pictures, path="always", allowed="null, a folder, a picture, or a list of pictures"
    )  # str | list[str] | None, a union that Hydra's schemas cannot hold; see `_pictures`
    masks: Any = setting(
        None, fits=_masks, path="perhaps", allowed="null, a folder, a picture, a factor, or four edges in [0, 1]"
    )  # str | list[float] | None


@dataclass
class ScheduleConfig:
    """DDIM schedule and edit timesteps.

    Attributes:
        steps: DDIM steps from T to the picture, and back for inversion.
        edit: edit timesteps as fractions of T in (0, 1]; the nearest timesteps of the schedule are taken, and fractions
            more than half a step below the lowest are refused.
        edit_log_snr: in place of ``edit``, edit timesteps by log(a_t² / b_t²), by which models of different noise
            processes are compared: the nearest timesteps of the schedule are taken, and values more than half a step
            beyond its ends are refused; T of a flow, −∞, is ``edit=[1.0]``. Names of scalars have ``log_snr_…`` for
            ``t_…``.
        eta: η of the DDIM steps after the edit, in [0, 1]; those before it are always deterministic.
        boost_below: quality boosting, η = 1 below this fraction of T (P23b's scripts: 0.2); 0 is off.
        inversion: how pictures are inverted: ``ddim``, as the papers do; ``midpoint`` and ``fireflow``, of second
            order; or ``fixed_point``, which inverts the sampling step itself. ``fireflow`` costs what ``ddim`` does.
        clip: clip x̂0 while denoising, as the model's scheduler does, to [−1, 1] if it does not clip; null does so for
            generated samples of a model whose scheduler clips, and never for inverted pictures.
    """

    steps: int = setting(II("scale.steps"), affects="model", ge=1, allowed="1 to the number of training timesteps")
    edit: list[float] = setting(
        _EDIT, gt=0, le=1, items=1, distinct=True, scheduled=True, allowed="fractions of T in (0, 1], each once"
    )
    edit_log_snr: list[float] | None = setting(None, items=1, distinct=True, allowed="finite numbers, each once")
    eta: float = setting(0.0, ge=0, le=1)
    boost_below: float = setting(0.0, ge=0, le=1)
    inversion: str = setting("ddim", choices=("ddim", "midpoint", "fireflow", "fixed_point"), affects="model")
    clip: bool | None = setting(None, affects="model")

    def check(self) -> None:
        """Whether edit timesteps are told in one way."""
        if self.edit_log_snr is not None and self.edit != _EDIT:
            raise refusal("schedule.edit_log_snr", self.edit_log_snr, f"null beside schedule.edit={self.edit}")


@dataclass
class FeatureConfig:
    """The feature map f: x → h.

    Attributes:
        block: ``mid``, ``down.i`` or ``up.i`` of a U-Net, ``transformer_blocks.i`` of a transformer, or the path of any
            module within them, such as ``transformer_blocks.7.attn``; ``diffgeo --blocks model=…`` lists blocks.
        tap: what of the block is h: its ``output``; the ``update``, what it adds to its input; or ``normalised``, the
            output with mean 0 and variance 1 over the channels of every place.
        pool: ``sum`` over space (P23a) or null for the whole map (P23b).
        chunk_size: columns per vectorised Jacobian product; bounds memory.
    """

    block: str = setting(II("model.block"))
    tap: str = setting("output", choices=("output", "update", "normalised"))
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
        options: settings that the chosen ``_target_`` alone has, name → value; GROUP.NAME=VALUE sets one.
    """

    _target_: str = MISSING
    solver: str = MISSING
    rank: int = setting(II("scale.rank"), ge=1, allowed="1 to the rank of the Jacobian")
    share: float | None = setting(None, gt=0, lt=1, allowed="between 0 and 1")
    tol: float = setting(1e-4, gt=0)
    points: int = setting(1, ge=1)
    options: Options = setting({})


@dataclass
class EditConfig:
    """How a latent is moved.

    Attributes:
        _target_: set by the choice ``edit=…``: a :class:`diffgeo.session.editor.Edit`, yours or ours.
        method: set by the choice ``edit=…``: its name.
        strength: largest |γ| as a share of √d, the norm of pure noise in d dimensions.
        frames: odd number of γ from −strength to +strength.
        normalise: distortion normalisation (P23a); null takes it for generated samples and a plain step for inverted
            pictures, on which its premise fails.
        rescale: give a normalised step the length that it has without, |γ|; false is P23a's formula alone.
        kappa: the formula's κ in [0, 1); without effect if rescaled.
        options: settings that the chosen ``_target_`` alone has, name → value; GROUP.NAME=VALUE sets one.
    """

    _target_: str = MISSING
    method: str = MISSING
    strength: float = setting(0.06, gt=0)
    frames: int = setting(II("scale.frames"), ge=3, fits=_odd, allowed="an odd number of 3 or more")
    normalise: bool | None = None
    rescale: bool = True
    kappa: float = setting(0.99, ge=0, lt=1, allowed="0 <= kappa < 1")
    options: Options = setting({})


@dataclass
class PredictorConfig:
    """What reads attributes off pictures.

    Attributes:
        _target_: set by the choice ``predictor=…``: what gives an
            :class:`diffgeo.metrics.attributes.AttributePredictor` or None, yours or ours.
        kind: set by the choice ``predictor=…``: its name.
        options: settings that the chosen ``_target_`` alone has, name → value; GROUP.NAME=VALUE sets one.
    """

    _target_: str = MISSING
    kind: str = MISSING
    options: Options = setting({})


@dataclass
class MetricConfig:
    """How edits are judged.

    Attributes:
        _target_: set by the choice ``metric=…``: what gives a :class:`diffgeo.metrics.perceptual.PerceptualDistance`,
            yours or ours. Every table names the measure it used.
        perceptual: set by the choice ``metric=…``: its name.
        lpips_weights: torchvision's AlexNet weights, ``alexnet-owt-7be5be79.pth``; torch hub's cache when null.
        identity: a network (TorchScript, ONNX, exported) whose embedding tells people apart; null leaves it out.
        identity_size: side of its pictures in pixels.
        extra: metrics of your own, name → ``{_target_: package.module.Name, argument: value}``: a callable of edited
            pictures (B, 3, H, W) and the original (1, 3, H, W), both in [−1, 1], that returns (B,). Every name is a
            column of the tables of edits and a line of the scorecard.
        options: settings that the chosen ``_target_`` alone has, name → value; GROUP.NAME=VALUE sets one.
    """

    _target_: str = MISSING
    perceptual: str = MISSING
    lpips_weights: str | None = setting(None, path="always", absent=ModelError)
    identity: str | None = setting(None, path="always", absent=ModelError)
    identity_size: int = setting(112, ge=8)
    extra: Options = setting({})
    options: Options = setting({})


@dataclass
class ScaleConfig:
    """How much a run computes; other settings refer to these, and may be set one by one.

    Attributes:
        samples: pictures (``data.samples``).
        held_out: pictures of the experiment whose global directions are tested on three fifths of them.
        scored: samples of the scorecard, of which some make the global directions and the others are edited.
        steps: DDIM steps (``schedule.steps``).
        rank: directions per basis (``svd.rank``).
        path_rank: directions of a tangent space along paths and between timesteps (``study.….rank``).
        pairs: paths of every kind.
        segments: of a path.
        directions: leading directions that are edited.
        frames: pictures per traversal (``edit.frames``).
        codes: pictures whose codes are scored against their attributes (``study.disentanglement.codes``).
        controls: samples of the controls in ``tangent_distance``.
        levels: strengths of Pareto curves below the matched one.
        grid: fractions of T whose tangent spaces P23b's experiments compare (their ``schedule.edit``).
        trend: the same of experiments that ask for a trend over t, which takes ten.
        curve: the same of the spectrum's whole curve, with a schedule of its own.
    """

    samples: int = MISSING
    held_out: int = MISSING
    scored: int = MISSING
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
    trend: list[float] = MISSING
    curve: list[float] = MISSING


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
        None, fits=lambda folder: bool(folder.strip()), allowed="a folder; store.enabled=false keeps nothing"
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
        prompt: what a text-to-image model shows, “portrait of a face” with one that ships unless it is set; null for
            the others.
        seed: seeds samples and solvers.
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        max_memory: 10⁹ bytes that the tensors of one product with J, or of one batch of pictures, may take beside the
            weights; fewer columns or pictures are taken at once to stay below. null bounds a product by four fifths of
            what the device has free, and a batch of pictures not at all.
        processes: that work at the run on this machine, the CPU's threads shared out among them; each holds the model.
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
    processes: int = setting(1, affects="session", ge=1)
    objective: Any = setting(None, affects="nothing")  # str | list[str] | None; checked in `check`
    retries: int | None = setting(None, affects="nothing", ge=0)


MODEL_SCHEMAS = {"model": ModelConfig, "text_to_image": TextToImageConfig, "class_conditional": ClassConditionalConfig}

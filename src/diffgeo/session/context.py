"""What a study works with: a model, and small objects that compute samples, latents, bases, edits and pictures once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor

from diffgeo.config import Config, build
from diffgeo.convergence import Tally
from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.data.images import list_images
from diffgeo.data.tangent import Fit
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.models.training_record import trained_factors
from diffgeo.errors import ConfigError
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.metrics.classifiers import Identity, load_network
from diffgeo.metrics.data_distance import DistanceFromData
from diffgeo.metrics.perceptual import PerceptualDistance
from diffgeo.metrics.pictures import PictureMetric, measured
from diffgeo.metrics.residual import ResidualChange
from diffgeo.session.bases import Bases
from diffgeo.session.cache import Cache
from diffgeo.session.decoder import Decoder
from diffgeo.session.digests import file_digest
from diffgeo.session.editor import Edit
from diffgeo.session.inputs import named_code, named_files, own_code
from diffgeo.session.latents import Latents
from diffgeo.session.masks import Masks
from diffgeo.session.processes import Processes
from diffgeo.session.progress import Display, Interruption
from diffgeo.session.samples import Sample, Samples
from diffgeo.session.store import Store

log = logging.getLogger(__name__)

_STARTS = 3
"""Of the fit that tells a picture's factors, for masks."""
T = TypeVar("T")


@dataclass
class Context:
    """A model with its samples and settings.

    Its parts do the work, each computing a thing once: :attr:`samples`, :attr:`latents`, :attr:`bases`, :attr:`editor`,
    :attr:`decoder`, :attr:`masks`. ``dataclasses.replace(context, cfg=…)`` gives the same model under other settings;
    what was computed under settings that agree is not computed again.

    Attributes:
        model: the diffusion model.
        cfg: the run's settings.
        predictor: reads attributes off pictures, or None.
        interruption: tells loops to stop early.
        own_predictor: the model's own, whose features measure perceptual distance; ``predictor`` if not given.
        display: progress bars.
        store: keeps latents, bases and pictures from run to run, or None.
        processes: the processes that work at this run.
        extra_metrics: the user's own, by name; every table of edits has a column of each.
        tally: counts the bases that a study uses; contexts that are made for a study share its own.
        memory: samples, latents and bases so far, under the settings that determine them.
    """

    model: DiffusionModel
    cfg: Config
    predictor: AttributePredictor | None = None
    interruption: Interruption = field(default_factory=Interruption)
    own_predictor: AttributePredictor | None = None
    display: Display = field(default_factory=Display)
    store: Store | None = None
    processes: Processes = field(default_factory=Processes)
    extra_metrics: dict[str, PictureMetric] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally, repr=False)
    memory: dict[tuple[Any, ...], dict[Any, Any]] = field(default_factory=dict, repr=False)
    _warned: set[str] = field(default_factory=set, init=False, repr=False)
    _digest: str = field(default="", init=False, repr=False)

    def with_model(self, model: DiffusionModel, cfg: Config | None = None) -> Context:
        """Another model at work in the same run: its progress, store, processes and count of bases; no predictor.

        Args:
            model: the other model, or this one without what was computed so far.
            cfg: settings; this run's if None.
        """
        shared = {name: getattr(self, name) for name in ("interruption", "display", "store", "processes", "tally")}
        return Context(model, cfg or self.cfg, **shared)

    @cached_property
    def cache(self) -> Cache:
        """Where results are looked up."""
        model, svd = self.cfg.model, self.cfg.svd
        code = [*named_code([asdict(model), asdict(svd)]), *own_code(type(self.model))]
        return Cache(self.store, self.model.device, [*code, *named_files(svd).values()])

    def _remembered(self, part: str, *determinants: Any) -> dict[Any, Any]:
        """What a part has computed under these settings, in this context or another one of the same model."""
        self.notice_changes()
        self._digest = self.model.digest
        return self.memory.setdefault((part, self._digest, str(determinants)), {})

    def notice_changes(self) -> None:
        """Leave aside what was computed with other weights, if the model's were changed (an adapter fused, say).

        Every study begins with it.
        """
        if self._digest not in ("", self.model.digest):
            for part in ("samples", "latents", "bases", "editor", "decoder", "masks", "_portraits"):
                self.__dict__.pop(part, None)

    @cached_property
    def pictures(self) -> list[tuple[str, str]]:
        """Names and digests of the files of ``data.images``; none if samples are generated."""
        files = [] if self.cfg.data.images is None else list_images(self.cfg.data.images)
        return [(path.name, file_digest(path)) for path in files]

    @cached_property
    def samples(self) -> Samples:
        """What is edited."""
        found = self._remembered("samples", self.pictures, self.cfg.seed)
        return Samples(self.model, self.cfg.data, self.cfg.seed, found)

    @cached_property
    def latents(self) -> Latents:
        """x_t of the samples."""
        cfg, schedule = self.cfg, self.cfg.schedule
        found = self._remembered("latents", self.pictures, cfg.seed, schedule.steps, schedule.clip, schedule.inversion)
        return Latents(self.model, schedule, self.cache, self.display, found)

    @cached_property
    def bases(self) -> Bases:
        """Local bases of the samples, and at any other point."""
        cfg, schedule = self.cfg, self.cfg.schedule
        where = (cfg.data, self.pictures, cfg.seed, schedule.steps, schedule.clip, schedule.inversion)
        found = self._remembered("bases", *where, cfg.feature, cfg.svd, cfg.max_memory)
        return Bases(self.model, cfg, self.samples, self.latents, self.cache, self.display, self.tally, found)

    @cached_property
    def editor(self) -> Edit:
        """Moves latents as ``edit`` says."""
        parts = {"model": self.model, "cfg": self.cfg.edit, "latents": self.latents, "bases": self.bases}
        editor: Edit = build("edit", self.cfg.edit, **parts)
        return editor

    @cached_property
    def decoder(self) -> Decoder:
        """Takes latents to pictures."""
        return Decoder(self.model, self.cfg, self.latents, self.cache, self.display)

    @cached_property
    def masks(self) -> Masks:
        """Where local edits should act, as ``data.masks`` says."""
        return self.masks_at(self.cfg.data.masks)

    def masks_at(self, where: Any, *, setting: str = "data.masks") -> Masks:
        """Where local edits should act.

        Args:
            where: as ``data.masks`` takes it.
            setting: that it comes from, for messages.
        """
        return Masks(self.model, where, self._portrait if self.data_distance else None, setting=setting)

    @cached_property
    def _portraits(self) -> dict[int, Fit]:
        return {}

    def _portrait(self, sample: Sample) -> Fit:
        """The portrait nearest to a sample's unedited picture."""
        assert self.data_distance is not None
        if sample.index not in self._portraits:
            top = self.model.schedule.first(self.cfg.schedule.steps)
            picture = self.decoder(self.latents.of(sample, top)[None], top, sample)
            self._portraits[sample.index] = self.data_distance.fit(picture, starts=_STARTS)
        return self._portraits[sample.index]

    @cached_property
    def perceptual(self) -> PerceptualDistance:
        """The run's measure of how different two pictures look.

        Raises:
            ConfigError: it cannot be made, has no name or cannot be called.
        """
        metric = self.cfg.metric
        found: PerceptualDistance = build(
            "metric",
            metric,
            predictor=self.own_predictor or self.predictor,
            side=self.model.picture_size,
            device=self.model.device,
        )
        if not callable(found) or not isinstance(getattr(found, "name", None), str):
            raise ConfigError(f"metric._target_={metric._target_} is no measure", "give it a name and __call__(a, b)")
        return found

    @cached_property
    def identity(self) -> Identity | None:
        """Whether two pictures show the same person, if ``metric.identity`` gives a network for it."""
        metric = self.cfg.metric
        if metric.identity is None:
            return None
        return Identity(load_network(metric.identity, device=self.model.device), size=metric.identity_size)

    @cached_property
    def known_factors(self) -> tuple[str, ...]:
        """Factors of FactorFaces that vary in the model's data; none if the data are not known in closed form."""
        own = self.own_predictor or self.predictor
        return trained_factors(self.model.source) if own is not None and own.names == FACTOR_NAMES else ()

    @cached_property
    def data_distance(self) -> DistanceFromData | None:
        """How far pictures lie from the model's data; None if those are not known in closed form."""
        own = self.own_predictor or self.predictor
        return DistanceFromData(own, self.known_factors) if own is not None and self.known_factors else None

    @cached_property
    def residual_change(self) -> ResidualChange:
        """By how much edits raise the model's denoising residual, as many pictures at once as are decoded at once."""
        return ResidualChange(self.model, at_once=self.decoder.at_once)

    @property
    def edit_times(self) -> list[tuple[float, int]]:
        """(fraction of T, timestep) of ``schedule.edit`` or ``edit_log_snr``, as :meth:`times_of` gives them.

        Raises:
            ConfigError, ValueRangeError: as :meth:`times_of`; of ``edit_log_snr``, as
                :meth:`~diffgeo.diffusion.noise_schedule.NoiseProcess.nearest_log_snr`.
        """
        schedule, asked, steps = self.model.schedule, self.cfg.schedule.edit_log_snr, self.cfg.schedule.steps
        if asked is None:
            return self.times_of(self.cfg.schedule.edit, "schedule.edit")
        found = [schedule.nearest_log_snr(one, steps) for one in asked]
        _refuse_equal(found, asked, "schedule.edit_log_snr", steps)
        return [(schedule.fraction(t), t) for t in found]

    @property
    def edit_times_in_words(self) -> str:
        """``1, 0.5 of T (log-SNR -10.1, -2.5)``, for logs."""
        times = self.edit_times
        snr = ", ".join(f"{self.model.schedule.log_snr(t):.1f}" for _, t in times)
        return f"{', '.join(f'{fraction:g}' for fraction, _ in times)} of T (log-SNR {snr})"

    def times_of(self, fractions: Sequence[float], setting: str) -> list[tuple[float, int]]:
        """(fraction of T, timestep) for every fraction that a setting asks for, on the run's schedule.

        The fraction is that of the timestep (:meth:`NoiseSchedule.fraction`), not the one asked for. If they differ by
        more than the rounding of a timestep, the log says so, once.

        Args:
            fractions: in (0, 1].
            setting: that they come from, for messages.

        Raises:
            ConfigError: two fractions fall on one timestep of the schedule.
            ValueRangeError: a fraction lies more than half a step from every timestep.
        """
        schedule, steps = self.model.schedule, self.cfg.schedule.steps
        found = [schedule.nearest(asked, steps) for asked in fractions]
        _refuse_equal(found, fractions, setting, steps)
        for asked, t in zip(fractions, found, strict=True):
            used, key = schedule.fraction(t), f"{setting} {asked}"
            if abs(used - asked) * (schedule.T + 1) > 1.5 and key not in self._warned:
                self._warned.add(key)
                log.warning(
                    "%s=%g is not on the schedule of %d timesteps: the nearest, t = %d, is %.4g T; tables and figures "
                    "say that, names of scalars what was asked for",
                    setting,
                    asked,
                    steps,
                    t,
                    used,
                )
        return [(schedule.fraction(t), t) for t in found]

    def measured(self, edited: Tensor, original: Tensor) -> dict[str, list[float]]:
        """Values of the user's own metrics, by name, and how far the pictures have left the data.

        That is ``off_data``; where the data are not known in closed form ``residual_change`` stands in for it
        (:mod:`diffgeo.metrics.residual`), which takes four evaluations of the network a picture.

        Args:
            edited: pictures, shape (B, 3, H, W).
            original: shape (1, 3, H, W).

        Raises:
            ShapeError: a metric returned anything but (B,).
            ValueRangeError: it returned NaN or infinity.
        """
        distance = self.data_distance or self.residual_change
        metrics: dict[str, PictureMetric] = {**self.extra_metrics, distance.name: distance}
        return {name: values.tolist() for name, values in measured(metrics, edited, original).items()}

    def track(self, items: Sequence[T], description: str) -> Iterator[T]:
        """Iterate with progress; ends early, after the item in hand, when the run is interrupted.

        If several processes work at the run, each begins at another item.
        """
        for item in self.display.track(self.processes.in_turn(items), description, self.interruption):
            self.processes.check()
            yield item


def _refuse_equal(found: Sequence[int], asked: Sequence[float], setting: str, steps: int) -> None:
    """Raise if two of the times that a setting asks for fall on one timestep."""
    if len(set(found)) < len(found):
        raise ConfigError(
            f"{setting}={list(asked)} falls on {len(set(found))} of {steps} timesteps",
            "raise schedule.steps, or leave some out",
        )

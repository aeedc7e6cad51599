"""What a study works with: model, samples, and the latents and bases that several studies share."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from diffgeo.config import Config, FeatureConfig, GuidanceConfig, ShootingConfig
from diffgeo.convergence import Tally
from diffgeo.data.images import list_images, load_image, picture_names
from diffgeo.editing import normalise_distortion, single_step, x_space_guidance
from diffgeo.errors import ConfigError, DataError
from diffgeo.feature_map import FeatureMap, Pool
from diffgeo.geometry import geodesic_shooting
from diffgeo.jacobian import JacobianOperator, chunk_that_fits
from diffgeo.memory import device_name, most_that_fits
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.metrics.classifiers import Identity, load_network
from diffgeo.metrics.perceptual import PerceptualDistance, perceptual_distance
from diffgeo.metrics.pictures import PictureMetric, measured
from diffgeo.models import DiffusionModel
from diffgeo.noise_schedule import CLEAN
from diffgeo.progress import Display, Interruption
from diffgeo.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.store import Store
from diffgeo.studies.keeping import kept_bases, kept_block_size, kept_tensor
from diffgeo.svd import LocalBasis, local_bases, local_basis, probe_block_size
from diffgeo.team import Team

__all__ = ["Context", "Sample", "shareable"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_DECODING = 0x5EED << 32
"""Sets the noise of decoding (η > 0) apart from the seeds of initial noise."""
_COMMON = ("solver", "rank", "share", "tol", "precision", "compile", "points", "probe")
"""Settings of ``svd`` that are no solver's own."""
_ALL = 1_000_000
"""More pictures than any batch has."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing that is edited.

    Attributes:
        index: 0, 1, …
        name: ``seed N`` or the picture's file name, for tables and figures.
        x0: the inverted picture's clean latent, shape (C, H, W); None for generated samples.
        seed: of the initial noise, for generated samples.
    """

    index: int
    name: str
    x0: Tensor | None
    seed: int | None


def shareable(cfg: Config) -> dict[str, Any]:
    """The settings that model, latents and bases depend on: contexts that agree in them may share those."""
    parts = ("model", "predictor", "feature", "svd", "seed", "device", "max_memory", "store")
    schedule = (cfg.schedule.steps, cfg.schedule.clip)
    beside = {"samples": cfg.data.samples} if cfg.svd.points > 1 else {}
    return {name: getattr(cfg, name) for name in parts} | {"schedule": schedule, "images": cfg.data.images} | beside


@dataclass
class Context:
    """A model with its samples and settings; latents and bases are computed once and kept.

    Attributes:
        model: the diffusion model.
        cfg: the run's settings.
        predictor: reads attributes off pictures, or None.
        own_predictor: the model's own, whose features measure perceptual distance; ``predictor`` where not given.
        interruption: tells loops to stop early.
        display: progress bars.
        store: keeps latents, bases and pictures from run to run, or None.
        team: the processes that work at this run.
        extra_metrics: the user's own, by name; every table of edits has a column of each.
        tally: counts the bases that a study uses; contexts that are made for a study share its own.
    """

    model: DiffusionModel
    cfg: Config
    predictor: AttributePredictor | None = None
    interruption: Interruption = field(default_factory=Interruption)
    own_predictor: AttributePredictor | None = None
    display: Display = field(default_factory=Display)
    store: Store | None = None
    team: Team = field(default_factory=Team)
    extra_metrics: dict[str, PictureMetric] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally, repr=False)
    _latents: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)
    _bases: dict[tuple[int, int], LocalBasis] = field(default_factory=dict, repr=False)
    _samples: list[Sample] = field(default_factory=list, repr=False)
    _maps: dict[tuple[Any, ...], FeatureMap] = field(default_factory=dict, repr=False)
    _fitting: dict[tuple[Any, ...], int] = field(default_factory=dict, repr=False)
    _said: set[str] = field(default_factory=set, repr=False)

    def with_settings(self, cfg: Config, interruption: Interruption) -> Context:
        """The same model, samples, latents and bases under settings that agree in :func:`shareable`."""
        return replace(self, cfg=cfg, interruption=interruption, display=Display(), _said=set())

    def with_directions(self, cfg: Config, display: Display) -> Context:
        """The same model, samples and latents under other ``feature``, ``svd``, ``edit`` and edit timesteps."""
        same = (cfg.feature, cfg.svd) == (self.cfg.feature, self.cfg.svd)
        return replace(self, cfg=cfg, display=display, _bases=self._bases if same else {})

    @property
    def samples(self) -> list[Sample]:
        """The samples that ``data`` chooses; a list of pictures whole.

        Raises:
            DataError: pictures are missing, broken, or fewer in the folder than ``data.samples``.
        """
        wanted, where = self.cfg.data.samples, self.cfg.data.images
        found = self.first_samples(len(where) if isinstance(where, list) else wanted)
        if len(found) < wanted and isinstance(where, str) and Path(where).expanduser().is_dir():
            raise DataError(f"data.images={where} holds {len(found)} pictures; lower data.samples={wanted}")
        return found

    def first_samples(self, n: int) -> list[Sample]:
        """The first n samples, or as many pictures as there are, for studies with a number of their own.

        Raises:
            DataError: pictures are missing or broken.
        """
        last = n if self._files is None else min(n, len(self._files))
        for index in range(len(self._samples), last):
            x0 = None if self._files is None else self._load_image(self._files[index])
            seed = self.cfg.seed + index if x0 is None else None
            self._samples.append(Sample(index, self.sample_name(index), x0, seed))
        return self._samples[:n]

    def sample_name(self, index: int) -> str:
        """What results call sample ``index``, in use or not: ``seed N``, or the picture's file name."""
        return f"seed {self.cfg.seed + index}" if self._files is None else picture_names(self._files)[index]

    @cached_property
    def _files(self) -> list[Path] | None:
        """Every picture of ``data.images``, in order; None for generated samples."""
        return None if self.cfg.data.images is None else list_images(self.cfg.data.images)

    def _load_image(self, path: Path) -> Tensor:
        return self.model.encode(load_image(path, *self.picture_shape)[None])[0]

    @property
    def picture_shape(self) -> tuple[int, int]:
        """Height and width of the model's pictures in pixels."""
        side = self.model.picture_size
        return self.model.latent_shape[1:] if self.model.bounded else (side, side)

    @cached_property
    def perceptual(self) -> PerceptualDistance:
        """The run's measure of how different two pictures look."""
        metric = self.cfg.metric
        return perceptual_distance(
            metric.perceptual,
            self.own_predictor or self.predictor,
            weights=metric.lpips_weights,
            side=self.model.picture_size,
            device=self.model.device,
        )

    @cached_property
    def identity(self) -> Identity | None:
        """Whether two pictures show the same person, where ``metric.identity`` gives a network for it."""
        metric = self.cfg.metric
        if metric.identity is None:
            return None
        return Identity(load_network(metric.identity, device=self.model.device), size=metric.identity_size)

    def measured(self, edited: Tensor, original: Tensor) -> dict[str, list[float]]:
        """Values of the user's own metrics, by name.

        Args:
            edited: pictures, shape (B, 3, H, W).
            original: shape (1, 3, H, W).

        Raises:
            ShapeError: a metric returned anything but (B,).
            ValueRangeError: it returned NaN or infinity.
        """
        return {name: values.tolist() for name, values in measured(self.extra_metrics, edited, original).items()}

    @property
    def edit_times(self) -> list[tuple[float, int]]:
        """(fraction of T, timestep) of ``schedule.edit``, as :meth:`times_of` gives them."""
        return self.times_of(self.cfg.schedule.edit, "schedule.edit")

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
        if len(set(found)) < len(found):
            raise ConfigError(
                f"{setting}={list(fractions)} falls on {len(set(found))} of {steps} timesteps; "
                "raise schedule.steps, or leave out fractions"
            )
        for asked, t in zip(fractions, found, strict=True):
            used, key = schedule.fraction(t), f"{setting} {asked}"
            if abs(used - asked) * (schedule.T + 1) > 1.5 and key not in self._said:
                self._said.add(key)
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

    def clips(self, sample: Sample) -> bool:
        """Whether x̂0 is clipped while denoising this sample: ``schedule.clip``, or by where the sample is from."""
        clip = self.cfg.schedule.clip
        return (sample.x0 is None and self.model.bounded) if clip is None else clip

    def latent(self, sample: Sample, t: int) -> Tensor:
        """x_t of a sample, shape (C, H, W): inverted (or drawn) at T, then denoised to t."""
        key = (sample.index, t)
        if key not in self._latents:
            top = self.model.schedule.T
            if t < top:
                # go on from the lowest timestep above t that is known
                start = min((u for i, u in self._latents if i == sample.index and u > t), default=top)
                self._latents[key] = self._denoised(sample, self.latent(sample, start), start, t)
            elif sample.x0 is not None:
                self._latents[key] = self._inverted(sample, sample.x0)
            else:
                assert sample.seed is not None
                self._latents[key] = initial_noise(self.model, [sample.seed])[0]
        return self._latents[key]

    def _inverted(self, sample: Sample, x0: Tensor) -> Tensor:
        steps, inverter = self.cfg.schedule.steps, self.model.inverter

        def compute() -> Tensor:
            with self.display.task(f"inverting {sample.name}", steps) as advance:
                return ddim_invert(inverter, x0[None], steps=steps, on_step=advance)[0]

        return self.kept("latents", {"inverted": inverter.fingerprint, "x": x0, "steps": steps}, compute)

    def _denoised(self, sample: Sample, x: Tensor, start: int, stop: int) -> Tensor:
        steps, clip = self.cfg.schedule.steps, self.clips(sample)

        def compute() -> Tensor:
            left = sum(stop < u <= start for u in self.model.schedule.timesteps(steps))
            with self.display.task(f"{sample.name}: to t = {stop}", left) as advance:
                return ddim_sample(
                    self.model, x[None], steps=steps, start=start, stop=stop, clip=clip, on_step=advance
                )[0]

        place = {"start": start, "stop": stop, "steps": steps, "clip": clip}
        return self.kept("latents", {"denoised": self.model.fingerprint, "x": x, **place}, compute)

    def kept(self, stage: str, determinants: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        """A tensor of sampling from the store, or computed and stored; on the model's device.

        Args:
            stage: ``latents`` or ``pictures``.
            determinants: all that it depends on, less the code of sampling.
            compute: makes it.
        """
        return kept_tensor(self.store, stage, determinants, compute, self.model.device)

    def basis(self, sample: Sample, t: int) -> LocalBasis:
        """The local basis at a sample's x_t, by the run's feature map and solver.

        With ``svd.points`` the bases of the samples beside it are computed with it.
        """
        key = (sample.index, t)
        if key not in self._bases:
            beside = self._beside(sample)
            found = self._bases_at([self.latent(one, t) for one in beside], t)
            self._bases |= {(one.index, t): basis for one, basis in zip(beside, found, strict=True)}
        self.tally.note(self._bases[key].certificate, self.cfg.svd.share)
        return self._bases[key]

    def _beside(self, sample: Sample) -> list[Sample]:
        """The run's samples that are computed with this one, itself included: ``svd.points`` at a time."""
        points, samples = self.cfg.svd.points, self.samples
        if points == 1 or sample.index >= len(samples):
            return [sample]
        first = sample.index // points * points
        return samples[first : first + points]

    def basis_at(
        self,
        x: Tensor,
        t: int,
        *,
        feature: FeatureConfig | None = None,
        rank: int | None = None,
        tol: float | None = None,
    ) -> LocalBasis:
        """The local basis at any point x (C, H, W); the run's own feature map, rank and tolerance where None."""
        return self.bases_at([x], t, feature=feature, rank=rank, tol=tol)[0]

    def bases_at(
        self,
        xs: Sequence[Tensor],
        t: int,
        *,
        feature: FeatureConfig | None = None,
        rank: int | None = None,
        tol: float | None = None,
    ) -> list[LocalBasis]:
        """The local bases at any points (C, H, W), ``svd.points`` of them at a time; arguments as :meth:`basis_at`."""
        found = self._bases_at(xs, t, feature=feature, rank=rank, tol=tol)
        for basis in found:
            self.tally.note(basis.certificate, self.cfg.svd.share)
        return found

    def _bases_at(
        self,
        xs: Sequence[Tensor],
        t: int,
        *,
        feature: FeatureConfig | None = None,
        rank: int | None = None,
        tol: float | None = None,
    ) -> list[LocalBasis]:
        feature = self.cfg.feature if feature is None else feature
        name: dict[str, Any] = {"t": t, "block": feature.block, "pool": feature.pool}
        precision = self.cfg.svd.precision
        rough = None if precision is None else self.feature_map(t, feature, getattr(torch, precision))
        f, found = self.feature_map(t, feature), []
        for first in range(0, len(xs), self.cfg.svd.points):
            group = xs[first : first + self.cfg.svd.points]
            what = f"local basis at t = {t}"
            found += self._solved(f, group, name=name, rank=rank, tol=tol, what=what, rough=rough)
        return found

    def feature_map(
        self, t: int, feature: FeatureConfig | None = None, precision: torch.dtype | None = None
    ) -> FeatureMap:
        """F at timestep t, by the run's ``feature`` where None; its network in ``precision``."""
        feature = self.cfg.feature if feature is None else feature
        key = (id(self.model), t, feature.block, feature.pool, precision)
        if key not in self._maps:  # one object a map: compiled graphs belong to it
            pool: Pool = "sum" if feature.pool == "sum" else None
            self._maps[key] = self.model.feature_map(t, feature.block, pool, precision=precision)
        return self._maps[key]

    def basis_of(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        name: dict[str, Any],
        rank: int | None = None,
        tol: float | None = None,
        what: str = "singular vectors",
    ) -> LocalBasis:
        """The leading singular triplets of any map's Jacobian at x, by the run's solver.

        Args:
            f: of the model's network under ``editor``'s conditioning.
            x: shape (C, H, W).
            name: tells f from the model's other maps, for the store.
            rank: the run's where None.
            tol: likewise.
            what: for the progress bar.
        """
        basis = self._solved(f, [x], name=name, rank=rank, tol=tol, what=what)[0]
        self.tally.note(basis.certificate, self.cfg.svd.share)
        return basis

    def _solved(
        self,
        f: Callable[[Tensor], Tensor],
        xs: Sequence[Tensor],
        *,
        name: dict[str, Any],
        rank: int | None,
        tol: float | None,
        what: str,
        rough: Callable[[Tensor], Tensor] | None = None,
    ) -> list[LocalBasis]:
        """Bases of one map at points that are computed together; from the store, where it has them."""
        svd = self.cfg.svd
        options: dict[str, Any] = {k: v for k, v in vars(svd).items() if k not in _COMMON}
        settings: dict[str, Any] = {
            "rank": svd.rank if rank is None else rank,
            "share": svd.share if rank is None else None,
            "solver": svd.solver,
            "tol": svd.tol if tol is None else tol,
            "seed": self.cfg.seed,
            **options,
        }
        joined = len(xs) > 1 and settings["share"] is None and rough is None and svd.solver == "golub_kahan"
        settings["chunk_size"] = self.chunk_size(f, name, torch.stack(list(xs)) if joined else xs[0])
        if getattr(svd, "probe", False):
            settings["block_size"] = self._probed_block_size(f, name, xs[0], settings)
        if svd.compile:
            settings["compiled"] = True
        if rough is not None:
            # rounding keeps residuals above this
            settings["rough_tol"] = 4 * torch.finfo(getattr(torch, str(svd.precision))).eps

        def compute() -> list[LocalBasis]:
            with self.display.task(f"{what}, passes", None) as advance:
                if not joined:
                    return [local_basis(f, x, rough=rough, on_pass=advance, **settings) for x in xs]
                together = {k: v for k, v in settings.items() if k != "share"}
                return local_bases(f, torch.stack(list(xs)), on_pass=advance, **together)

        where: dict[str, Any] = {"model": self.model.editor.fingerprint, "f": name}
        company = {} if len(xs) == 1 else {"together": list(xs)}
        return kept_bases(self.store, [where | {"x": x} | company | settings for x in xs], compute, self.model.device)

    def chunk_size(self, f: Callable[[Tensor], Tensor], name: dict[str, Any], x: Tensor) -> int:
        """Columns a product: ``feature.chunk_size``, or as many fewer as ``max_memory`` says; measured once a map.

        Args:
            f: the map.
            name: what tells it from others.
            x: a point (C, H, W), or several (B, C, H, W) whose columns are made together and count together.
        """
        most, bound = self.cfg.feature.chunk_size, self.cfg.max_memory
        if bound is None:
            return most
        points = len(x) if x.ndim == 4 else 1
        key = ("columns", most, points, *(str(value) for k, value in name.items() if k != "t"))
        if key not in self._fitting:
            each = chunk_that_fits(f, x, bound * 1e9, max(1, most // points), stacked=points > 1)
            self._fitting[key] = min(points * each, max(most, points))
            log.info("max_memory=%g: %d columns of J at once", bound, self._fitting[key])
        return self._fitting[key]

    def _probed_block_size(
        self, f: Callable[[Tensor], Tensor], name: dict[str, Any], x: Tensor, settings: dict[str, Any]
    ) -> int:
        """The quickest block size for this map on this device, measured once and remembered."""
        rank, chunk = settings["rank"], settings["chunk_size"]
        place = {"device": device_name(self.model.device), "threads": torch.get_num_threads(), "shape": list(x.shape)}
        where = {"model": self.model.editor.fingerprint, "f": {k: v for k, v in name.items() if k != "t"}}

        def measure() -> int:
            found = probe_block_size(JacobianOperator(f, x, chunk_size=chunk), rank, tol=settings["tol"])
            log.info("svd.probe: blocks of %d columns", found)
            return found

        key = ("block", rank, settings["tol"], *(str(value) for value in where["f"].values()))
        if key not in self._fitting:
            asked = {"rank": rank, "tol": settings["tol"], "chunk": chunk}
            self._fitting[key] = kept_block_size(self.store, where | place | asked, measure)
        return self._fitting[key]

    @property
    def gammas(self) -> Tensor:
        """Signed edit lengths in units of x, shape (frames,), the middle one 0: ± strength · √d."""
        edit = self.cfg.edit
        side = torch.arange(1, edit.frames // 2 + 1) * (2 / (edit.frames - 1))
        shares = torch.cat([-side.flip(0), torch.zeros(1), side])
        return shares * (edit.strength * math.sqrt(self.latent_size))

    @property
    def latent_size(self) -> int:
        """d, the numbers in x."""
        c, h, w = self.model.latent_shape
        return c * h * w

    def traverse(self, sample: Sample, t: int, direction: int) -> Tensor:
        """x_t moved along ± one direction of its local basis, as ``edit`` says; shape (frames, C, H, W)."""
        basis = self.basis(sample, t)
        if isinstance(self.cfg.edit, ShootingConfig):
            return self._shoot(self.cfg.edit, self.latent(sample, t), t, basis, direction)
        return self.move(self.latent(sample, t), basis.V[:, direction], self.gammas, t)

    def move(self, x: Tensor, v: Tensor, gammas: Tensor, t: int, *, normalise: bool | None = None) -> Tensor:
        """X (C, H, W) moved along a unit direction v (d,) by each γ; shape (len(gammas), C, H, W).

        By x-space guidance where ``edit`` says so, else in a straight step. ``normalise`` overrides
        ``edit.normalise``.
        """
        return self.displace(x, single_step(torch.zeros_like(x), v, gammas), t, normalise=normalise)

    def displace(self, x: Tensor, offsets: Tensor, t: int, *, normalise: bool | None = None) -> Tensor:
        """X (C, H, W) moved by each offset γv (B, C, H, W), as :meth:`move` says; shape (B, C, H, W)."""
        edit = self.cfg.edit
        if isinstance(edit, GuidanceConfig):
            start, scale = x.expand_as(offsets), edit.guidance_scale
            return x_space_guidance(self.model.editor.predict_noise, start, offsets, t, scale=scale, steps=edit.steps)
        return self.retract(x[None], x + offsets, t, normalise=normalise)

    def retract(self, x: Tensor, moved: Tensor, t: int, *, normalise: bool | None = None) -> Tensor:
        """``moved`` (B, C, H, W), normalised against x where ``edit`` (or the argument) asks."""
        edit, model = self.cfg.edit, self.model
        if not (edit.normalise if normalise is None else normalise):
            return moved
        return normalise_distortion(model.predict_noise, model.schedule, x, moved, t, kappa=edit.kappa)

    def _shoot(self, edit: ShootingConfig, x: Tensor, t: int, basis: LocalBasis, direction: int) -> Tensor:
        halves = []
        for length in (self.gammas[0].item(), self.gammas[-1].item()):
            points = geodesic_shooting(
                lambda y: self.basis_at(y, t),
                x,
                basis.U[:, direction],
                basis.V[:, direction],
                length=length,
                steps=edit.steps,
                convention="pullback" if edit.transport == "pullback" else "isometric",
                retract=lambda a, b: self.retract(a[None], b[None], t)[0],
            )
            halves.append(points[:: edit.steps // (edit.frames // 2)])
        return torch.stack([*reversed(halves[0][1:]), x, *halves[1][1:]])

    def decode(self, x: Tensor, t: int, sample: Sample) -> Tensor:
        """Pictures (B, 3, H, W) in [−1, 1] from latents (B, C, H, W) of one sample at t; all with the same noise."""
        schedule = self.cfg.schedule
        settings: dict[str, Any] = {
            "steps": schedule.steps,
            "start": t,
            "eta": schedule.eta,
            "boost_below": schedule.boost_below,
            "clip": self.clips(sample),
        }
        seed = _DECODING + self.cfg.seed + sample.index

        size = min(len(x), self._batch_size(x[:1], t))

        def compute() -> Tensor:
            batches = x.split(size)
            left = len(batches) * sum(u <= t for u in self.model.schedule.timesteps(schedule.steps))
            with self.display.task(f"{sample.name}: {len(x)} pictures from t = {t}", left) as advance:
                return torch.cat([self._decoded(batch, seed, settings, advance) for batch in batches])

        place = {"x": x, "seed": seed} if size == len(x) else {"x": x, "seed": seed, "at_once": size}
        return self.kept("pictures", {"model": self.model.fingerprint, **place, **settings}, compute)

    def _decoded(self, x: Tensor, seed: int, settings: dict[str, Any], advance: Callable[[], None]) -> Tensor:
        x0 = ddim_sample(
            self.model,
            x,
            stop=CLEAN,
            generator=torch.Generator().manual_seed(seed),
            shared_noise=True,
            on_step=advance,
            **settings,
        )
        return self.model.decode(x0)

    def _batch_size(self, x: Tensor, t: int) -> int:
        """Pictures that are denoised and decoded at once, by ``max_memory``; all where it says nothing."""
        bound = self.cfg.max_memory
        if bound is None:
            return _ALL
        if ("pictures",) not in self._fitting:

            @torch.no_grad()
            def take(count: int) -> None:
                batch = x.expand(count, -1, -1, -1)
                self.model.decode(self.model.predict_noise(batch, t))

            self._fitting["pictures",] = most_that_fits(take, bound * 1e9, _ALL, what="one picture")
            log.info("max_memory=%g: %d pictures at once", bound, self._fitting["pictures",])
        return self._fitting["pictures",]

    def track(self, items: Sequence[T], description: str) -> Iterator[T]:
        """Iterate with progress; ends early, after the item in hand, when the run is interrupted.

        Where several processes work at the run, each begins at another item.
        """
        for item in self.display.track(self.team.in_turn(items), description, self.interruption):
            self.team.check()
            yield item

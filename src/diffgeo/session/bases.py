"""Local bases at samples' latents and at any other point, each solved once.

From a study to a solver it is a short way: :meth:`Bases.of`, :meth:`Bases.at`, the cache, :func:`local_basis`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffgeo.config import Config, FeatureConfig, SvdConfig, build
from diffgeo.convergence import Tally
from diffgeo.diffusion.feature_map import FeatureMap, Pool
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.jacobian import JacobianOperator, Masked, chunk_that_fits
from diffgeo.jacobian.memory import device_name
from diffgeo.session.cache import Cache
from diffgeo.session.digests import digest
from diffgeo.session.inputs import own_code
from diffgeo.session.latents import Latents
from diffgeo.session.progress import Display
from diffgeo.session.samples import Sample, Samples
from diffgeo.svd import LocalBasis, Solver, SolveSpec, energy, local_bases, local_basis

log = logging.getLogger(__name__)

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MapName:
    """Tells the maps of a model apart, in the store's keys.

    Attributes:
        t: timestep.
        block: of a feature map.
        pool: of a feature map.
        tap: of a feature map.
        output: ``x0`` or ``eps`` for the network's output instead of a feature map, ``eps of h`` for it as a function
            of h.
        mask: digest of the mask that the map's rows are restricted to.
    """

    t: int
    block: str | None = None
    pool: str | None = None
    tap: str = "output"
    output: str | None = None
    mask: str | None = None

    @classmethod
    def of(cls, t: int, feature: FeatureConfig) -> MapName:
        """That of a feature map at timestep t."""
        return cls(t, feature.block, feature.pool, feature.tap)

    @property
    def timeless(self) -> MapName:
        """The same at any timestep: what a product costs does not depend on t."""
        return replace(self, t=0)


def solve_spec(cfg: SvdConfig, *, seed: int, chunk_size: int) -> SolveSpec:
    """What ``svd=…`` asks for, as a value.

    Raises:
        ConfigError: the solver cannot be imported, or does not take its settings.
    """
    solver: Solver = build("svd", cfg)
    return SolveSpec(solver, cfg.rank, cfg.share, cfg.tol, seed, chunk_size)


class Bases:
    """Local bases of a run.

    Args:
        model: the diffusion model.
        cfg: the run's settings: ``feature``, ``svd``, ``seed``, ``max_memory``.
        samples: of the run.
        latents: x_t of the samples.
        cache: keeps bases from run to run.
        display: progress bars.
        tally: counts the bases that are used.
        found: bases so far, by sample and timestep; shared by contexts whose bases are the same.
    """

    def __init__(
        self,
        model: DiffusionModel,
        cfg: Config,
        samples: Samples,
        latents: Latents,
        cache: Cache,
        display: Display,
        tally: Tally,
        found: dict[tuple[int, int], LocalBasis],
    ) -> None:
        self._model, self._cfg, self._samples, self._latents = model, cfg, samples, latents
        self._cache, self._display, self._tally, self._found = cache, display, tally, found
        self.spec = solve_spec(cfg.svd, seed=cfg.seed, chunk_size=cfg.feature.chunk_size)
        self._fitting: dict[tuple[Any, ...], int] = {}
        self._max_bytes = None if cfg.max_memory is None else cfg.max_memory * 1e9

    def check(self) -> None:
        """Whether ``svd`` asks for what the Jacobian of the run's feature map has: one evaluation shows its shape.

        Raises:
            ValueRangeError: rank or columns are more than J has.
        """
        x = torch.zeros(self._model.latent_shape, device=self._model.device, dtype=self._model.dtype)
        with torch.no_grad():
            h = self.feature_map(self._model.schedule.T)(x)
        self.spec.rank_of((h.numel(), x.numel()))

    def of(self, sample: Sample, t: int) -> LocalBasis:
        """The local basis at a sample's x_t, by the run's feature map and solver.

        With ``svd.points``, the bases of the samples around it are computed with it.
        """
        key = (sample.index, t)
        if key not in self._found:
            group = self._group(sample)
            found = self.at_each([self._latents.of(one, t) for one in group], t)
            self._found |= {(one.index, t): basis for one, basis in zip(group, found, strict=True)}
        self._tally.note(self._found[key].certificate, self._cfg.svd.share)
        return self._found[key]

    def at(
        self,
        x: Tensor,
        t: int,
        *,
        feature: FeatureConfig | None = None,
        rank: int | None = None,
        tol: float | None = None,
    ) -> LocalBasis:
        """The local basis at any point.

        Args:
            x: the point, shape (C, H, W).
            t: timestep of the feature map.
            feature: the run's if None.
            rank: number of directions; the run's rank or share if None.
            tol: of the residuals, relative to s_1; the run's if None.
        """
        return self.at_each([x], t, feature=feature, rank=rank, tol=tol)[0]

    def at_each(
        self,
        xs: Sequence[Tensor],
        t: int,
        *,
        feature: FeatureConfig | None = None,
        rank: int | None = None,
        tol: float | None = None,
    ) -> list[LocalBasis]:
        """The local bases at several points, ``svd.points`` of them at a time; arguments as in :meth:`at`."""
        f, feature = self.feature_map(t, feature), feature or self._cfg.feature
        name = MapName.of(t, feature)
        spec, points = self.spec.of_rank(rank, tol), self._cfg.svd.points
        found: list[LocalBasis] = []
        for first in range(0, len(xs), points):
            found += self._solved(f, xs[first : first + points], name, spec)
        return found

    def of_map(self, f: Map, x: Tensor, *, name: MapName, rank: int | None = None) -> LocalBasis:
        """The leading singular triplets of any map's Jacobian.

        Args:
            f: a map of the model's network under ``editor``'s conditioning, such as x ↦ x̂0(x, t).
            x: the point, shape (C, H, W).
            name: tells f from the model's other maps. The store also tells apart what other code defines f, but not
                numbers that f was made with: name those.
            rank: number of directions; the run's rank or share if None.
        """
        return self._solved(f, [x], name, self.spec.of_rank(rank))[0]

    def of_part(self, f: Map, x: Tensor, mask: Tensor, *, name: MapName, rank: int) -> LocalBasis:
        """The leading singular triplets of the rows of a map's Jacobian inside a mask.

        Args:
            f: as for :meth:`of_map`, with output of shape (C', H', W').
            x: the point, shape (C, H, W).
            mask: boolean, shape (H', W').
            name: tells f from the model's other maps.
            rank: number of directions; fewer if the mask has fewer rows.
        """
        part = Masked(f, mask)
        with torch.no_grad():
            rows = part(x).numel()
        return self.of_map(part, x, name=replace(name, mask=digest(mask)), rank=min(rank, rows))

    def operator(self, f: Map, x: Tensor, *, name: MapName) -> JacobianOperator:
        """Any map's Jacobian itself, whose products take no more memory than ``max_memory`` says.

        Args:
            f: as for :meth:`of_map`.
            x: the point, shape (C, H, W).
            name: tells f from the model's other maps.
        """
        return JacobianOperator(f, x, chunk_size=self._columns(f, name, x), max_bytes=self._max_bytes)

    def energy(self, x: Tensor, t: int, basis: LocalBasis) -> float:
        """‖J‖²_F of the run's feature map: as ``svd.share`` took it, or estimated by :func:`diffgeo.svd.energy`.

        Args:
            x: the point, shape (C, H, W).
            t: timestep.
            basis: the local basis there.
        """
        if not math.isnan(basis.certificate.share):
            return basis.s.double().square().sum().item() / basis.certificate.share
        f, seed, feature = self.feature_map(t), self._cfg.seed, self._cfg.feature
        name = MapName.of(t, feature)
        columns = self._columns(f, name, x)

        def compute() -> float:
            with self._display.task(f"‖J‖² at t = {t}, passes", None) as advance:
                jacobian = JacobianOperator(f, x, chunk_size=columns, on_pass=advance, max_bytes=self._max_bytes)
                return energy(jacobian, seed=seed)

        key = {"model": self._model.editor.fingerprint, "f": name, "x": x, "seed": seed, "chunk_size": columns}
        return self._cache.number("energies", key, compute)

    def feature_map(self, t: int, feature: FeatureConfig | None = None) -> FeatureMap:
        """f: x → h at timestep t; by the run's ``feature`` if None."""
        feature = feature or self._cfg.feature
        pool: Pool = "sum" if feature.pool == "sum" else None
        tap: Any = feature.tap
        return self._model.feature_map(t, feature.block, pool, tap)

    def _group(self, sample: Sample) -> list[Sample]:
        """The run's samples that are computed with this one, itself included: ``svd.points`` at a time."""
        points = self._cfg.svd.points
        if points == 1 or sample.index >= len(self._samples):
            return [sample]
        first = sample.index // points * points
        return self._samples.chosen()[first : first + points]

    def _solved(self, f: Map, xs: Sequence[Tensor], name: MapName, spec: SolveSpec) -> list[LocalBasis]:
        """Bases of one map at points that are computed together; from the store if it has them."""
        joined = len(xs) > 1 and spec.share is None and spec.solver.joins
        spec = replace(spec, chunk_size=self._columns(f, name, torch.stack(list(xs)) if joined else xs[0]))
        if spec.solver.measures:
            spec = replace(spec, solver=self._measured(f, name, xs[0], spec))

        key: dict[str, object] = {"model": self._model.editor.fingerprint, "f": name, "spec": spec, "code": own_code(f)}
        if len(xs) > 1:
            key["together"] = list(xs)
        with self._cache.bases([key | {"x": x} for x in xs]) as kept:
            if kept.missing:
                with self._display.task(f"local basis at t = {name.t}, passes", None) as advance:
                    if joined:
                        points = torch.stack(list(xs))
                        kept.bases = local_bases(f, points, spec, on_pass=advance, max_bytes=self._max_bytes)
                    else:
                        for x in xs:
                            found = local_basis(f, x, spec=spec, on_pass=advance, max_bytes=self._max_bytes)
                            kept.bases.append(found)
        for basis in kept.bases:
            self._tally.note(basis.certificate, spec.share)
        return kept.bases

    def _columns(self, f: Map, name: MapName, x: Tensor) -> int:
        """Columns per product: the spec's ``chunk_size``, or as many fewer as ``max_memory`` says; measured once a map.

        Args:
            f: the map.
            name: what tells it from others.
            x: a point (C, H, W), or several (B, C, H, W) whose columns are made together and count together.
        """
        most = self.spec.chunk_size
        if self._max_bytes is None:
            return most
        points = len(x) if x.ndim == 4 else 1
        key = ("columns", most, points, name.timeless)
        if key not in self._fitting:
            each = chunk_that_fits(f, x, self._max_bytes, max(1, most // points), stacked=points > 1)
            self._fitting[key] = min(points * each, max(most, points))
            log.info("max_memory=%g: %d columns of J at once", self._cfg.max_memory, self._fitting[key])
        return self._fitting[key]

    def _measured(self, f: Map, name: MapName, x: Tensor, spec: SolveSpec) -> Solver:
        """The solver with what it wants measured for this map on this device, once; the store remembers it."""
        device, rank = self._model.device, spec.rank or min(x.numel(), 50)

        def measure() -> int:
            jacobian = JacobianOperator(f, x, chunk_size=spec.chunk_size, max_bytes=self._max_bytes)
            found = spec.solver.measure(jacobian, rank, tol=spec.tol)
            log.info("%s measured on this device: %d", spec.solver.name, found)
            return found

        memo = ("measured", rank, spec.tol, name.timeless)
        if memo not in self._fitting:
            place = {"device": device_name(device), "threads": torch.get_num_threads(), "shape": list(x.shape)}
            asked = {"solver": spec.solver, "rank": rank, "tol": spec.tol, "chunk": spec.chunk_size}
            key = {"model": self._model.editor.fingerprint, "f": name.timeless, "code": own_code(f), **place, **asked}
            self._fitting[memo] = int(self._cache.number("probes", key, measure))
        return spec.solver.with_measured(self._fitting[memo])

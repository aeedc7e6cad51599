"""The metrics as torchmetrics: ``update`` batch by batch, ``compute`` once, states that gather over processes.

Thin classes around the functions of :mod:`diffgeo.metrics.disentanglement` and :mod:`diffgeo.metrics.edits`. What is
gathered are samples (rows), so that every number has its interval: ``compute`` gives an
:class:`~diffgeo.metrics.statistics.Estimate`, value with 95 % bootstrap interval over samples, or a dictionary of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from diffgeo.errors import ShapeError
from diffgeo.metrics import disentanglement, edits
from diffgeo.metrics.damage import chroma, clipped_share
from diffgeo.metrics.perceptual import PerceptualDistance, perceptual_path_length
from diffgeo.metrics.statistics import FEWEST, Estimate, resample, resample_all

__all__ = [
    "AttributeDependency",
    "DCI",
    "DirectionalSimilarity",
    "EditPrecision",
    "EffectDisentanglement",
    "FactorVAEScore",
    "LocalSuccess",
    "Locality",
    "MutualInformationGap",
    "PerceptualPathLength",
    "RescoringMatrix",
    "Saturation",
    "SeparatedAttributePredictability",
    "TransferSuccess",
]


class _Gathered(Metric):
    """Keeps rows of a few tensors.

    Args:
        draws: bootstrap resamples.
        seed: of the resampling.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    names: tuple[str, ...] = ()

    def __init__(self, *, draws: int = 200, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.draws, self.seed = draws, seed
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, *batches: Tensor) -> None:
        """Add samples; each argument has one sample a row.

        Raises:
            ShapeError: other than one tensor for each of ``names``, or unequal numbers of rows.
        """
        if len(batches) != len(self.names) or any(b.ndim == 0 or len(b) != len(batches[0]) for b in batches):
            raise ShapeError(f"{type(self).__name__}.update takes {', '.join(self.names)} with as many rows each")
        for name, batch in zip(self.names, batches, strict=True):
            getattr(self, name).append(batch.detach().cpu())

    def gathered(self) -> list[Tensor]:
        """All rows so far, a tensor for each of ``names``.

        Raises:
            ShapeError: nothing was added yet.
        """
        parts = [getattr(self, name) for name in self.names]
        if any(isinstance(p, list) and not p for p in parts):
            raise ShapeError(f"{type(self).__name__} has seen no samples; call update first")
        return [p if isinstance(p, Tensor) else torch.cat(p) for p in parts]

    halves = False
    """Whether intervals come from halves without replacement, see :func:`resample`."""

    def _estimate(self, statistic: Callable[..., float], *rows: Tensor, halves: bool | None = None) -> Estimate:
        halves = self.halves if halves is None else halves
        return resample(statistic, *(rows or self.gathered()), draws=self.draws, seed=self.seed, halves=halves)

    def _mean(self, values: Tensor) -> Estimate:
        """Of values with one sample a row; NaN are left out."""
        return self._estimate(lambda v: v.nanmean().item(), values.double())


class RescoringMatrix(_Gathered):
    """R_ij with its interval. ``update(changes)``: Δa, shape (N, K, A)."""

    names = ("changes",)

    def compute(self) -> dict[str, Tensor]:
        """``value``, ``low``, ``high``: shape (K, A) each; NaN ends for fewer than ``FEWEST`` samples."""
        (changes,) = self.gathered()
        value = edits.rescoring_matrix(changes)
        if len(changes) < FEWEST:
            return {"value": value, "low": torch.full_like(value, torch.nan), "high": torch.full_like(value, torch.nan)}
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randint(len(changes), (self.draws, len(changes)), generator=generator)
        means = torch.stack([changes[r].mean(dim=0) for r in rows]).double()
        ends = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
        return {"value": value, "low": ends[0].to(value), "high": ends[1].to(value)}


class _OfEdits(_Gathered):
    """Changes with their targets.

    Args:
        held_out: the target is the attribute that the direction moves most on all other samples, instead of each
            edit's own largest change.
        kwargs: see the base class.
    """

    names = ("changes",)

    def __init__(self, *, held_out: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held_out = held_out

    def _changes(self) -> tuple[Tensor, Tensor]:
        (changes,) = self.gathered()
        return changes, edits.targets(changes, held_out=self.held_out)


class EditPrecision(_OfEdits):
    """Mean edit precision ratio. ``update(changes)``: Δa, shape (N, K, A)."""

    def compute(self) -> Estimate:
        """In [0, ∞); about 1 for a target no better than the rest."""
        return self._mean(edits.edit_precision(*self._changes()))


class AttributeDependency(_OfEdits):
    """Mean attribute dependency. ``update(changes)``: Δa, shape (N, K, A)."""

    def compute(self) -> dict[str, Estimate]:
        """``mean`` and ``max``, in standard deviations."""
        mean, largest = edits.attribute_dependency(*self._changes())
        return {"mean": self._mean(mean), "max": self._mean(largest)}


class LocalSuccess(_Gathered):
    """Share of edits that move exactly one attribute. ``update(changes)``: Δa, shape (N, K, A).

    Args:
        moved: see :func:`diffgeo.metrics.edits.local_success`.
        still: likewise.
        kwargs: see the base class.
    """

    names: tuple[str, ...] = ("changes",)

    def __init__(self, *, moved: float = edits.MOVED, still: float = edits.STILL, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moved, self.still = moved, still

    def compute(self) -> Estimate:
        """In [0, 1]."""
        (changes,) = self.gathered()
        return self._mean(edits.local_success(changes, moved=self.moved, still=self.still).double())


class TransferSuccess(LocalSuccess):
    """Share of local successes that transfer. ``update(source, held_out)``: Δa, shape (N, K, A) each."""

    names = ("source", "held_out")

    def compute(self) -> Estimate:
        """In [0, 1]; NaN where no source was a success."""
        return self._mean(edits.transfer_success(*self.gathered(), moved=self.moved, still=self.still))


class EffectDisentanglement(_Gathered):
    """Disentanglement of effects, M_ij = E|Δa_j|. ``update(changes)``: Δa, shape (N, K, A)."""

    names = ("changes",)

    def compute(self) -> dict[str, Estimate]:
        """``disentanglement``, ``completeness``, ``gap`` and ``vote`` (NaN for one sample), each in [0, 1]."""
        (changes,) = self.gathered()

        def vote(rows: Tensor) -> float:
            return disentanglement.effect_vote(rows) if len(rows) > 1 else float("nan")

        def effects(rows: Tensor) -> Tensor:
            return rows.abs().mean(dim=0)

        return {
            "disentanglement": self._estimate(lambda r: disentanglement.importance_scores(effects(r))[0], changes),
            "completeness": self._estimate(lambda r: disentanglement.importance_scores(effects(r))[1], changes),
            "gap": self._estimate(lambda r: disentanglement.effect_gap(effects(r)), changes),
            "vote": self._estimate(vote, changes, halves=True),
        }


class _OfCodes(_Gathered):
    """Codes with known factors. ``update(codes, factors)``: shapes (N, K) and (N, A).

    Args:
        options: of the function that is wrapped.
        draws: bootstrap resamples.
        seed: of the resampling.
    """

    names = ("codes", "factors")
    halves = True

    def __init__(self, *, draws: int = 200, seed: int = 0, **options: Any) -> None:
        super().__init__(draws=draws, seed=seed)
        self.options = options


class DCI(_OfCodes):
    """Disentanglement, completeness, informativeness (:func:`diffgeo.metrics.disentanglement.dci`)."""

    def __init__(self, *, draws: int = 20, seed: int = 0, **options: Any) -> None:
        super().__init__(draws=draws, seed=seed, **options)

    def compute(self) -> dict[str, Estimate]:
        """``disentanglement``, ``completeness``, ``informativeness``; every resample fits all regressors anew."""
        parts = ("disentanglement", "completeness", "informativeness")

        def fit(codes: Tensor, factors: Tensor) -> list[float]:
            found = disentanglement.dci(codes, factors, **self.options)
            return [float(getattr(found, part)) for part in parts]

        found = resample_all(fit, *self.gathered(), draws=self.draws, seed=self.seed, halves=True)
        return dict(zip(parts, found, strict=True))


class MutualInformationGap(_OfCodes):
    """MIG (:func:`diffgeo.metrics.disentanglement.mig`)."""

    def compute(self) -> Estimate:
        """In [0, 1]."""
        return self._estimate(lambda x, y: disentanglement.mig(x, y, **self.options))


class SeparatedAttributePredictability(_OfCodes):
    """SAP (:func:`diffgeo.metrics.disentanglement.sap`)."""

    def compute(self) -> Estimate:
        """In [0, 1]."""
        return self._estimate(lambda x, y: disentanglement.sap(x, y, **self.options))


class FactorVAEScore(_OfCodes):
    """FactorVAE score (:func:`diffgeo.metrics.disentanglement.factor_vae_score`)."""

    def compute(self) -> Estimate:
        """In [0, 1]."""
        return self._estimate(lambda x, y: disentanglement.factor_vae_score(x, y, **self.options))


class Locality(_Gathered):
    """Share of change outside a mask. ``update(difference, mask)``: shapes (N, C, H, W) and (N, 1, H, W)."""

    names = ("difference", "mask")

    def compute(self) -> Estimate:
        """In [0, 1]; pictures that did not change are left out."""
        return self._mean(edits.locality(*self.gathered()))


class DirectionalSimilarity(_Gathered):
    """S_dir. ``update(image_change, text_change)``: shape (N, e) each."""

    names = ("image_change", "text_change")

    def compute(self) -> Estimate:
        """In [−1, 1]."""
        return self._mean(edits.directional_similarity(*self.gathered()))


class Saturation(_Gathered):
    """How far colours are driven to their limits. ``update(pictures)``: shape (N, 3, H, W), in [−1, 1] or beyond."""

    names = ("clipped", "colour")

    def update(self, *batches: Tensor) -> None:
        """Add pictures."""
        super().update(*(f(pictures) for pictures in batches for f in (clipped_share, chroma)))

    def compute(self) -> dict[str, Estimate]:
        """``clipped``, the share of values at the limits, and ``chroma``, both in [0, 1]."""
        clipped, colour = self.gathered()
        return {"clipped": self._mean(clipped), "chroma": self._mean(colour)}


class PerceptualPathLength(_Gathered):
    """PPL. ``update(first, second)``: ends of arcs, latents of shape (N, C, H, W) each.

    Args:
        decode: latents → pictures.
        measure: a squared perceptual distance.
        eps: see :func:`diffgeo.metrics.perceptual.perceptual_path_length`.
        kwargs: see the base class.
    """

    names = ("lengths",)

    def __init__(
        self, decode: Callable[[Tensor], Tensor], measure: PerceptualDistance, *, eps: float = 1e-2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.decode, self.measure, self.eps, self._seen = decode, measure, eps, 0

    def update(self, *batches: Tensor) -> None:
        """Add arcs; each update draws its own positions on them."""
        first, second = batches
        options: dict[str, Any] = {"eps": self.eps, "seed": self.seed + self._seen}
        self._seen += len(first)
        super().update(perceptual_path_length(self.decode, first, second, self.measure, **options))

    def compute(self) -> Estimate:
        """The mean, 0 or more."""
        return self._mean(self.gathered()[0])

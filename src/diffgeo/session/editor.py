"""How latents are moved along directions: what ``edit=…`` chooses, by its ``_target_``.

:class:`Straight` is the base; an edit of another kind overrides what it does differently.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import torch
from torch import Tensor

from diffgeo.config import EditConfig, GuidanceConfig, ShootingConfig
from diffgeo.diffusion.editing import normalise_distortion, single_step, x_space_guidance
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.geometry import Convention, geodesic_shooting
from diffgeo.session.bases import Bases
from diffgeo.session.latents import Latents
from diffgeo.session.samples import Sample

__all__ = ["Guidance", "Shooting", "Straight"]

C = TypeVar("C", bound=EditConfig)


class Straight(Generic[C]):
    """One straight step, x + γ v, normalised against the original if ``edit.normalise`` asks for it.

    Args:
        model: the diffusion model.
        cfg: the run's ``edit``.
        latents: x_t of the samples.
        bases: local bases of the samples.
    """

    def __init__(self, model: DiffusionModel, cfg: C, latents: Latents, bases: Bases) -> None:
        self.model, self.cfg, self.latents, self.bases = model, cfg, latents, bases

    @property
    def gammas(self) -> Tensor:
        """Signed edit lengths in units of x, shape (frames,), the middle one 0: ± strength · √d."""
        side = torch.arange(1, self.cfg.frames // 2 + 1) * (2 / (self.cfg.frames - 1))
        shares = torch.cat([-side.flip(0), torch.zeros(1), side])
        return shares * (self.cfg.strength * math.sqrt(self.model.latent_size))

    def traverse(self, sample: Sample, t: int, direction: int) -> Tensor:
        """x_t moved along ± one direction of its local basis; shape (frames, C, H, W)."""
        x, basis = self.latents.of(sample, t), self.bases.of(sample, t)
        return self.move(x, basis.V[:, direction], self.gammas, t, sample)

    def normalises(self, sample: Sample, override: bool | None = None) -> bool:
        """Whether this sample's edits are normalised: the override, ``edit.normalise``, or if it is generated."""
        asked = self.cfg.normalise if override is None else override
        return sample.x0 is None if asked is None else asked

    def move(self, x: Tensor, v: Tensor, gammas: Tensor, t: int, sample: Sample) -> Tensor:
        """One latent moved along a direction by each γ.

        Args:
            x: latent, shape (C, H, W).
            v: unit direction, shape (d,).
            gammas: signed lengths in units of x, shape (k,).
            t: timestep.
            sample: whose latent it is.

        Returns:
            Shape (k, C, H, W).
        """
        return self.displace(x, single_step(torch.zeros_like(x), v, gammas), t, sample)

    def displace(self, x: Tensor, offsets: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:
        """A latent (C, H, W) moved by each offset γv (B, C, H, W); ``normalise`` overrides ``edit.normalise``."""
        return self.retract(x[None], x + offsets, t, sample, normalise=normalise)

    def retract(self, x: Tensor, moved: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:
        """``moved`` (B, C, H, W), normalised against x if :meth:`normalises` says so."""
        if not self.normalises(sample, normalise):
            return moved
        noise, schedule, edit = self.model.predict_noise, self.model.schedule, self.cfg
        return normalise_distortion(noise, schedule, x, moved, t, kappa=edit.kappa, rescale=edit.rescale)


class Guidance(Straight[GuidanceConfig]):
    """x-space guidance (P23b): step by step, x moves by a multiple of the change of ε that γv makes."""

    def displace(self, x: Tensor, offsets: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:  # noqa: ARG002
        """See :meth:`Straight.displace`; never normalised."""
        noise, scale = self.model.editor.predict_noise, self.cfg.guidance_scale
        return x_space_guidance(noise, x.expand_as(offsets), offsets, t, scale=scale, steps=self.cfg.steps)


class Shooting(Straight[ShootingConfig]):
    """Geodesic shooting (P23a): the direction is transported from piece to piece; traversals alone are curved."""

    def traverse(self, sample: Sample, t: int, direction: int) -> Tensor:
        """See :meth:`Straight.traverse`."""
        x = self.latents.of(sample, t)
        halves = [self._shoot(x, t, sample, direction, gamma.item()) for gamma in self.gammas[[0, -1]]]
        return torch.stack([*reversed(halves[0][1:]), x, *halves[1][1:]])

    def _shoot(self, x: Tensor, t: int, sample: Sample, direction: int, length: float) -> list[Tensor]:
        """Points of one side of the curve, as many as there are frames on it, x first."""
        basis = self.bases.of(sample, t)
        convention: Convention = "pullback" if self.cfg.transport == "pullback" else "isometric"
        points = geodesic_shooting(
            lambda y: self.bases.at(y, t),
            x,
            basis.U[:, direction],
            basis.V[:, direction],
            length=length,
            steps=self.cfg.steps,
            convention=convention,
            retract=lambda a, b: self.retract(a[None], b[None], t, sample)[0],
        )
        return list(points[:: self.cfg.steps // (self.cfg.frames // 2)])

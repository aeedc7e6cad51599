"""Portraits whose tangent space is known, and how much of it directions hold.

x_t comes from two kinds of places:

    render   a x0 + b ε of a portrait with known factors z; any timestep
    path     a sample of the run on its way; z is that of the portrait nearest to the sampled picture, found by a fit

Of a model on an autoencoder's latents, portrait and tangents are pushed forward by the encoder E: x0 = E(render(z)),
tangents ∂E/∂x τ_j.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.data.tangent import TangentSpace, tangents
from diffgeo.diffusion.models import PixelDiffusion
from diffgeo.session import Context, Sample

log = logging.getLogger(__name__)

_PORTRAITS = 9_000_000
"""First seed of the portraits and of their noise, apart from those of samples."""
_STARTS = 3
"""Of the fit of a sampled picture."""


@dataclass(frozen=True)
class Portrait:
    """A portrait with known factors.

    Attributes:
        kind: ``render`` or ``path``.
        index: its number, that of the sample for ``path``.
        name: for tables.
        space: the tangent space of the data at it.
        residual: how far the sampled picture lies from it; 0 for ``render``.
        sample: of the run, for ``path``.
        x0: as x, for ``render``.
        noise: ε, for ``render``.
    """

    kind: str
    index: int
    name: str
    space: TangentSpace
    residual: float
    sample: Sample | None = None
    x0: Tensor | None = None
    noise: Tensor | None = None

    def latent(self, context: Context, t: int) -> Tensor:
        """Its x_t, shape (C, H, W)."""
        if self.sample is not None:
            return context.latents.of(self.sample, t)
        assert self.x0 is not None
        assert self.noise is not None
        return context.model.schedule.add_noise(self.x0, self.noise, t)


def known_portraits(context: Context, count: int) -> list[Portrait]:
    """Portraits drawn from the model's data, with noise."""
    model, found = context.model, []
    for i in range(count):
        generator = torch.Generator().manual_seed(_PORTRAITS + context.cfg.seed + i)
        z = sample_factors(1, generator=generator, varying=context.known_factors)
        x0 = model.encode(render(z, model.picture_size))[0]
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        found.append(Portrait("render", i, f"portrait {i}", tangent_space_of(context, z[0]), 0.0, x0=x0, noise=noise))
    return found


def sampled_portraits(context: Context, samples: Sequence[Sample], residual: float, setting: str) -> list[Portrait]:
    """The portraits nearest to sampled pictures.

    Args:
        context: of a model whose data are known.
        samples: of the run.
        residual: largest distance from the data, as a root mean square over pixel values, of a picture that counts as a
            portrait; others are left out, and the log tells how many.
        setting: that ``residual`` comes from, for the log.
    """
    top, measure = context.model.schedule.first(context.cfg.schedule.steps), context.data_distance
    assert measure is not None
    pictures = [context.decoder(context.latents.of(sample, top)[None], top, sample) for sample in samples]
    fit, found = measure.fit(torch.cat(pictures), starts=_STARTS), []
    for sample, z, distance in zip(samples, fit.z.cpu(), fit.residual.tolist(), strict=True):
        if distance <= residual:
            space = tangent_space_of(context, z)
            found.append(Portrait("path", sample.index, sample.name, space, distance, sample=sample))
    if len(found) < len(samples):
        log.warning(
            "%d of %d pictures lie further than %s=%g from every portrait and are left out",
            len(samples) - len(found),
            len(samples),
            setting,
            residual,
        )
    return found


def tangent_space_of(context: Context, z: Tensor) -> TangentSpace:
    """The tangent space of the model's data at a portrait: in pixels, or in an autoencoder's latents.

    Args:
        context: of a model whose data are known.
        z: factors, shape (14,), in [−1, 1].
    """
    model = context.model
    space = tangents(z.double(), model.picture_size, context.known_factors)
    if isinstance(model, PixelDiffusion):
        return space
    portrait = render(z[None], model.picture_size)[0].to(model.device, model.dtype)
    return space.pushed(lambda picture: model.encode(picture[None])[0], portrait)


def share_of_span(v: Tensor, basis: Tensor) -> float:
    """‖VᵀB‖²_F / rank B: the share of a space that another one holds, in [0, 1].

    Args:
        v: V, orthonormal, shape (d, n).
        basis: B, orthonormal, shape (d, rank).
    """
    return (v.T @ basis).square().sum().item() / basis.shape[1]

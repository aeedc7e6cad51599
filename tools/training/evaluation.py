r"""Quality of an unconditional FactorFaces model, for its card.

- **Factors of samples:** for every factor the Kolmogorov–Smirnov distance sup |F₁ − F₂| between the predicted values on
  DDIM samples and on renders (0: the same distribution, 1: disjoint).
- **Reconstruction:** PSNR of held-out renders after DDIM inversion and sampling, x̂0 unclipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.stats import ks_2samp
from torch import Tensor

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.metrics.attributes import AttributePredictor
from training.diffusion import DiffusionTraining
from training.fashion_mnist import DEBIAN, fashion_mnist

__all__ = ["factor_distances", "held_out", "reconstruction_psnr", "sampled_factors"]

HELD_OUT = 1_000_003
"""Seed of renders that no training saw."""


def sampled_factors(
    model: DiffusionModel, predictor: AttributePredictor, seeds: Sequence[int], *, steps: int = 50
) -> Tensor:
    """Predicted factors of samples drawn as a newcomer would: DDIM from seeded noise, x̂0 clipped.

    Args:
        model: the model.
        predictor: reads the factors.
        seeds: one a sample; a sample does not depend on the others.
        steps: DDIM steps.

    Returns:
        shape (len(seeds), k), in the order of ``predictor.names``.
    """
    return predictor(model.decode(ddim_sample(model, initial_noise(model, list(seeds)), steps=steps, clip=True)))


def factor_distances(
    sampled: Tensor, predictor: AttributePredictor, *, size: int, varying: Sequence[str] | None = None
) -> dict[str, float]:
    """Kolmogorov–Smirnov distance of every predicted factor, samples against as many held-out renders.

    Args:
        sampled: from :func:`sampled_factors`, shape (n, k).
        predictor: the same one.
        size: side of the renders in pixels.
        varying: factors that vary in the model's data; all when None. The others are not compared: between two nearly
            constant values the distance says nothing.

    Returns:
        Factor name → distance in [0, 1].
    """
    factors = sample_factors(len(sampled), generator=torch.Generator().manual_seed(HELD_OUT), varying=varying)
    rendered = torch.cat([predictor(render(z, size)) for z in factors.split(512)])
    pairs = zip(predictor.names, sampled.T.numpy(), rendered.T.numpy(), strict=True)
    return {name: float(ks_2samp(a, b).statistic) for name, a, b in pairs if varying is None or name in varying}


def held_out(cfg: DiffusionTraining, n: int) -> Tensor:
    """``n`` pictures of the settings' data that no training saw, shape (n, C, size, size) in [−1, 1]."""
    if cfg.data == "fashion_mnist":
        return fashion_mnist(cfg.path or DEBIAN, "test")[:n]
    generator = torch.Generator().manual_seed(HELD_OUT)
    return render(sample_factors(n, generator=generator, varying=cfg.varying), cfg.size)


def reconstruction_psnr(model: DiffusionModel, pictures: Tensor, *, steps: int = 100, batch_size: int = 64) -> Tensor:
    """PSNR in dB of each picture after inversion to T and back; pictures (n, C, H, W) span 2 in [−1, 1]."""
    values = []
    for chunk in pictures.split(batch_size):
        x_T = ddim_invert(model, model.encode(chunk), steps=steps)
        back = model.decode(ddim_sample(model, x_T, steps=steps)).cpu()
        mse = (back - chunk).square().mean(dim=(1, 2, 3))
        values.append(20 * math.log10(2) - 10 * mse.log10())
    return torch.cat(values)

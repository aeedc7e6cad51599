r"""Quality of an unconditional FactorFaces model, for its card.

- **Factors of samples:** for every factor the Kolmogorov–Smirnov distance sup |F₁ − F₂| between the predicted values on
  DDIM samples and on renders (0: the same distribution, 1: disjoint).
- **Reconstruction:** PSNR of held-out renders after DDIM inversion and sampling, x̂0 unclipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.stats import ks_2samp
from torch import Tensor

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.models import DiffusionModel
from diffgeo.sampling import ddim_invert, ddim_sample, initial_noise

__all__ = ["factor_distances", "reconstruction_psnr"]

HELD_OUT = 1_000_003
"""Seed of renders that no training saw."""


def factor_distances(
    model: DiffusionModel,
    predictor: AttributePredictor,
    *,
    n: int = 2000,
    steps: int = 50,
    batch_size: int = 100,
    on_batch: Callable[[Tensor], None] = lambda _pictures: None,
) -> dict[str, float]:
    """Kolmogorov–Smirnov distance of every predicted factor, samples against renders.

    Args:
        model: the model, sampled from seeds 0 … n − 1 with x̂0 clipped.
        predictor: reads the factors.
        n: samples, and renders.
        steps: DDIM steps.
        batch_size: samples at once.
        on_batch: given every batch of pictures (B, 3, H, W), to look at or count.

    Returns:
        Factor name → distance in [0, 1].
    """
    size = model.latent_shape[-1]
    sampled = []
    for first in range(0, n, batch_size):
        noise = initial_noise(model, list(range(first, min(first + batch_size, n))))
        pictures = model.decode(ddim_sample(model, noise, steps=steps, clip=True))
        on_batch(pictures)
        sampled.append(predictor(pictures))
    factors = sample_factors(n, generator=torch.Generator().manual_seed(HELD_OUT))
    rendered = torch.cat([predictor(render(z, size)) for z in factors.split(512)])
    ours = torch.cat(sampled)
    pairs = zip(predictor.names, ours.T.numpy(), rendered.T.numpy(), strict=True)
    return {name: float(ks_2samp(a, b).statistic) for name, a, b in pairs}


def reconstruction_psnr(model: DiffusionModel, *, n: int = 64, steps: int = 100, batch_size: int = 64) -> Tensor:
    """PSNR in dB of ``n`` held-out renders after inversion to T and back, shape (n,); pictures span 2 in [−1, 1]."""
    factors = sample_factors(n, generator=torch.Generator().manual_seed(HELD_OUT))
    values = []
    for z in factors.split(batch_size):
        pictures = render(z, model.latent_shape[-1])
        x_T = ddim_invert(model, model.encode(pictures), steps=steps)
        back = model.decode(ddim_sample(model, x_T, steps=steps)).cpu()
        mse = (back - pictures).square().mean(dim=(1, 2, 3))
        values.append(20 * math.log10(2) - 10 * mse.log10())
    return torch.cat(values)

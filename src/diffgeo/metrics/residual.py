r"""How well a diffusion model knows a picture: the residual of denoising it.

    r(x0) = E_ε ‖ε_θ(a_t x0 + b_t ε, t) − ε‖ / √d

at one small t, over a few noises that all pictures share. The loss that the network was trained on is the mean of r²
over its data; a picture off the data has a larger residual than one on it. No factors and no further network are
needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffgeo.diffusion.models import DiffusionModel
from diffgeo.errors import ShapeError

__all__ = ["AT", "NOISES", "ResidualChange", "denoising_residual"]

AT, NOISES = 0.1, 4
"""Fraction of T, and number of noises."""


@torch.no_grad()
def denoising_residual(
    model: DiffusionModel, pictures: Tensor, *, t_frac: float = AT, noises: int = NOISES, seed: int = 0
) -> Tensor:
    """Residual r of the module's docstring.

    Args:
        model: judges; its own conditioning is used, without guidance.
        pictures: shape (B, 3, H, W), in [−1, 1].
        t_frac: where, as a fraction of T.
        noises: over which the residual is averaged.
        seed: of the noises.

    Returns:
        shape (B,), 0 or more, on the CPU; 1 if the network predicted no noise at all.

    Raises:
        ShapeError: pictures are not (B, 3, H, W), or of another size than the model's.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}", "expected (B, 3, H, W)")
    judge, t = model.editor, round(t_frac * model.schedule.T)
    x0 = model.encode(pictures)
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(len(x0), dtype=torch.float64)
    for _ in range(noises):
        noise = torch.randn(x0.shape[1:], generator=generator).to(x0)
        x = model.schedule.add_noise(x0, noise, t)
        found += (judge.predict_noise(x, t) - noise).flatten(1).norm(dim=1).double().cpu()
    return found / (noises * math.sqrt(x0[0].numel()))


class ResidualChange:
    """By how much an edit raises the denoising residual; a :class:`diffgeo.metrics.pictures.PictureMetric`.

    What stands in for the distance from the data where these are not known.

    Args:
        model: judges.
        at_once: pictures that are judged at once, 1 or more; all if None.
    """

    name = "residual_change"

    def __init__(self, model: DiffusionModel, *, at_once: int | None = None) -> None:
        self.model, self.at_once = model, at_once

    def __call__(self, edited: Tensor, original: Tensor) -> Tensor:
        """Residual of every edited picture less that of the original.

        Args:
            edited: pictures, shape (B, 3, H, W), in [−1, 1].
            original: shape (1, 3, H, W), likewise.

        Returns:
            Shape (B,), in units of the noise, on the CPU.

        Raises:
            ShapeError: as :func:`denoising_residual`.
        """
        pictures = torch.cat([original, edited])
        batches = pictures.split(self.at_once or len(pictures))
        residuals = torch.cat([denoising_residual(self.model, batch) for batch in batches])
        return residuals[1:] - residuals[0]

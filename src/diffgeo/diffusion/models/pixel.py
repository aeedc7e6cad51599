"""Unconditional models on pixels: DDPM and DDIM pipelines (CelebA-HQ, LSUN, FactorFaces)."""

from __future__ import annotations

from torch import Tensor, nn

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.latent import latent_shape
from diffgeo.diffusion.noise_schedule import NoiseProcess
from diffgeo.errors import ShapeError

__all__ = ["PixelDiffusion"]


class PixelDiffusion(DiffusionModel):
    """x is the noisy picture itself; the codec is the identity (decoding clips to [−1, 1]).

    Args:
        unet: a diffusers ``UNet2DModel``.
        schedule: its noise process.
        name: what the user asked for.
        source: where the weights came from.
        shape: (C, H, W) of x; that of the U-Net's config if None.

    Raises:
        ModelError: the U-Net's config lacks a sample size.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseProcess,
        *,
        name: str,
        source: str,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        shape = latent_shape(getattr(unet, "config", {}), source) if shape is None else shape
        super().__init__(unet, schedule, shape, name=name, source=source)

    def forward(self, x: Tensor, t: int) -> Tensor:
        """See the base class."""
        output: Tensor = self.unet(x, self.schedule.network_time(t), return_dict=False)[0]
        return output

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) clipped to [−1, 1]; a single channel is repeated."""
        images = x0.clamp(-1, 1)
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images

    def encode(self, images: Tensor) -> Tensor:
        """x0 from pictures of exactly the model's size.

        Raises:
            ShapeError: the pictures have another size.
        """
        c, h, w = self.latent_shape
        if images.shape[-2:] != (h, w):
            raise ShapeError(f"pictures are {tuple(images.shape[-2:])}", f"{self.name} needs ({h}, {w})")
        grey = images.mean(dim=1, keepdim=True) if c == 1 else images
        return grey.to(self.device, self.dtype)

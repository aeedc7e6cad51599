"""Pretrained diffusion models behind one small interface."""

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.latent import LatentDiffusion
from diffgeo.diffusion.models.loading import load_model, resolve_device
from diffgeo.diffusion.models.locating import SHIPPED, shipped_folder, verify_digests
from diffgeo.diffusion.models.pixel import PixelDiffusion

__all__ = [
    "SHIPPED",
    "DiffusionModel",
    "LatentDiffusion",
    "PixelDiffusion",
    "load_model",
    "resolve_device",
    "shipped_folder",
    "verify_digests",
]

"""Pretrained diffusion models behind one small interface."""

from diffgeo.models.base import DiffusionModel
from diffgeo.models.latent import LatentDiffusion
from diffgeo.models.loading import SHIPPED, load_model, resolve_device, shipped_folder, verify_digests
from diffgeo.models.pixel import PixelDiffusion

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

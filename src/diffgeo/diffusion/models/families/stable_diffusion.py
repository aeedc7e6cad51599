"""Pipelines of Stable Diffusion 1 and 2: a U-Net on latents, under a prompt."""

from __future__ import annotations

from collections.abc import Mapping

from diffgeo.diffusion.models.autoencoder import check_autoencoder
from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import CLIP_TOKENIZERS, Config, Family, Loaded, Request, text_to_image
from diffgeo.diffusion.models.inputs import check_network
from diffgeo.diffusion.models.latent import LatentDiffusion
from diffgeo.diffusion.models.text import PromptEncoder

__all__ = ["FAMILY"]


def _check(configs: Mapping[str, Config], where: str) -> None:
    check_network(configs["unet"], where, text=True)
    check_autoencoder(configs["vae"], configs["unet"]["in_channels"], where)


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    absent = ("safety_checker", "feature_extractor")
    pipeline = loaded.assembled("StableDiffusionPipeline", absent, requires_safety_checker=False)
    return text_to_image(LatentDiffusion, PromptEncoder, pipeline, loaded, request)


FAMILY = Family(
    pipelines=("StableDiffusionPipeline",),
    parts={
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": CLIP_TOKENIZERS,
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
    },
    check=_check,
    build=_build,
)

"""Pipelines of SDXL: a U-Net told two text encoders' tokens, a pooled text, and the size of the picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diffgeo.diffusion.models.autoencoder import check_autoencoder
from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import CLIP_TOKENIZERS, Config, Family, Loaded, Request, text_to_image
from diffgeo.diffusion.models.inputs import check_network
from diffgeo.diffusion.models.latent import Condition, LatentDiffusion
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.errors import ModelError

__all__ = ["FAMILY", "StableDiffusionXL", "StableDiffusionXLPrompts"]


class StableDiffusionXLPrompts(PromptEncoder):
    """Embeddings of prompts as ``StableDiffusionXLPipeline`` makes them: ``text`` and ``pooled``.

    No negative prompt is embedded as zeros if the pipeline says so (``force_zeros_for_empty_prompt``), as SDXL's does.
    """

    def _encode(self, text: str) -> Condition:
        found = self._pipeline.encode_prompt(text, device=self._device, do_classifier_free_guidance=False)
        return {"text": found[0], "pooled": found[2]}

    def _encode_negative(self, text: str) -> Condition:
        found = self._encode(text)
        if text == "" and self._pipeline.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(one) for name, one in found.items()}
        return found


class StableDiffusionXL(LatentDiffusion):
    """:class:`LatentDiffusion` of SDXL: sizes are those of the picture, uncropped."""

    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        sizes = x.new_tensor([*self.picture_shape, 0, 0, *self.picture_shape]).expand(len(x), -1)
        added = {"text_embeds": told["pooled"], "time_ids": sizes}
        time = self.schedule.network_time(t)
        output: Tensor = self.unet(
            x, time, encoder_hidden_states=told["text"], added_cond_kwargs=added, return_dict=False
        )[0]
        return output


def _check(configs: Mapping[str, Config], where: str) -> None:
    config = configs["unet"]
    if config.get("addition_embed_type") != "text_time":
        raise ModelError(
            f"{where}: the U-Net has addition_embed_type={config.get('addition_embed_type')!r}, that of SDXL has "
            "'text_time'",
            "copy the config of its weights",
        )
    check_network(config, where, text=True, told=("addition_embed_type",))
    check_autoencoder(configs["vae"], config["in_channels"], where, statistics=True)


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    zeros = bool(loaded.index.get("force_zeros_for_empty_prompt", True))
    pipeline = loaded.assembled("StableDiffusionXLPipeline", add_watermarker=False, force_zeros_for_empty_prompt=zeros)
    return text_to_image(StableDiffusionXL, StableDiffusionXLPrompts, pipeline, loaded, request)


FAMILY = Family(
    pipelines=("StableDiffusionXLPipeline",),
    parts={
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "tokenizer": CLIP_TOKENIZERS,
        "tokenizer_2": CLIP_TOKENIZERS,
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
    },
    check=_check,
    build=_build,
)

"""Pipelines of Flux: a transformer of joint and of single blocks on rectified flow, its latents packed into tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffgeo.diffusion.models.autoencoder import check_autoencoder
from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import (
    CLIP_TOKENIZERS,
    T5_TOKENIZERS,
    Config,
    Family,
    Loaded,
    Request,
    text_to_image,
)
from diffgeo.diffusion.models.latent import Condition, LatentDiffusion
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.errors import ModelError

log = logging.getLogger(__name__)

__all__ = ["FAMILY", "Flux", "FluxPrompts"]

_PACKED = 2
"""Side of x that a token covers: 2 × 2 places of the latent are packed into one."""
_SIZE = 128
"""Side of the latents of Flux, which its config does not say."""


class FluxPrompts(PromptEncoder):
    """Embeddings of prompts as ``FluxPipeline`` makes them: T5's tokens as ``text``, CLIP's ``pooled`` text."""

    length = 512

    def _encode(self, text: str) -> Condition:
        states, pooled, _ = self._pipeline.encode_prompt(text, device=self._device, max_sequence_length=self.length)
        return {"text": states, "pooled": pooled}


class Flux(LatentDiffusion):
    """:class:`LatentDiffusion` whose network is a ``FluxTransformer2DModel``; x is the latent before it is packed.

    ``guidance`` is true classifier-free guidance, of two evaluations; ``embedded_guidance`` is an input of a distilled
    network, in f as in sampling.

    Args:
        args: as for :class:`LatentDiffusion`.
        embedded_guidance: of a network with ``guidance_embeds``; without effect on another.
        more: as for :class:`LatentDiffusion`.
    """

    def __init__(self, *args: Any, embedded_guidance: float = 3.5, **more: Any) -> None:
        super().__init__(*args, **more)
        self.embedded_guidance = embedded_guidance

    @property
    def patch(self) -> int:
        """See the base class."""
        return _PACKED

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class."""
        return super().conditioning | ({"embedded_guidance": self.embedded_guidance} if self._distilled else {})

    @property
    def fingerprint(self) -> dict[str, object]:
        """See the base class."""
        return super().fingerprint | ({"embedded_guidance": self.embedded_guidance} if self._distilled else {})

    @property
    def _distilled(self) -> bool:
        config: Any = self.unet.config
        return bool(config.guidance_embeds)

    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        count, channels, height, width = x.shape
        rows, columns = height // _PACKED, width // _PACKED
        tokens = x.reshape(count, channels, rows, _PACKED, columns, _PACKED).permute(0, 2, 4, 1, 3, 5)
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(x)
        sigma = x.new_full((count,), self.schedule.network_time(t) / 1000)  # the network itself multiplies by 1000
        output: Tensor = self.unet(
            hidden_states=tokens.flatten(3).flatten(1, 2),
            encoder_hidden_states=told["text"],
            pooled_projections=told["pooled"],
            timestep=sigma,
            img_ids=torch.cat([torch.zeros_like(places[:, :1]), places], dim=1),
            txt_ids=places.new_zeros(told["text"].shape[1], 3),
            guidance=x.new_full((count,), self.embedded_guidance) if self._distilled else None,
            return_dict=False,
        )[0]
        unpacked = output.reshape(count, rows, columns, channels, _PACKED, _PACKED).permute(0, 3, 1, 4, 2, 5)
        return unpacked.reshape(x.shape)

    @staticmethod
    def _text_width(config: Mapping[str, Any]) -> int | None:
        return config.get("joint_attention_dim")


def _check(configs: Mapping[str, Config], where: str) -> None:
    config = configs["transformer"]
    taken, given = config["in_channels"], config.get("out_channels") or config["in_channels"]
    if taken != given or taken % _PACKED**2 or config["patch_size"] != 1:
        raise ModelError(
            f"{where}: the transformer takes {taken} channels and gives {given}, at patch_size={config['patch_size']}",
            "that of text-to-image takes as many as it gives, 4 to a channel of the latent, choose such a model",
        )
    check_autoencoder(configs["vae"], taken // _PACKED**2, where)


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    pipeline = loaded.assembled("FluxPipeline")
    if loaded.parts["transformer"].config.guidance_embeds and request.guidance > 1:
        log.warning(
            "%s is distilled: model.guidance=%g is true CFG beside its own guidance (model.embedded_guidance), and "
            "takes twice as long; say model.guidance=1 for none",
            loaded.where,
            request.guidance,
        )
    channels = loaded.parts["transformer"].config.in_channels // _PACKED**2
    layout = {"in_channels": channels, "sample_size": _SIZE, "patch_size": _PACKED}
    kind = partial(Flux, embedded_guidance=request.embedded_guidance)
    return text_to_image(kind, FluxPrompts, pipeline, loaded, request, layout=layout)


FAMILY = Family(
    pipelines=("FluxPipeline",),
    parts={
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("T5EncoderModel",),
        "tokenizer": CLIP_TOKENIZERS,
        "tokenizer_2": T5_TOKENIZERS,
        "transformer": ("FluxTransformer2DModel",),
        "vae": ("AutoencoderKL",),
    },
    check=_check,
    build=_build,
)

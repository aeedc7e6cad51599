"""Pipelines of Stable Diffusion 3's layout: a joint transformer on rectified flow, with two CLIP text models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import (
    CLIP_TOKENIZERS,
    T5_TOKENIZERS,
    Family,
    Loaded,
    Request,
    check_transformer,
    text_to_image,
)
from diffgeo.diffusion.models.latent import Condition, LatentDiffusion
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.errors import ConfigError

__all__ = ["FAMILY", "T5_TOKENS", "StableDiffusion3", "StableDiffusion3Prompts", "ZeroTokens"]

T5_TOKENS = 256
"""Tokens of T5, or zero tokens in their place, that a ``StableDiffusion3Pipeline`` has unless told."""


class ZeroTokens:
    """Joint attention in which the last text token stands for ``count`` equal ones (diffusers' processor protocol).

    Equal tokens without a position stay equal in every block, so n of them are computed as one whose key has log n
    added to its scores. Without T5 those are the zero tokens in its place.

    Args:
        count: n, at least 1.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count

    @classmethod
    def put_into(cls, transformer: Any, count: int = 1) -> ZeroTokens:
        """Make it the processor of every joint attention of an ``SD3Transformer2DModel``."""
        processor = cls(count)
        for block in transformer.transformer_blocks:
            block.attn.set_processor(processor)
        return processor

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> tuple[Tensor, Tensor]:
        """Attention output of the image tokens and of the text tokens, shapes as the two inputs."""

        def heads(x: Tensor, norm: nn.Module | None) -> Tensor:
            x = x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            return x if norm is None else norm(x)

        image, text = hidden_states, encoder_hidden_states
        query = torch.cat([heads(attn.to_q(image), attn.norm_q), heads(attn.add_q_proj(text), attn.norm_added_q)], 2)
        key = torch.cat([heads(attn.to_k(image), attn.norm_k), heads(attn.add_k_proj(text), attn.norm_added_k)], 2)
        value = torch.cat([heads(attn.to_v(image), None), heads(attn.add_v_proj(text), None)], 2)
        # new_zeros would be of a vmap, which the derivative of an attention refuses for its mask
        scores = torch.zeros(1, 1, 1, key.shape[2], dtype=query.dtype, device=query.device)
        scores[..., -1] = math.log(self.count)
        joint = F.scaled_dot_product_attention(query, key, value, attn_mask=scores).transpose(1, 2).flatten(2)
        image, text = joint[:, : image.shape[1]], joint[:, image.shape[1] :]
        return attn.to_out[0](image), text if attn.context_pre_only else attn.to_add_out(text)


class StableDiffusion3Prompts(PromptEncoder):
    """Embeddings of prompts as ``StableDiffusion3Pipeline`` makes them: ``text`` and ``pooled``.

    Without T5, one zero token stands for all, which :class:`ZeroTokens` makes exact.
    """

    def _encode(self, text: str) -> Condition:
        states, _, pooled, _ = self._pipeline.encode_prompt(
            text,
            None,
            None,
            device=self._device,
            do_classifier_free_guidance=False,
            max_sequence_length=1 if self._pipeline.text_encoder_3 is None else T5_TOKENS,
        )
        return {"text": states, "pooled": pooled}


class StableDiffusion3(LatentDiffusion):
    """:class:`LatentDiffusion` whose network is an ``SD3Transformer2DModel``; ``unet`` is that transformer."""

    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        output: Tensor = self.unet(x, told["text"], told["pooled"], self._times(x, t), return_dict=False)[0]
        return output

    @staticmethod
    def _text_width(config: Mapping[str, Any]) -> int | None:
        return config.get("joint_attention_dim")


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    pipeline = loaded.assembled("StableDiffusion3Pipeline", ("text_encoder_3", "tokenizer_3"))
    config = pipeline.transformer.config
    most = config.pos_embed_max_size * config.patch_size * pipeline.vae_scale_factor
    if request.size is not None and max(request.size) > most:
        raise ConfigError(
            f"model.size={list(request.size)} is larger than the positions that {request.name} knows",
            f"allowed: at most {most} pixels a side",
        )
    if pipeline.text_encoder_3 is None:
        ZeroTokens.put_into(pipeline.transformer, T5_TOKENS)
    return text_to_image(StableDiffusion3, StableDiffusion3Prompts, pipeline, loaded, request)


FAMILY = Family(
    pipelines=("StableDiffusion3Pipeline",),
    parts={
        "text_encoder": ("CLIPTextModelWithProjection",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "tokenizer": CLIP_TOKENIZERS,
        "tokenizer_2": CLIP_TOKENIZERS,
        "transformer": ("SD3Transformer2DModel",),
        "vae": ("AutoencoderKL",),
    },
    optional={"text_encoder_3": ("T5EncoderModel",), "tokenizer_3": T5_TOKENIZERS},
    check=check_transformer,
    build=_build,
)

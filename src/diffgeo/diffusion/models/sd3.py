"""Pipelines of Stable Diffusion 3's layout: a joint transformer on rectified flow, with two CLIP text models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffgeo.diffusion.models.latent import LatentDiffusion
from diffgeo.diffusion.models.text import PromptEncoder

__all__ = ["T5_TOKENS", "StableDiffusion3", "StableDiffusion3Prompts", "ZeroTokens"]

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
    """Embeddings of prompts as ``StableDiffusion3Pipeline`` makes them, the pooled text as one more token at the end.

    Without T5, one zero token stands for all, which :class:`ZeroTokens` makes exact.
    """

    def __init__(self, pipeline: Any, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(pipeline, device, dtype)
        for encoder in (pipeline.text_encoder_2, pipeline.text_encoder_3):
            if encoder is not None:
                nn.Module.to(encoder, device=device, dtype=torch.float32)

    @property
    def parts(self) -> dict[str, object]:
        """Text encoders and tokenizers."""
        names = (f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in ("", "_2", "_3"))
        found = {name: getattr(self._pipeline, name) for name in names}
        return {name: part for name, part in found.items() if part is not None}

    def _encode(self, text: str) -> Tensor:
        states, _, pooled, _ = self._pipeline.encode_prompt(
            text,
            None,
            None,
            device=self._device,
            do_classifier_free_guidance=False,
            max_sequence_length=1 if self._pipeline.text_encoder_3 is None else T5_TOKENS,
        )
        width = max(states.shape[-1], pooled.shape[-1])
        both = (F.pad(part, (0, width - part.shape[-1])) for part in (states, pooled[:, None]))
        return torch.cat(list(both), dim=1)


class StableDiffusion3(LatentDiffusion):
    """:class:`LatentDiffusion` whose network is an ``SD3Transformer2DModel``; ``unet`` is that transformer."""

    @property
    def text_tokens(self) -> int:
        """See the base class; the last of the embedded prompt is the pooled text."""
        return super().text_tokens - 1

    def _run(self, x: Tensor, t: int, prompts: Tensor) -> Tensor:
        config: Any = self.unet.config
        states, pooled = prompts[:, :-1, : config.joint_attention_dim], prompts[:, -1, : config.pooled_projection_dim]
        time = x.new_full((len(x),), self.schedule.network_time(t))
        output: Tensor = self.unet(x, states, pooled, time, return_dict=False)[0]
        return output

    @staticmethod
    def _text_width(config: Mapping[str, Any]) -> int | None:
        return int(max(config["joint_attention_dim"], config["pooled_projection_dim"]))

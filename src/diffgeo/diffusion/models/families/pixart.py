"""Pipelines of PixArt-α and PixArt-Σ: a transformer that attends to the tokens of T5."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import (
    T5_TOKENIZERS,
    Family,
    Loaded,
    Request,
    check_transformer,
    text_to_image,
)
from diffgeo.diffusion.models.latent import CaptionedLatents, Condition
from diffgeo.diffusion.models.text import PromptEncoder

__all__ = ["FAMILY", "PixArt", "PixArtPrompts"]

_LENGTHS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
"""Tokens of a prompt, by pipeline."""


class PixArtPrompts(PromptEncoder):
    """Embeddings of prompts as PixArt's pipelines make them: ``text``, and the ``mask`` of its tokens."""

    @property
    def length(self) -> int:
        """See the base class."""
        return _LENGTHS[type(self._pipeline).__name__]

    def _encode(self, text: str) -> Condition:
        states, mask, _, _ = self._pipeline.encode_prompt(
            text, do_classifier_free_guidance=False, device=self._device, max_sequence_length=self.length
        )
        return {"text": states, "mask": mask}


class PixArt(CaptionedLatents):
    """:class:`CaptionedLatents` whose network is a ``PixArtTransformer2DModel``."""

    def _added(self, x: Tensor) -> dict[str, Any]:
        network: Any = self.unet
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if network.use_additional_conditions:  # of PixArt-α at 1024 pixels
            height, width = self.picture_shape
            added = {
                "resolution": x.new_tensor([height, width]).expand(len(x), -1),
                "aspect_ratio": x.new_tensor([height / width]).expand(len(x), -1),
            }
        return {"added_cond_kwargs": added}


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    pipeline = loaded.assembled(loaded.index["_class_name"])
    return text_to_image(PixArt, PixArtPrompts, pipeline, loaded, request)


FAMILY = Family(
    pipelines=tuple(_LENGTHS),
    parts={
        "text_encoder": ("T5EncoderModel",),
        "tokenizer": T5_TOKENIZERS,
        "transformer": ("PixArtTransformer2DModel",),
        "vae": ("AutoencoderKL",),
    },
    check=check_transformer,
    build=_build,
    former={"Transformer2DModel": "PixArtTransformer2DModel"},
)

"""Pipelines of Sana: a transformer of linear attention on a deep-compression autoencoder, told a prompt by Gemma."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import Family, Loaded, Request, check_transformer, text_to_image
from diffgeo.diffusion.models.latent import CaptionedLatents, Condition
from diffgeo.diffusion.models.text import PromptEncoder

__all__ = ["FAMILY", "Sana", "SanaPrompts"]


class SanaPrompts(PromptEncoder):
    """Embeddings of prompts as ``SanaPipeline`` makes them: ``text``, and the ``mask`` of its tokens.

    A prompt is preceded by the pipeline's instruction to enhance it, a negative prompt is not.
    """

    length = 300

    def _encode(self, text: str) -> Condition:
        instruction = inspect.signature(type(self._pipeline).__call__).parameters["complex_human_instruction"].default
        return self._with_instruction(text, instruction)

    def _encode_negative(self, text: str) -> Condition:
        return self._with_instruction(text, None)

    def _with_instruction(self, text: str, instruction: list[str] | None) -> Condition:
        states, mask, _, _ = self._pipeline.encode_prompt(
            text, False, device=self._device, complex_human_instruction=instruction, max_sequence_length=self.length
        )
        # the lengths of the last call would stay in the tokenizer, and in the model's digest
        words = self._pipeline.tokenizer.backend_tokenizer
        words.no_padding()
        words.no_truncation()
        return {"text": states, "mask": mask}


class Sana(CaptionedLatents):
    """:class:`CaptionedLatents` whose network is a ``SanaTransformer2DModel``."""

    def _times(self, x: Tensor, t: int) -> Tensor:
        config: Any = self.unet.config
        scaled: Tensor = super()._times(x, t) * config.timestep_scale
        return scaled


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    return text_to_image(Sana, SanaPrompts, loaded.assembled("SanaPipeline"), loaded, request)


FAMILY = Family(
    pipelines=("SanaPipeline",),
    parts={
        "text_encoder": ("Gemma2Model",),
        "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
        "transformer": ("SanaTransformer2DModel",),
        "vae": ("AutoencoderDC",),
    },
    check=check_transformer,
    build=_build,
)

"""Prompts as a U-Net takes them: the tokenizer and text encoder of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffgeo.errors import ModelError

__all__ = ["PromptEncoder"]

log = logging.getLogger(__name__)


class PromptEncoder:
    """Embeddings of prompts, as the pipeline itself makes them.

    Args:
        pipeline: a diffusers ``StableDiffusionPipeline``.
        device: where embeddings go, and where the encoder runs, in float32.
        dtype: of embeddings.

    Raises:
        ModelError: tokenizer and text encoder are of different models.
    """

    def __init__(self, pipeline: Any, device: torch.device, dtype: torch.dtype) -> None:
        known = pipeline.text_encoder.config.vocab_size
        if not 2 < len(pipeline.tokenizer) <= known:
            raise ModelError(
                f"the tokenizer knows {len(pipeline.tokenizer)} tokens, the text encoder {known}",
                "they are of different models",
            )
        self._pipeline, self._device, self._dtype = pipeline, device, dtype
        self._known: dict[str, Tensor] = {}
        nn.Module.to(pipeline.text_encoder, device=device, dtype=torch.float32)

    @property
    def parts(self) -> dict[str, object]:
        """Text encoder and tokenizer."""
        return {"text_encoder": self._pipeline.text_encoder, "tokenizer": self._pipeline.tokenizer}

    @property
    def length(self) -> int:
        """Tokens that a prompt may have, its start and end included."""
        return int(self._pipeline.text_encoder.config.max_position_embeddings)

    def __call__(self, text: str) -> Tensor:
        """What cross-attention sees, shape (1, L, e). A text that is too long is cut; a warning names what is lost."""
        if text not in self._known:
            self._known[text] = self._embed(text)
        return self._known[text]

    @torch.no_grad()
    def _embed(self, text: str) -> Tensor:
        tokenizer = self._pipeline.tokenizer
        ids = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(ids) > self.length:
            cut = tokenizer.decode(ids[self.length - 1 : -1])
            log.warning("the prompt has %d tokens of %d that fit; cut off: %r", len(ids), self.length, cut)
        with _quiet_diffusers():
            found = self._encode(text)
        return found.to(self._device, self._dtype)

    def _encode(self, text: str) -> Tensor:
        found: Tensor = self._pipeline.encode_prompt(text, self._device, 1, do_classifier_free_guidance=False)[0]
        return found


@contextmanager
def _quiet_diffusers() -> Iterator[None]:
    """Leave out what diffusers says of prompts that are too long: it was said."""
    from diffusers.utils import logging as diffusers_logging

    level = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(level)

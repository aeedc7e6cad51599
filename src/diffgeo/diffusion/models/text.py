"""Prompts as a network takes them: the tokenizers and text encoders of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffgeo.diffusion.models.latent import Condition
from diffgeo.errors import ModelError

__all__ = ["PromptEncoder"]

log = logging.getLogger(__name__)


class PromptEncoder:
    """Embeddings of prompts, as the pipeline itself makes them.

    Args:
        pipeline: a diffusers pipeline with tokenizers and text encoders.
        device: where embeddings go, and where the encoder runs, in float32.
        dtype: of embeddings.

    Raises:
        ModelError: tokenizer and text encoder are of different models.
    """

    def __init__(self, pipeline: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._pipeline, self._device, self._dtype = pipeline, device, dtype
        self._known: dict[tuple[str, bool], Condition] = {}
        for number in ("", "_2", "_3"):
            encoder: Any = getattr(pipeline, f"text_encoder{number}", None)
            tokenizer: Any = getattr(pipeline, f"tokenizer{number}", None)
            if encoder is None:
                continue
            known = encoder.config.vocab_size
            if hasattr(tokenizer, "__len__") and not 2 < len(tokenizer) <= known:
                raise ModelError(
                    f"the tokenizer{number} knows {len(tokenizer)} tokens, the text encoder {known}",
                    "they are of different models",
                )
            nn.Module.to(encoder, device=device, dtype=torch.float32)

    @property
    def parts(self) -> dict[str, object]:
        """Text encoders and tokenizers."""
        names = [f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")]
        found = {name: getattr(self._pipeline, name, None) for name in names}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def length(self) -> int:
        """Tokens that a prompt may have, its start and end included."""
        return int(self._pipeline.text_encoder.config.max_position_embeddings)

    def __call__(self, text: str) -> Condition:
        """What the network is told of a prompt: ``text`` (1, L, e) for cross-attention, and what its family has beside.

        A text that is too long is cut; a warning names what is lost.
        """
        return self._embedded(text, negative=False)

    def negative(self, text: str) -> Condition:
        """The same of a negative prompt; empty is none."""
        return self._embedded(text, negative=True)

    @torch.no_grad()
    def _embedded(self, text: str, *, negative: bool) -> Condition:
        if (text, negative) not in self._known:
            self._warn_of_cut(text)
            with _quiet_diffusers():
                found = self._encode_negative(text) if negative else self._encode(text)
            self._known[text, negative] = {name: self._placed(one) for name, one in found.items()}
        return self._known[text, negative]

    def _placed(self, one: Tensor) -> Tensor:
        return one.to(self._device, self._dtype if one.is_floating_point() else one.dtype)

    def _warn_of_cut(self, text: str) -> None:
        tokenizer = self._pipeline.tokenizer
        ids = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(ids) > self.length:
            cut = tokenizer.decode(ids[self.length - 1 : -1])
            log.warning("the prompt has %d tokens of %d that fit; cut off: %r", len(ids), self.length, cut)

    def _encode(self, text: str) -> Condition:
        """What the pipeline makes of a prompt."""
        found: Tensor = self._pipeline.encode_prompt(text, self._device, 1, do_classifier_free_guidance=False)[0]
        return {"text": found}

    def _encode_negative(self, text: str) -> Condition:
        return self._encode(text)


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

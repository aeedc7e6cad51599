r"""CLIP as an attribute predictor: zero-shot, from pairs of prompts (Radford et al. 2021).

With unit embeddings E_I of a picture and E_T of the two prompts of an attribute ("a smiling face", "a neutral face"),
the score is 2 p − 1 of the softmax over the pair, tanh(½ τ ⟨E_I, E_T⁺ − E_T⁻⟩), τ CLIP's learnt scale. The same
embeddings give the directional similarity cos(ΔI, ΔT) of an edit (``metrics.edits.directional_similarity``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diffgeo.errors import ConfigError, ModelError
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.ranges import Rule

__all__ = ["ClipPredictor", "SharesText", "load_clip"]


@runtime_checkable
class SharesText(Protocol):
    """A predictor whose pictures and texts lie in one space, as CLIP's: studies then measure along its texts, too.

    Attributes:
        text_directions: ΔT of every attribute, shape (k, e).
    """

    text_directions: Tensor

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (len(texts), e)."""

    def embed(self, images: Tensor) -> Tensor:
        """Unit rows (B, e), of pictures (B, 3, H, W) in [−1, 1]."""


class ClipPredictor(AttributePredictor):
    """Zero-shot attributes.

    Args:
        model: transformers' ``CLIPModel``.
        tokenizer: its tokenizer.
        prompts: attribute → (prompt if it is there, prompt if it is not).
        mean: of the pictures that CLIP was trained on, by channel, in [0, 1].
        std: likewise.

    Attributes:
        text_directions: ΔT = E_T⁺ − E_T⁻ of every attribute, shape (k, e).

    Raises:
        ConfigError: no prompts, or an attribute without exactly two of them.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Mapping[str, Sequence[str]],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        if not prompts or any(len(pair) != 2 for pair in prompts.values()):
            raise ConfigError(
                "predictor.prompts lacks prompts", "give attributes with two prompts each: there, and not there"
            )
        self.model, self.names = model.eval().requires_grad_(False), tuple(prompts)
        self._tokenizer = tokenizer
        self._device = next(model.parameters()).device
        self._size = int(model.config.vision_config.image_size)
        self._mean = torch.tensor(list(mean), device=self._device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(list(std), device=self._device).reshape(1, 3, 1, 1)
        self._scale = model.logit_scale.exp().item()
        texts = [prompt for pair in prompts.values() for prompt in pair]
        embedded = self.embed_text(texts).unflatten(0, (len(prompts), 2))
        self.text_directions = embedded[:, 0] - embedded[:, 1]

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """E_T, unit rows (len(texts), e); what CLIP's context cannot hold is cut."""
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self._device)
        return _unit(_embedding(self.model.get_text_features(**tokens)))

    def embed(self, images: Tensor) -> Tensor:
        """E_I, unit rows (B, e), of pictures (B, 3, H, W) in [−1, 1]; bicubic to CLIP's size, with gradients."""
        pictures = (images.to(self._device, torch.float32) + 1) / 2
        if pictures.shape[-2:] != (self._size, self._size):
            size = (self._size, self._size)
            pictures = nn.functional.interpolate(pictures, size, mode="bicubic", antialias=True)
        pictures = (pictures.clamp(0, 1) - self._mean) / self._std
        return _unit(_embedding(self.model.get_image_features(pixel_values=pictures)))

    def scores(self, images: Tensor) -> Tensor:
        """See :class:`AttributePredictor`."""
        cosines = self.embed(images) @ self.text_directions.T
        scores: Tensor = (0.5 * self._scale * cosines).tanh()
        return scores


def _pairs(prompts: Mapping[str, Sequence[str]]) -> bool:
    return bool(prompts) and all(len(pair) == 2 for pair in prompts.values())


_ALLOWED = "two prompts per attribute: if it is there, if it is not"


def load_clip(
    path: str,
    prompts: Annotated[dict[str, list[str]], Rule(fits=_pairs, allowed=_ALLOWED)],
    *,
    device: str | torch.device = "cpu",
    local_files_only: bool = False,
) -> ClipPredictor:
    """Load CLIP from a folder or a hub id (safetensors only: nothing in a checkpoint is executed).

    Args:
        path: folder or hub id, ``openai/clip-vit-base-patch32`` for instance.
        prompts: attribute → [prompt if it is there, prompt if it is not].
        device: where to run it.
        local_files_only: never ask the hub.

    Raises:
        ConfigError: transformers is not installed, or prompts are wrong.
        ModelError: no CLIP model there, or a part is missing or damaged.
    """
    try:
        from transformers import CLIPModel, CLIPTokenizer
    except ImportError as error:
        raise ConfigError("predictor=clip needs transformers", "install diffgeo[sd]") from error
    folder = Path(path).expanduser()
    if path.startswith((".", "/", "~")) and not folder.is_dir():
        raise ModelError(f"predictor.path={path} is no folder", "give one that holds a CLIP model, or a hub id")
    where = str(folder) if folder.is_dir() else path
    options: dict[str, bool] = {"local_files_only": local_files_only or folder.is_dir()}
    try:
        model = CLIPModel.from_pretrained(where, use_safetensors=True, **options)
        tokenizer = CLIPTokenizer.from_pretrained(where, **options)
        mean, std = _statistics(where, options)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} gave no CLIP model ({type(error).__name__}: {reason})",
            "predictor.path needs its config, safetensors and tokenizer, in a folder or on the hub",
        ) from error
    return ClipPredictor(model.to(device), tokenizer, prompts, mean=mean, std=std)


def _statistics(where: str, options: dict[str, bool]) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation that the model's pictures are normalised by; OpenAI's where it does not say."""
    from transformers import CLIPImageProcessor
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    try:
        processor = CLIPImageProcessor.from_pretrained(where, **options)
    except OSError:
        return OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
    return processor.image_mean, processor.image_std


def _unit(x: Tensor) -> Tensor:
    return nn.functional.normalize(x, dim=-1)


def _embedding(output: Any) -> Tensor:
    """The projected embedding; newer transformers wrap it."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled

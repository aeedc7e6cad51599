"""Text-to-image models on the latents of an autoencoder: Stable Diffusion and pipelines of its layout."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.diffusion.noise_schedule import NoiseProcess
from diffgeo.errors import ModelError, ShapeError

__all__ = ["LatentDiffusion"]

_DECODED_AT_ONCE = 8


class LatentDiffusion(DiffusionModel):
    r"""x is the autoencoder's latent; the prompt is bound to the object.

    The feature map runs the conditional network. Sampling uses classifier-free guidance (Ho & Salimans 2022),
    ε = ε(x, ∅) + s · (ε(x, prompt) − ε(x, ∅)); scale 1 is the conditional network alone. ``prompted`` and ``guided``
    give the same weights with another prompt or scale.

    Args:
        unet: a diffusers ``UNet2DConditionModel``.
        schedule: its noise process.
        vae: ``AutoencoderKL`` or ``AutoencoderTiny``; its ``scaling_factor`` brings latents to unit variance.
        encode_prompt: text → embedding (1, L, e); a :class:`PromptEncoder`.
        prompt: what it shows.
        negative_prompt: what guidance leads away from.
        edit_prompt: under which directions are looked for and x-space guidance runs (P23b); the prompt if None.
        guidance: s in sampling, at least 1.
        inversion_guidance: s in DDIM inversion, at least 1.
        name: what the user asked for.
        source: where the weights came from.

    Raises:
        ModelError: the U-Net's config lacks a sample size, or the embeddings do not fit it.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseProcess,
        vae: nn.Module,
        encode_prompt: PromptEncoder,
        prompt: str,
        *,
        negative_prompt: str = "",
        edit_prompt: str | None = None,
        guidance: float = 1.0,
        inversion_guidance: float = 1.0,
        name: str,
        source: str,
    ) -> None:
        config: Any = getattr(unet, "config", {})
        size, channels = (config.get(key) for key in ("sample_size", "in_channels"))
        width = self._text_width(config)
        if size is None or channels is None:
            raise ModelError(
                f"{source}: the U-Net's config.json lacks sample_size or in_channels", "add what its authors state"
            )
        conditional, unconditional = encode_prompt(prompt), encode_prompt(negative_prompt)
        if conditional.shape[-1] != width:
            raise ModelError(
                f"{source}: the text encoder gives {conditional.shape[-1]} numbers a token, the network takes {width}",
                "its parts are of different models",
            )
        height, across = (size, size) if isinstance(size, int) else size
        super().__init__(unet, schedule, (channels, height, across), name=name, source=source)
        self.vae: Any = vae.eval().requires_grad_(False)
        self.encode_prompt, self.prompt, self.negative_prompt = encode_prompt, prompt, negative_prompt
        self.edit_prompt = edit_prompt
        self._conditional, self._unconditional = conditional, unconditional
        self.guidance, self.inversion_guidance = guidance, inversion_guidance
        self._config: Any = getattr(vae, "config", {})

    @property
    def picture_shape(self) -> tuple[int, int]:
        """Height and width of its pictures in pixels: those of x times the autoencoder's reduction."""
        reduction = 2 ** (len(self._config.block_out_channels) - 1)
        return self.latent_shape[1] * reduction, self.latent_shape[2] * reduction

    @property
    def text_tokens(self) -> int:
        """See the base class: those of its prompt."""
        return self._conditional.shape[1]

    @property
    def parts(self) -> dict[str, object]:
        """See the base class."""
        return super().parts | {"vae": self.vae} | getattr(self.encode_prompt, "parts", {})

    @property
    def inverter(self) -> LatentDiffusion:
        """See the base class: the same weights with ``inversion_guidance``."""
        return self.guided(self.inversion_guidance)

    @property
    def editor(self) -> LatentDiffusion:
        """See the base class: the conditional network under the edit prompt, as in P23b."""
        return self.prompted(self.prompt if self.edit_prompt is None else self.edit_prompt).guided(1.0)

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class."""
        bound: dict[str, str | float] = {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        if self.edit_prompt is not None:
            bound["edit_prompt"] = self.edit_prompt
        return bound | {"guidance": self.guidance, "inversion_guidance": self.inversion_guidance}

    @property
    def fingerprint(self) -> dict[str, object]:
        """See the base class; with guidance, and what cross-attention sees of the prompts."""
        guided = [] if self.guidance == 1 else [self.guidance, self._unconditional]
        return super().fingerprint | {"prompt": self._conditional, "guidance": guided}

    def guided(self, guidance: float) -> LatentDiffusion:
        """The same model with another scale of guidance; weights are shared."""
        other = copy.copy(self)
        other.guidance = guidance
        return other

    def prompted(self, prompt: str) -> LatentDiffusion:
        """The same model under another prompt, edits included; weights are shared."""
        other = copy.copy(self)
        other.edit_prompt = None
        if prompt != self.prompt:
            other.prompt, other._conditional = prompt, self.encode_prompt(prompt)
        return other

    def forward(self, x: Tensor, t: int) -> Tensor:
        """See the base class; the network under the prompt, without guidance."""
        return self._run(x, t, self._conditional.to(x.dtype).expand(len(x), -1, -1))

    def output(self, x: Tensor, t: int) -> Tensor:
        """See the base class; with guidance."""
        if self.guidance == 1:
            return super().output(x, t)
        both = torch.cat([part.expand(len(x), -1, -1) for part in (self._unconditional, self._conditional)])
        output = self._run(torch.cat([x, x]), t, both)[:, : x.shape[1]]
        without, prompted = output.chunk(2)
        guided: Tensor = without + self.guidance * (prompted - without)
        return guided

    def _run(self, x: Tensor, t: int, prompts: Tensor) -> Tensor:
        """The network at x (B, C, H, W) under embedded prompts (B, L, e)."""
        time = self.schedule.network_time(t)
        output: Tensor = self.unet(x, time, encoder_hidden_states=prompts, return_dict=False)[0]
        return output

    @staticmethod
    def _text_width(config: Mapping[str, Any]) -> int | None:
        """e, the numbers per token that a network of this config takes."""
        return config.get("cross_attention_dim")

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures (B, 3, H', W') clipped to [−1, 1]."""
        scale, shift = self._config.scaling_factor, getattr(self._config, "shift_factor", None) or 0.0
        parts = [self.vae.decode(part / scale + shift).sample for part in x0.split(_DECODED_AT_ONCE)]
        return torch.cat(parts).clamp(-1, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Means of q(z | picture), scaled.

        Raises:
            ShapeError: the pictures have another size than the model's.
        """
        if images.shape[-2:] != self.picture_shape:
            raise ShapeError(f"pictures are {tuple(images.shape[-2:])}", f"{self.name} needs {self.picture_shape}")
        scale, shift = self._config.scaling_factor, getattr(self._config, "shift_factor", None) or 0.0
        parts = images.to(self.device, self.dtype).split(_DECODED_AT_ONCE)
        means = [_latents(self.vae.encode(part)) for part in parts]
        scaled: Tensor = (torch.cat(means) - shift) * scale
        return scaled


def _latents(encoded: Any) -> Tensor:
    """Means of q(z | picture), or, from an autoencoder without a distribution (``AutoencoderTiny``), its latents."""
    found: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return found

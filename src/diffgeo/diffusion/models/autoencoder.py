"""The autoencoder of a latent model: pictures to latents of unit variance, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffgeo.errors import ModelError

__all__ = ["Autoencoder", "check_autoencoder"]

_AT_ONCE = 8


class Autoencoder:
    """A diffusers autoencoder: ``AutoencoderKL``, ``AutoencoderTiny``, ``AutoencoderDC`` or ``VQModel``.

    Args:
        network: its ``scaling_factor``, and ``shift_factor`` or ``latents_mean`` and ``latents_std`` if it has them,
            bring latents to unit variance.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self._config: Any = getattr(network, "config", {})

    @property
    def reduction(self) -> int:
        """How many pixels high and wide a place of the latent is."""
        return _reduction(self._config)

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures (B, 3, H', W') clipped to [−1, 1] from latents (B, C, H, W)."""
        scale, shift = self._scale_and_shift(x0)
        parts = [self.network.decode(part * scale + shift).sample for part in x0.split(_AT_ONCE)]
        return torch.cat(parts).clamp(-1, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, H, W) of pictures (B, 3, H', W'): means of q(z | picture), if there is a distribution."""
        latents = torch.cat([_latents(self.network.encode(part)) for part in images.split(_AT_ONCE)])
        scale, shift = self._scale_and_shift(latents)
        scaled: Tensor = (latents - shift) / scale
        return scaled

    def _scale_and_shift(self, like: Tensor) -> tuple[Any, Any]:
        """What latents of unit variance are multiplied by, and what is added then."""
        mean, deviation = (self._config.get(name) for name in ("latents_mean", "latents_std"))
        factor = self._config.scaling_factor
        if mean is not None and deviation is not None:
            return like.new_tensor(deviation)[:, None, None] / factor, like.new_tensor(mean)[:, None, None]
        return 1 / factor, self._config.get("shift_factor") or 0.0


def _reduction(config: Mapping[str, Any]) -> int:
    blocks = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return int(2 ** (len(blocks) - 1))


def _latents(encoded: Any) -> Tensor:
    """The mode of a distribution, or of an autoencoder without one its latents."""
    if hasattr(encoded, "latent_dist"):
        found: Tensor = encoded.latent_dist.mode()
    else:
        found = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    return found


def check_autoencoder(config: Mapping[str, Any], channels: int, where: str, *, statistics: bool = False) -> None:
    """Whether an autoencoder's latents are those of the network, between pictures of three channels.

    Args:
        config: of a diffusers autoencoder.
        channels: that the network takes.
        where: how messages name it.
        statistics: whether the pipeline scales each latent channel by its own mean and deviation, if it has them.

    Raises:
        ModelError: it has other channels, or scales as the pipeline does not.
    """
    given = config.get("vq_embed_dim") or config.get("latent_channels")
    if given != channels:
        raise ModelError(
            f"{where}: the autoencoder's latents have {given} channels, the network takes {channels}",
            "its parts are of different models, or this is an inpainting or depth model, choose another",
        )
    if (config.get("in_channels", 3), config.get("out_channels", 3)) != (3, 3):
        raise ModelError(f"{where}: the autoencoder is not of RGB pictures (3 channels)", "choose a model of pictures")
    for field in ("latents_mean", "latents_std"):
        if config.get(field) is not None and not statistics:
            raise ModelError(
                f"{where}: the autoencoder has {field}, by which its pipeline does not scale",
                "sample it with its own pipeline in diffusers, or wrap it as docs/extending.md shows",
            )

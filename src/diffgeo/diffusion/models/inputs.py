"""What the U-Net of a pipeline takes and gives, checked at load against what diffgeo passes and expects.

A U-Net is called with (x, t), and with what its family knows beside: a class label, the embedding of a prompt, sizes. A
network whose config asks for more would fail late, or would run without what it was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from diffgeo.errors import ModelError

__all__ = ["REFUSED_INPUTS", "check_finite", "check_network", "check_size"]

_ELSEWHERE = "sample it with its own pipeline in diffusers, or wrap it as docs/extending.md shows"

REFUSED_INPUTS: dict[str, str] = {
    "num_class_embeds": "takes a class label beside x, t and the prompt",
    "class_embed_type": "takes class embeddings beside x and t",
    "addition_embed_type": "takes added conditions (pooled text, sizes, pictures) that its pipeline does not make",
    "encoder_hid_dim": "projects hidden states of another encoder",
    "encoder_hid_dim_type": "projects hidden states of another encoder, as of pictures",
    "time_cond_proj_dim": "takes an embedding of the guidance scale: it is a distilled (consistency) model",
}
"""Fields of a U-Net's config by which it takes more than diffgeo passes, and what that is; refused unless null."""

_LARGEST_SIDE = 8192


def check_network(
    config: Mapping[str, Any], where: str, *, text: bool, latent: bool | None = None, told: Collection[str] = ()
) -> None:
    """Whether a U-Net takes what diffgeo passes and gives what it expects.

    Args:
        config: of a diffusers ``UNet2DModel`` or ``UNet2DConditionModel``.
        where: how messages name it.
        text: whether it is the U-Net of a text-to-image model.
        latent: whether x is a latent, otherwise it is a picture; that of a text-to-image model is if None.
        told: fields of :data:`REFUSED_INPUTS` that are not refused, as its family passes what they ask for.

    Raises:
        ModelError: it lacks its size or channels, takes other inputs, or has channels or a size that cannot work.
    """
    if config.get("sample_size") is None or config.get("in_channels") is None:
        raise ModelError(
            f"{where}: the U-Net's config.json lacks sample_size or in_channels", "copy the config of its weights"
        )
    for field, takes in REFUSED_INPUTS.items():
        if config.get(field) is not None and field not in told:
            raise ModelError(
                f"{where}: the U-Net {takes} ({field}={config[field]!r}), which diffgeo does not pass", f"{_ELSEWHERE}"
            )
    _check_channels(config, where, latent=text if latent is None else latent)
    check_size(config, where)
    _check_divisible(config, where, text=text)
    if not text and config.get("time_embedding_type") == "fourier":
        raise ModelError(
            f"{where}: the U-Net divides by t (time_embedding_type='fourier'), it is of a VE process", f"{_ELSEWHERE}"
        )


def _check_channels(config: Mapping[str, Any], where: str, *, latent: bool) -> None:
    taken, given = config["in_channels"], config.get("out_channels", config["in_channels"])
    if given not in (taken, 2 * taken):
        raise ModelError(
            f"{where}: the U-Net takes {taken} channels and gives {given}",
            "a denoiser gives as many, or twice as many with a learned variance, and this is another kind of model "
            "(inpainting, segmentation): choose one that takes x",
        )
    if not latent and taken not in (1, 3):
        raise ModelError(
            f"{where}: the U-Net works on {taken} channels, pictures have 1 (grey) or 3 (RGB)",
            "choose a model of pictures, or save the whole pipeline with its autoencoder",
        )


def check_size(config: Mapping[str, Any], where: str) -> None:
    """Whether a U-Net's ``sample_size``, if there is one, is a number of pixels or a pair of them.

    Args:
        config: as its ``config.json`` has it.
        where: how messages name it.

    Raises:
        ModelError: it is not.
    """
    size = config.get("sample_size")
    sides: Any = [size, size] if type(size) is int else size
    fine = isinstance(sides, (list, tuple)) and len(sides) == 2 and all(type(n) is int for n in sides)
    if size is not None and (not fine or not all(0 < n <= _LARGEST_SIDE for n in sides)):
        raise ModelError(
            f"{where}: the U-Net's sample_size is {size!r}",
            f"it is 1 to {_LARGEST_SIDE}, or a pair of such numbers: correct unet/config.json",
        )


def _check_divisible(config: Mapping[str, Any], where: str, *, text: bool) -> None:
    size = config["sample_size"]
    sides = [size, size] if isinstance(size, int) else size
    factor = 2 ** (len(config.get("down_block_types", ("",))) - 1)
    if not text and any(n % factor for n in sides):  # UNet2DConditionModel passes sizes on to its upsamplers
        raise ModelError(
            f"{where}: the U-Net halves its input {factor.bit_length() - 1} times, so its sample_size must be "
            f"divisible by {factor}, and is {size!r}",
            "correct unet/config.json",
        )


def check_finite(part: str, network: nn.Module, where: str) -> None:
    """Whether a network's weights are numbers.

    Args:
        part: what it is called in the pipeline.
        network: with its weights.
        where: how messages name the model.

    Raises:
        ModelError: a tensor holds NaN or infinity; the message names it.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{where}: {count} of {tensor.numel()} weights of {part}/{name} are NaN or infinite",
                "the file is damaged or the training diverged, copy or train it again",
            )

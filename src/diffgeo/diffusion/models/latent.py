"""Models on the latents of an autoencoder, with what the network is told bound: Stable Diffusion and its relatives."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffgeo.diffusion.models.autoencoder import Autoencoder
from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.noise_schedule import NoiseProcess
from diffgeo.errors import ConfigError, ModelError, ShapeError

__all__ = ["CaptionedLatents", "Condition", "ConditionedLatents", "LatentDiffusion", "latent_shape"]

Condition = Mapping[str, Tensor]
"""What a network is told beside x and its time, by name, each of shape (1, …): ``text``, ``pooled``, ``label``, …"""


class ConditionedLatents(DiffusionModel):
    r"""x is the autoencoder's latent; what the network is told is bound to the object.

    The feature map runs the conditional network. Sampling uses classifier-free guidance (Ho & Salimans 2022),
    ε = ε(x, ∅) + s · (ε(x, c) − ε(x, ∅)); scale 1 is the conditional network alone.

    Args:
        unet: the network.
        schedule: its noise process.
        vae: its autoencoder.
        shape: (C, H, W) of x.
        conditional: c.
        unconditional: ∅.
        guidance: s in sampling, at least 1.
        inversion_guidance: s in DDIM inversion, at least 1.
        name: what the user asked for.
        source: where the weights came from.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseProcess,
        vae: nn.Module,
        shape: tuple[int, int, int],
        conditional: Condition,
        unconditional: Condition,
        *,
        guidance: float = 1.0,
        inversion_guidance: float = 1.0,
        name: str,
        source: str,
    ) -> None:
        super().__init__(unet, schedule, shape, name=name, source=source)
        self.vae: Any = vae
        self._autoencoder = Autoencoder(vae)
        self._conditional, self._unconditional = conditional, unconditional
        self.guidance, self.inversion_guidance = guidance, inversion_guidance

    @abstractmethod
    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        """The network at x (B, C, H, W), told tensors of (B, …)."""

    @property
    def picture_shape(self) -> tuple[int, int]:
        """Height and width of its pictures in pixels: those of x times the autoencoder's reduction."""
        reduction = self._autoencoder.reduction
        return self.latent_shape[1] * reduction, self.latent_shape[2] * reduction

    @property
    def parts(self) -> dict[str, object]:
        """See the base class."""
        return super().parts | {"vae": self.vae}

    @property
    def inverter(self) -> Self:
        """See the base class: the same weights with ``inversion_guidance``."""
        return self.guided(self.inversion_guidance)

    @property
    def editor(self) -> Self:
        """See the base class: the conditional network."""
        return self.guided(1.0)

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class."""
        return {"guidance": self.guidance, "inversion_guidance": self.inversion_guidance}

    @property
    def fingerprint(self) -> dict[str, object]:
        """See the base class; with guidance, and what the network is told."""
        guided = [] if self.guidance == 1 else [self.guidance, self._unconditional]
        return super().fingerprint | {"told": self._conditional, "guidance": guided}

    def guided(self, guidance: float) -> Self:
        """The same model with another scale of guidance; weights are shared."""
        other = copy.copy(self)
        other.guidance = guidance
        return other

    def forward(self, x: Tensor, t: int) -> Tensor:
        """See the base class; the conditional network, without guidance."""
        return self._run(x, t, {name: _repeated(one, x) for name, one in self._conditional.items()})

    def output(self, x: Tensor, t: int) -> Tensor:
        """See the base class; with guidance."""
        if self.guidance == 1:
            return super().output(x, t)
        both = {
            name: torch.cat([_repeated(self._unconditional[name], x), _repeated(one, x)])
            for name, one in self._conditional.items()
        }
        output = self._run(torch.cat([x, x]), t, both)[:, : x.shape[1]]
        without, prompted = output.chunk(2)
        guided: Tensor = without + self.guidance * (prompted - without)
        return guided

    def _times(self, x: Tensor, t: int) -> Tensor:
        """What a transformer is given as its time, shape (B,)."""
        return x.new_full((len(x),), self.schedule.network_time(t))

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures (B, 3, H', W') clipped to [−1, 1]."""
        return self._autoencoder.decode(x0)

    def encode(self, images: Tensor) -> Tensor:
        """Means of q(z | picture), scaled.

        Raises:
            ShapeError: the pictures have another size than the model's.
        """
        if images.shape[-2:] != self.picture_shape:
            raise ShapeError(f"pictures are {tuple(images.shape[-2:])}", f"{self.name} needs {self.picture_shape}")
        return self._autoencoder.encode(images.to(self.device, self.dtype))


class LatentDiffusion(ConditionedLatents):
    """A text-to-image model; ``prompted`` gives the same weights with another prompt.

    Args:
        unet: a diffusers ``UNet2DConditionModel``.
        schedule: its noise process.
        vae: its autoencoder.
        encode_prompt: text → what the network is told of it, the embedding (1, L, e) called ``text`` among it: a
            :class:`diffgeo.diffusion.models.text.PromptEncoder`, whose ``negative`` embeds a negative prompt.
        prompt: what it shows.
        shape: (C, H, W) of x; that of the network's config if None.
        negative_prompt: what guidance leads away from.
        edit_prompt: under which directions are looked for and x-space guidance runs (P23b); the prompt if None.
        guidance: s in sampling, at least 1.
        inversion_guidance: s in DDIM inversion, at least 1.
        name: what the user asked for.
        source: where the weights came from.

    Raises:
        ModelError: the network's config lacks a sample size, or the embeddings do not fit it.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseProcess,
        vae: nn.Module,
        encode_prompt: Callable[[str], Condition],
        prompt: str,
        *,
        shape: tuple[int, int, int] | None = None,
        negative_prompt: str = "",
        edit_prompt: str | None = None,
        guidance: float = 1.0,
        inversion_guidance: float = 1.0,
        name: str,
        source: str,
    ) -> None:
        config: Any = getattr(unet, "config", {})
        shape = latent_shape(config, source) if shape is None else shape
        told, negative = encode_prompt(prompt), getattr(encode_prompt, "negative", encode_prompt)(negative_prompt)
        width = self._text_width(config)
        if told["text"].shape[-1] != width:
            raise ModelError(
                f"{source}: the text encoder gives {told['text'].shape[-1]} numbers a token, the network takes {width}",
                "its parts are of different models",
            )
        scales = {"guidance": guidance, "inversion_guidance": inversion_guidance}
        super().__init__(unet, schedule, vae, shape, told, negative, **scales, name=name, source=source)
        self.encode_prompt, self.prompt, self.negative_prompt = encode_prompt, prompt, negative_prompt
        self.edit_prompt = edit_prompt

    @property
    def text_tokens(self) -> int:
        """See the base class: those of its prompt."""
        return self._conditional["text"].shape[1]

    @property
    def parts(self) -> dict[str, object]:
        """See the base class."""
        return super().parts | getattr(self.encode_prompt, "parts", {})

    @property
    def editor(self) -> Self:
        """See the base class: the conditional network under the edit prompt, as in P23b."""
        return self.prompted(self.prompt if self.edit_prompt is None else self.edit_prompt).guided(1.0)

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class."""
        bound: dict[str, str | float] = {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        if self.edit_prompt is not None:
            bound["edit_prompt"] = self.edit_prompt
        return bound | super().conditioning

    def prompted(self, prompt: str) -> Self:
        """The same model under another prompt, edits included; weights are shared."""
        other = copy.copy(self)
        other.edit_prompt = None
        if prompt != self.prompt:
            other.prompt, other._conditional = prompt, self.encode_prompt(prompt)
        return other

    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        time = self.schedule.network_time(t)
        output: Tensor = self.unet(x, time, encoder_hidden_states=told["text"], return_dict=False)[0]
        return output

    @staticmethod
    def _text_width(config: Mapping[str, Any]) -> int | None:
        """e, the numbers per token that a network of this config takes."""
        return config.get("cross_attention_dim")


class CaptionedLatents(LatentDiffusion):
    """:class:`LatentDiffusion` whose network attends to a text's tokens under a ``mask``: PixArt, Sana."""

    def _added(self, x: Tensor) -> dict[str, Any]:  # noqa: ARG002
        """What else the network is told, by the name of its argument."""
        return {}

    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        output: Tensor = self.unet(
            x,
            encoder_hidden_states=told["text"],
            encoder_attention_mask=told["mask"],
            timestep=self._times(x, t),
            return_dict=False,
            **self._added(x),
        )[0]
        return output

    @staticmethod
    def _text_width(config: Mapping[str, Any]) -> int | None:
        return config.get("caption_channels")


def _repeated(one: Tensor, x: Tensor) -> Tensor:
    """A tensor (1, …) for every x of a batch, in its dtype unless it holds integers."""
    one = one.to(x.dtype) if one.is_floating_point() else one
    return one.expand(len(x), *one.shape[1:])


def latent_shape(
    config: Mapping[str, Any], source: str, size: tuple[int, int] | None = None, pixels: int = 1, multiple: int = 1
) -> tuple[int, int, int]:
    """(C, H, W) of x by a network's config, or for pictures of another size.

    Args:
        config: with ``in_channels`` and ``sample_size``.
        source: how messages name the model.
        size: height and width of the pictures in pixels; None is what the config says.
        pixels: that a place of the latent is high and wide.
        multiple: places of the latent of which height and width are multiples.

    Raises:
        ModelError: the config lacks a sample size or channels.
        ConfigError: pictures cannot have this size.
    """
    own, channels = (config.get(key) for key in ("sample_size", "in_channels"))
    if own is None or channels is None:
        raise ModelError(
            f"{source}: the network's config.json lacks sample_size or in_channels", "add what its authors state"
        )
    if size is None:
        height, width = (own, own) if isinstance(own, int) else own
        return channels, height, width
    step = pixels * multiple
    if any(side % step for side in size):
        raise ConfigError(
            f"model.size=[{size[0]},{size[1]}] does not fit {source}", f"height and width are multiples of {step}"
        )
    return channels, size[0] // pixels, size[1] // pixels

"""Families of models: which pipelines one loads, of which parts, and how its model is made of them.

A family is the object ``FAMILY`` of a module in ``families/``; :func:`families` finds them there, and no other code
knows one by name. What its network is told beside x and its time is bound in that module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import torch
from torch import nn

from diffgeo.diffusion.models.autoencoder import Autoencoder, check_autoencoder
from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.inputs import check_network
from diffgeo.diffusion.models.latent import LatentDiffusion, latent_shape
from diffgeo.diffusion.models.text import PromptEncoder
from diffgeo.diffusion.models.wording import FOLDER_ADVICE, silent_warnings, worded
from diffgeo.diffusion.noise_schedule import NoiseProcess
from diffgeo.diffusion.rectified_flow import noise_process
from diffgeo.diffusion.scheduler_fields import check_changes
from diffgeo.errors import ConfigError

__all__ = [
    "CLIP_TOKENIZERS",
    "T5_TOKENIZERS",
    "Family",
    "Loaded",
    "Request",
    "check_transformer",
    "families",
    "process_of",
    "text_to_image",
]

log = logging.getLogger(__name__)

CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
T5_TOKENIZERS = ("T5Tokenizer", "T5TokenizerFast")

Config = Mapping[str, Any]
"""A part's ``config.json``."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked for: the arguments of :func:`diffgeo.diffusion.models.load_model`, which says of each what
    it is, less those that only say where its weights are.

    Attributes:
        name: what the user asked for.
        source: where the weights came from.
    """

    name: str
    source: str
    device: torch.device
    dtype: torch.dtype
    spacing: str | None
    scheduler: Mapping[str, Any]
    own_steps: int | None
    size: tuple[int, int] | None
    prompt: str | None
    negative_prompt: str
    edit_prompt: str | None
    class_label: int | None
    guidance: float
    inversion_guidance: float
    embedded_guidance: float

    def placed(self, network: nn.Module) -> nn.Module:
        """A network on the device, in the dtype; diffusers' own ``to`` warns of dtypes for no reason."""
        return nn.Module.to(network, device=self.device, dtype=self.dtype)

    def without_prompt(self) -> None:
        """Refuse a prompt.

        Raises:
            ConfigError: there is one.
        """
        if self.prompt is not None:
            raise ConfigError(f"prompt={self.prompt!r} was given, but {self.name} takes no prompt", "leave it out")

    def label(self, classes: int | None) -> int | None:
        """The class label, checked.

        Args:
            classes: how many there are; None for a model without.

        Raises:
            ConfigError: it is missing, out of range, or given to a model without classes.
        """
        if classes is None:
            if self.class_label is not None:
                raise ConfigError(
                    f"model.class_label={self.class_label} was given, but {self.name} has no classes", "leave it out"
                )
        elif self.class_label is None:
            raise ConfigError(f"{self.name} is class-conditional", f"say model.class_label=0 to {classes - 1}")
        elif not 0 <= self.class_label < classes:
            raise ConfigError(
                f"model.class_label={self.class_label} is none of the {classes} classes of {self.name}",
                f"allowed: 0 to {classes - 1}",
            )
        return self.class_label


@dataclass(frozen=True, slots=True)
class Loaded:
    """The parts of a pipeline with their weights.

    Attributes:
        parts: by name.
        index: the pipeline's ``model_index.json``.
        where: how messages name the model.
    """

    parts: Mapping[str, Any]
    index: Config
    where: str

    def assembled(self, kind: str, absent: Sequence[str] = (), **more: Any) -> Any:
        """The parts as diffusers' own pipeline, which embeds prompts.

        Args:
            kind: name of its class.
            absent: arguments that are None unless there is such a part.
            more: arguments that are no parts.
        """
        import diffusers

        with worded(self.where, FOLDER_ADVICE), silent_warnings():
            return getattr(diffusers, kind)(**dict.fromkeys(absent) | dict(self.parts) | more)


@dataclass(frozen=True, slots=True)
class Family:
    """One layout of pipelines.

    Attributes:
        pipelines: classes of diffusers that have it.
        parts: that every pipeline has beside its scheduler, with the classes that they may have.
        check: given the configs of the networks of diffusers by part and the model's name, raises a
            :class:`~diffgeo.errors.ModelError` if they are not those of a model that can be used.
        build: makes the model.
        optional: parts that are used if the pipeline has them.
        former: what a class of a part was called when pipelines were published → what it is called now, as diffusers
            reads it.
    """

    pipelines: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    check: Callable[[Mapping[str, Config], str], None]
    build: Callable[[Loaded, Request], DiffusionModel]
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    former: Mapping[str, str] = field(default_factory=dict)

    def used(self, index: Config) -> dict[str, tuple[str, ...]]:
        """The parts of a pipeline that are read, with the classes that they may have; any for ()."""
        there = {part: kinds for part, kinds in self.optional.items() if index.get(part) not in (None, [None, None])}
        return dict(self.parts) | there | {"scheduler": ()}


@cache
def families() -> Mapping[str, Family]:
    """The families by the class of a pipeline."""
    folder = import_module("diffgeo.diffusion.models.families")
    modules = [import_module(f"{folder.__name__}.{one.name}") for one in iter_modules(folder.__path__)]
    return {kind: module.FAMILY for module in modules for kind in module.FAMILY.pipelines}


def check_transformer(configs: Mapping[str, Config], where: str) -> None:
    """What a transformer on the latents of an autoencoder has to be; see ``Family.check``."""
    check_network(configs["transformer"], where, text=True)
    check_autoencoder(configs["vae"], configs["transformer"]["in_channels"], where)


def process_of(scheduler: object, request: Request, shape: tuple[int, int, int], patch: int | None) -> NoiseProcess:
    """The noise process of a pipeline; a transformer's may depend on its number of image tokens.

    Args:
        scheduler: of the pipeline.
        request: with ``spacing``, ``scheduler`` and ``own_steps``.
        shape: (C, H, W) of x.
        patch: side of x that a token covers; None for a U-Net.

    Raises:
        ConfigError: ``request.scheduler`` has a field or a value that the scheduler cannot have.
        ModelError: as :func:`diffgeo.diffusion.rectified_flow.noise_process`.
    """
    tokens = None if patch is None else (shape[1] // patch) * (shape[2] // patch)
    spacing = request.spacing
    if changes := request.scheduler:
        kind: Any = type(scheduler)
        check_changes(changes, kind.__name__)
        with worded(f"{kind.__name__} with model.scheduler={changes}", "correct model.scheduler"), silent_warnings():
            scheduler = kind.from_config(scheduler.config, **changes)  # type: ignore[attr-defined]
        spacing = None if "timestep_spacing" in changes else spacing
    return noise_process(scheduler, spacing=spacing, tokens=tokens, steps=request.own_steps)


def text_to_image(
    kind: Callable[..., LatentDiffusion],
    encoder: Callable[..., PromptEncoder],
    pipeline: Any,
    loaded: Loaded,
    request: Request,
    *,
    layout: Config | None = None,
) -> LatentDiffusion:
    """A text-to-image model of a pipeline's parts, its prompt bound.

    Args:
        kind: class of the model.
        encoder: class that embeds prompts, given the pipeline, device and dtype.
        pipeline: of :meth:`Loaded.assembled`.
        loaded: the parts.
        request: what is asked for.
        layout: ``in_channels``, ``sample_size`` and ``patch_size`` of x if the network's config says them otherwise.

    Raises:
        ConfigError: there is no prompt, or a class label.
        ModelError: the parts do not fit one another.
    """
    if request.prompt is None:
        raise ConfigError(f"{request.name} is a text-to-image model", "say what it shall show: prompt='…'")
    request.label(None)
    if not request.prompt.strip():
        log.warning("the prompt is empty: this is the model without a prompt, and guidance does nothing")
    network = loaded.parts["transformer" if "transformer" in loaded.parts else "unet"]
    vae = request.placed(loaded.parts["vae"])
    layout = network.config if layout is None else layout
    patch = layout.get("patch_size")
    shape = latent_shape(layout, request.source, request.size, Autoencoder(vae).reduction, patch or 1)
    return kind(
        request.placed(network),
        process_of(pipeline.scheduler, request, shape, patch),
        vae,
        encoder(pipeline, request.device, request.dtype),
        request.prompt,
        shape=shape,
        negative_prompt=request.negative_prompt,
        edit_prompt=request.edit_prompt,
        guidance=request.guidance,
        inversion_guidance=request.inversion_guidance,
        name=request.name,
        source=request.source,
    )

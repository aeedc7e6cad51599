"""Pipelines of DiT: a transformer on latents under a class label of ImageNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import Family, Loaded, Request, check_transformer, process_of
from diffgeo.diffusion.models.latent import Condition, ConditionedLatents, latent_shape
from diffgeo.errors import ConfigError

__all__ = ["FAMILY", "DiT"]


class DiT(ConditionedLatents):
    """:class:`ConditionedLatents` told a class label; ∅ is the label after the last class."""

    @property
    def label(self) -> int:
        """The class label."""
        return int(self._conditional["label"])

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class."""
        return {"class_label": self.label} | super().conditioning

    def _run(self, x: Tensor, t: int, told: Condition) -> Tensor:
        output: Tensor = self.unet(x, self._times(x, t), class_labels=told["label"], return_dict=False)[0]
        return output


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    request.without_prompt()
    network = request.placed(loaded.parts["transformer"])
    config: Any = network.config
    if request.size is not None:
        raise ConfigError(f"model.size was given, but {request.name} has pictures of one size", "leave it out")
    classes = config.num_embeds_ada_norm
    shape = latent_shape(config, request.source)
    conditional, unconditional = (
        {"label": torch.tensor([label], device=request.device)} for label in (request.label(classes), classes)
    )
    return DiT(
        network,
        process_of(loaded.parts["scheduler"], request, shape, config.patch_size),
        request.placed(loaded.parts["vae"]),
        shape,
        conditional,
        unconditional,
        guidance=request.guidance,
        inversion_guidance=request.inversion_guidance,
        name=request.name,
        source=request.source,
    )


FAMILY = Family(
    pipelines=("DiTPipeline",),
    parts={"transformer": ("DiTTransformer2DModel",), "vae": ("AutoencoderKL",)},
    check=check_transformer,
    build=_build,
    former={"Transformer2DModel": "DiTTransformer2DModel"},
)

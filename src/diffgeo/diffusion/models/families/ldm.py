"""Pipelines of unconditional latent diffusion (LDM): a U-Net on the latents of a VQ or KL autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffgeo.diffusion.models.autoencoder import Autoencoder, check_autoencoder
from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import Config, Family, Loaded, Request, process_of
from diffgeo.diffusion.models.inputs import check_network
from diffgeo.diffusion.models.latent import Condition, ConditionedLatents, latent_shape

__all__ = ["FAMILY", "UnconditionalLatents"]


class UnconditionalLatents(ConditionedLatents):
    """:class:`ConditionedLatents` whose network is a ``UNet2DModel``, told nothing; so guidance does nothing.

    x and x̂0 are latents before quantisation. A VQ autoencoder replaces them by the nearest codes when it decodes.
    """

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class; nothing is bound."""
        return {}

    def _run(self, x: Tensor, t: int, _told: Condition) -> Tensor:
        output: Tensor = self.unet(x, self.schedule.network_time(t), return_dict=False)[0]
        return output


def _check(configs: Mapping[str, Config], where: str) -> None:
    check_network(configs["unet"], where, text=False, latent=True)
    check_autoencoder(configs["vqvae"], configs["unet"]["in_channels"], where)


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    request.without_prompt()
    request.label(None)
    network = request.placed(loaded.parts["unet"])
    vae: Any = request.placed(loaded.parts["vqvae"])
    if "scaling_factor" in vae.config.get("_use_default_values", ()):
        # such a file is older than the field, and its latents were not scaled: diffusers' default ruins its pictures
        vae.register_to_config(scaling_factor=1.0)
    config: Any = network.config
    multiple = 2 ** (len(config.down_block_types) - 1)
    shape = latent_shape(config, request.source, request.size, Autoencoder(vae).reduction, multiple)
    schedule = process_of(loaded.parts["scheduler"], request, shape, None)
    return UnconditionalLatents(network, schedule, vae, shape, {}, {}, name=request.name, source=request.source)


FAMILY = Family(
    pipelines=("LDMPipeline",),
    parts={"unet": ("UNet2DModel",), "vqvae": ("VQModel", "AutoencoderKL")},
    check=_check,
    build=_build,
)

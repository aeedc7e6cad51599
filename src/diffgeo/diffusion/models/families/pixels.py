"""Pipelines on pixels: DDPM, DDIM and PNDM, also class-conditional."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from diffgeo.diffusion.models.base import DiffusionModel
from diffgeo.diffusion.models.family import Config, Family, Loaded, Request, process_of
from diffgeo.diffusion.models.inputs import check_network
from diffgeo.diffusion.models.latent import latent_shape
from diffgeo.diffusion.models.pixel import PixelDiffusion
from diffgeo.diffusion.models.wording import silent_warnings
from diffgeo.diffusion.noise_schedule import NoiseProcess

__all__ = ["FAMILY", "ClassPixels"]


class ClassPixels(PixelDiffusion):
    """:class:`PixelDiffusion` with a class label bound; without guidance, as the network has no label for none.

    Args:
        unet: a diffusers ``UNet2DModel`` with ``num_class_embeds``.
        schedule: its noise process.
        label: 0 … classes − 1.
        name: what the user asked for.
        source: where the weights came from.
        shape: (C, H, W) of x; that of the network's config if None.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseProcess,
        label: int,
        *,
        name: str,
        source: str,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__(unet, schedule, name=name, source=source, shape=shape)
        self.label = label

    @property
    def conditioning(self) -> dict[str, str | float]:
        """See the base class."""
        return {"class_label": self.label}

    @property
    def fingerprint(self) -> dict[str, object]:
        """See the base class; with the label."""
        return super().fingerprint | {"label": self.label}

    def forward(self, x: Tensor, t: int) -> Tensor:
        """See the base class."""
        labels = x.new_full((len(x),), self.label).long()
        time = self.schedule.network_time(t)
        output: Tensor = self.unet(x, time, class_labels=labels, return_dict=False)[0]
        return output


def _check(configs: Mapping[str, Config], where: str) -> None:
    config = configs["unet"]
    told = ("num_class_embeds",) if config.get("class_embed_type") is None else ()
    check_network(config, where, text=False, told=told)


def _build(loaded: Loaded, request: Request) -> DiffusionModel:
    request.without_prompt()
    network = request.placed(loaded.parts["unet"])
    config: Any = network.config
    classes = config.get("num_class_embeds")
    label = request.label(classes)
    multiple = 2 ** (len(config.down_block_types) - 1)
    shape = latent_shape(config, request.source, request.size, 1, multiple)
    schedule = process_of(_own_scheduler(loaded), request, shape, None)
    named: dict[str, Any] = {"name": request.name, "source": request.source, "shape": shape}
    if label is None:
        return PixelDiffusion(network, schedule, **named)
    return ClassPixels(network, schedule, label, **named)


def _own_scheduler(loaded: Loaded) -> Any:
    """The scheduler; DDIM and PNDM pipelines put its config into a class of their own."""
    import diffusers

    scheduler, pipeline = loaded.parts["scheduler"], loaded.index["_class_name"]
    own = {"DDIMPipeline": diffusers.DDIMScheduler, "PNDMPipeline": diffusers.PNDMScheduler}.get(pipeline)
    if own is None or not hasattr(scheduler, "alphas_cumprod"):
        return scheduler
    with silent_warnings():
        return own.from_config(scheduler.config)


FAMILY = Family(
    pipelines=("DDPMPipeline", "DDIMPipeline", "PNDMPipeline"),
    parts={"unet": ("UNet2DModel",)},
    check=_check,
    build=_build,
)

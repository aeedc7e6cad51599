"""A class-conditional U-Net of pixels, its class bound to the object."""

from __future__ import annotations

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from diffgeo.diffusion.models import PixelDiffusion
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.errors import ConfigError


class ClassConditional(PixelDiffusion):
    """One class of a class-conditional model.

    Args:
        unet: a diffusers ``UNet2DModel`` with ``num_class_embeds``.
        schedule: its noise process.
        label: the class that it shows, 0 … number of classes − 1.
        name: what the user asked for.
        source: where the weights came from.

    Raises:
        ConfigError: the network has no such class.
    """

    def __init__(self, unet: torch.nn.Module, schedule: NoiseSchedule, label: int, *, name: str, source: str) -> None:
        classes = unet.config.num_class_embeds or 0
        if not 0 <= label < classes:
            raise ConfigError(f"label={label} is not possible", f"{source} has {classes} classes, counted from 0")
        super().__init__(unet, schedule, name=name, source=source)
        self.label = label

    def forward(self, x: Tensor, t: int) -> Tensor:
        """The network's output for this class."""
        labels = torch.tensor([self.label], device=x.device).expand(len(x))
        return self.unet(x, t, class_labels=labels, return_dict=False)[0]

    @property
    def conditioning(self) -> dict[str, str | float]:
        """For the record in ``run.json``."""
        return {"label": self.label}

    @property
    def fingerprint(self) -> dict[str, object]:
        """What the store tells models apart by: the class belongs to it."""
        return super().fingerprint | {"label": self.label}


def load(path: str, label: int, device: torch.device, dtype: torch.dtype) -> ClassConditional:
    """The model of a run with ``model=mine``.

    Args:
        path: ``model.path``, a pipeline folder.
        label: ``model.options.label``.
        device: where to put it.
        dtype: of its weights.
    """
    pipeline = DDPMPipeline.from_pretrained(path, torch_dtype=dtype, local_files_only=True)
    unet, schedule = pipeline.unet.to(device), NoiseSchedule.of(pipeline.scheduler)
    return ClassConditional(unet, schedule, label, name=path, source=path)

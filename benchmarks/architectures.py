"""The networks that are measured: the shipped one, the papers' two with random weights, and narrow ones of their sizes.

What a pass costs depends on the architecture and not on the weights; how many passes a solver needs depends on the
spectrum, which a trained network has and a random one has not quite. So read passes off ``embedded``, times off all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn

from diffgeo import DiffusionModel, load_model
from diffgeo.diffusion.models import PixelDiffusion
from diffgeo.diffusion.noise_schedule import NoiseSchedule

__all__ = ["ARCHITECTURES", "Architecture", "build"]

CELEBAHQ = {
    "sample_size": 256,
    "in_channels": 3,
    "out_channels": 3,
    "freq_shift": 1,
    "flip_sin_to_cos": False,
    "downsample_padding": 0,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "layers_per_block": 2,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
}
"""config.json of google/ddpm-ema-celebahq-256."""

SD15 = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
}
"""unet/config.json of Stable Diffusion 1.5, where it differs from the class's defaults."""

CELEBAHQ_NARROW = {**CELEBAHQ, "block_out_channels": (32, 32, 64, 64, 128, 128)}
SD_NARROW = {**SD15, "block_out_channels": (64, 128, 256, 256)}

TINY = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}

TINY_SD = {
    "sample_size": 8,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


@dataclass(frozen=True)
class Architecture:
    """How to build one network.

    Attributes:
        parameters: how many it must have, where that is known.
        config: of the U-Net; None for the shipped model.
        tokens: shape (1, tokens, channels) of the text embedding that is bound, where it takes one.
        resolutions: sides of x for the growth with resolution, the true one last.
        cpu_chunk: columns per product that fit an ordinary computer's memory.
        weight: share of a common time budget.
    """

    parameters: int | None = None
    config: dict[str, Any] | None = None
    tokens: tuple[int, int, int] | None = None
    resolutions: tuple[int, ...] = ()
    cpu_chunk: int = 32
    weight: float = 1.0


ARCHITECTURES = {
    "embedded": Architecture(weight=0.6),
    "celebahq": Architecture(113_673_219, CELEBAHQ, resolutions=(128, 256), cpu_chunk=2, weight=1.1),
    "sd15": Architecture(859_520_964, SD15, tokens=(1, 77, 768), cpu_chunk=1),
    "celebahq_narrow": Architecture(config=CELEBAHQ_NARROW, cpu_chunk=4),
    "sd_narrow": Architecture(config=SD_NARROW, tokens=(1, 77, 768), cpu_chunk=4),
    "tiny": Architecture(config=TINY, resolutions=(4, 8)),
    "tiny_sd": Architecture(config=TINY_SD, tokens=(1, 5, 16)),
}


class PromptedUNet(DiffusionModel):
    """A text-conditioned U-Net with one random embedding bound; there is no codec, nothing is decoded here."""

    def __init__(self, unet: nn.Module, schedule: NoiseSchedule, text: Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__(unet, schedule, shape, name="prompted", source="random weights")
        self.text = text

    def forward(self, x: Tensor, t: int) -> Tensor:
        """See the base class."""
        output: Tensor = self.unet(x, t, encoder_hidden_states=self.text.expand(len(x), -1, -1), return_dict=False)[0]
        return output

    def decode(self, x0: Tensor) -> Tensor:
        """Not measured."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Not measured."""
        raise NotImplementedError


def build(name: str, device: str, *, seed: int = 0) -> DiffusionModel:
    """The model called ``name``, its random weights drawn on ``device`` (on the CPU that alone takes long)."""
    architecture = ARCHITECTURES[name]
    if architecture.config is None:
        return load_model(device=device)
    schedule = NoiseSchedule.of(DDPMScheduler(num_train_timesteps=1000))
    kind = UNet2DModel if architecture.tokens is None else UNet2DConditionModel
    torch.manual_seed(seed)
    with torch.device(device):
        unet = kind(**architecture.config)
    count = sum(p.numel() for p in unet.parameters())
    if architecture.parameters not in (None, count):
        raise AssertionError(f"{name} has {count} parameters; {architecture.parameters} were expected")
    if architecture.tokens is None:
        return PixelDiffusion(unet, schedule, name=name, source="random weights")
    text = torch.randn(architecture.tokens, generator=torch.Generator().manual_seed(seed)).to(device)
    side = architecture.config["sample_size"]
    return PromptedUNet(unet, schedule, text, (unet.config.in_channels, side, side))

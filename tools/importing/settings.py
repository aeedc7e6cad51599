r"""What the shapes of a checkpoint do not tell, and what is known of published ones.

A wrong setting gives a network that runs and answers wrongly, so nothing here is guessed: pictures' size and attention
heads have no defaults, and the other defaults are those of the original code.

OpenAI's code can hand the network t · 1000 / T instead of t (``rescale_timesteps``). diffusers cannot, but where T is
a multiple of 1000, T = 1000 m, the network's integer times 0 … 999 are the steps 0, m, 2m, …, and a schedule with
ᾱ'_k = ᾱ_{mk} is the same noise process at those steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from diffgeo.errors import ConfigError, ModelError
from importing.architecture import Architecture, Layout

__all__ = ["PRESETS", "Settings", "head_width", "scheduler_config"]

_LINEAR = (0.0001, 0.02)
"""First and last β of the linear schedule of 1000 steps."""

_CHOICES = {
    "layout": ("auto", "openai", "ddpm"),
    "qkv": ("legacy", "new"),
    "noise_schedule": ("linear", "cosine"),
    "variance": ("fixed_small", "fixed_large"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is known of a checkpoint before it is read.

    Attributes:
        image_size: side of its pictures in pixels.
        layout: ``auto`` (told by the keys), ``openai`` or ``ddpm``.
        heads: attention heads (``num_heads``); the ddpm layout always has one.
        head_channels: channels of a head (``num_head_channels``), instead of ``heads``.
        qkv: order in the ``qkv`` tensors, ``legacy`` (improved-diffusion, and guided-diffusion by default) or ``new``
            (``use_new_attention_order``).
        noise_schedule: ``linear`` or ``cosine``.
        steps: T, diffusion steps in training.
        rescale_timesteps: whether the network was given t · 1000 / T.
        variance: of a step, where the network does not learn it: ``fixed_large`` or ``fixed_small``.
        architecture: what the shapes must tell; None accepts what they tell.
    """

    image_size: int
    layout: str = "auto"
    heads: int | None = None
    head_channels: int | None = None
    qkv: str = "legacy"
    noise_schedule: str = "linear"
    steps: int = 1000
    rescale_timesteps: bool = False
    variance: str = "fixed_large"
    architecture: Architecture | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}", f"allowed are {', '.join(allowed)}")
        for name in ("image_size", "heads", "head_channels", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}", "allowed is 1 or more")
        if self.heads is not None and self.head_channels is not None:
            raise ConfigError(f"heads={self.heads} and head_channels={self.head_channels} are both given", "give one")
        if self.rescale_timesteps and self.steps % 1000:
            raise ConfigError(
                f"rescale_timesteps with {self.steps} steps gives the network times between the integers, which "
                "diffusers has not",
                "it needs a multiple of 1000",
            )


def head_width(settings: Settings, layout: Layout, architecture: Architecture) -> int | None:
    """Channels of an attention head, for all levels; None for a single head as wide as its level.

    Raises:
        ConfigError: the number of heads is not given, or given for a layout that always has one.
        ModelError: the widths do not divide into such heads, or into heads of different widths.
    """
    widths, heads = sorted(architecture.attention_widths), settings.heads
    if layout.one_head:
        if (heads or 1) != 1 or settings.head_channels:
            raise ConfigError(f"the {layout.name} layout always has one attention head", "leave heads out")
        return None
    if heads is None and settings.head_channels is None:
        raise ConfigError(
            "the shapes do not tell how many attention heads there are",
            "give --heads or --head-channels "
            "(num_heads, num_head_channels in the flags the checkpoint was published with)",
        )
    if heads == 1:
        return None
    each = {settings.head_channels or width // (heads or 1) for width in widths}
    if any(width % n for width in widths for n in ([heads] if heads else each)):
        raise ModelError(
            f"attention is {_listed(widths)} wide, which does not divide into "
            f"{f'{heads} heads' if heads else f'heads of {settings.head_channels} channels'}",
            "check the flags",
        )
    if len(each) > 1:
        raise ModelError(
            f"{heads} heads at widths {_listed(widths)} are {_listed(sorted(each))} channels wide",
            "diffusers' UNet2DModel has one head width for all levels and cannot hold this network",
        )
    return each.pop()


def scheduler_config(settings: Settings, learned_variance: bool) -> dict[str, Any]:
    """Arguments of diffusers' ``DDPMScheduler``."""
    common = {"variance_type": "learned_range" if learned_variance else settings.variance}
    if settings.rescale_timesteps and settings.steps > 1000:
        betas = _respaced(_betas(settings.noise_schedule, settings.steps), settings.steps // 1000)
        return {**common, "num_train_timesteps": len(betas), "trained_betas": betas.tolist()}
    if settings.noise_schedule == "cosine":
        return {**common, "num_train_timesteps": settings.steps, "beta_schedule": "squaredcos_cap_v2"}
    first, last = (1000 / settings.steps * beta for beta in _LINEAR)
    return {**common, "num_train_timesteps": settings.steps, "beta_start": first, "beta_end": last}


def _betas(schedule: str, steps: int) -> torch.Tensor:
    """β_t of the linear schedule (Ho et al. 2020) or the cosine one (Nichol & Dhariwal 2021), float64."""
    if schedule == "linear":
        first, last = (1000 / steps * beta for beta in _LINEAR)
        return torch.linspace(first, last, steps, dtype=torch.float64)
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


def _respaced(betas: torch.Tensor, stride: int) -> torch.Tensor:
    """β' with ᾱ'_k = ᾱ_{stride·k}."""
    alpha_bar = (1 - betas).cumprod(0)[::stride]
    return 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))


_AT_16 = (False, False, False, False, True, False)
_SIX = (128, 128, 256, 256, 512, 512)

PRESETS = {
    "p2_256": Settings(
        image_size=256,
        layout="openai",
        head_channels=64,
        architecture=Architecture(
            in_channels=3,
            out_channels=6,
            widths=_SIX,
            res_blocks=1,
            attention=_AT_16,
            time_width=512,
            scale_shift=True,
            resample="resnet",
        ),
    ),
    "guided_256": Settings(
        image_size=256,
        layout="openai",
        head_channels=64,
        architecture=Architecture(
            in_channels=3,
            out_channels=6,
            widths=(256, 256, 512, 512, 1024, 1024),
            res_blocks=2,
            attention=(False, False, False, True, True, True),
            time_width=1024,
            scale_shift=True,
            resample="resnet",
        ),
    ),
    "improved_lsun_256": Settings(
        image_size=256,
        layout="openai",
        heads=1,
        architecture=Architecture(
            in_channels=3,
            out_channels=6,
            widths=_SIX,
            res_blocks=2,
            attention=_AT_16,
            time_width=512,
            scale_shift=False,
            resample="conv",
        ),
    ),
    "improved_cifar10_32": Settings(
        image_size=32,
        layout="openai",
        heads=4,
        noise_schedule="cosine",
        steps=4000,
        rescale_timesteps=True,
        architecture=Architecture(
            in_channels=3,
            out_channels=6,
            widths=(128, 256, 256, 256),
            res_blocks=3,
            attention=(False, True, True, False),
            time_width=512,
            scale_shift=True,
            resample="conv",
        ),
    ),
    "sdedit_256": Settings(
        image_size=256,
        layout="ddpm",
        variance="fixed_small",
        architecture=Architecture(
            in_channels=3,
            out_channels=3,
            widths=_SIX,
            res_blocks=2,
            attention=_AT_16,
            time_width=512,
            scale_shift=False,
            resample="conv",
        ),
    ),
}
"""Published checkpoints, with the flags in their projects' instructions (docs/models.md says which files they are)."""

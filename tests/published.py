"""The published architectures of ``conf/model/``, written out by hand, as pipelines with random weights on disk.

Each is a dictionary of the repository's own ``config.json``. ``NARROW`` changes what a quick test need not have: width
and resolution, never the blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)

from diffgeo.diffusion.models import shipped_folder

Settings = dict[str, Any]

DDPM_UNET: Settings = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
}
"""google/ddpm-ema-celebahq-256, and the LSUN models of the same size."""

P2_UNET: Settings = DDPM_UNET | {
    "attention_head_dim": 64,
    "attn_norm_num_groups": 32,
    "down_block_types": ["ResnetDownsampleBlock2D"] * 4 + ["AttnDownBlock2D", "ResnetDownsampleBlock2D"],
    "downsample_type": "resnet",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "layers_per_block": 1,
    "norm_eps": 1e-5,
    "out_channels": 6,
    "resnet_time_scale_shift": "scale_shift",
    "up_block_types": ["ResnetUpsampleBlock2D", "AttnUpBlock2D"] + ["ResnetUpsampleBlock2D"] * 4,
    "upsample_type": "resnet",
}
"""AFHQ-dog of P2 weighting, in the terms of diffusers: learned variance, scale-shift norms, resnet samplers."""

DDPM_SCHEDULER: Settings = {
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_small",
}

SD15_UNET: Settings = {
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}

SD21_UNET: Settings = SD15_UNET | {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}

SD_SCHEDULER: Settings = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}

SD_VAE: Settings = {
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

NARROW_DDPM: Settings = {"block_out_channels": [32, 32, 64, 64, 128, 128], "sample_size": 64}
NARROW_VAE: Settings = {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}


CALM = 1e-3
"""Scale of the last layer's random weights. ε of a random network does not answer to the noise in x, so that DDIM would
magnify its errors 1/√α_T ≈ 158 times; a small ε shows whether inversion and reconstruction fit together."""


@dataclass(frozen=True)
class Published:
    """One architecture.

    Attributes:
        unet: the U-Net's settings.
        parameters: how many numbers the U-Net has.
        narrow: changes for quick tests.
        small: changes for tests at full width: a resolution that a CPU gets through.
        text_layers: layers of the text encoder; None for a model on pixels.
        text_activation: of the text encoder.
    """

    unet: Settings
    parameters: int
    narrow: Settings = field(default_factory=dict)
    small: Settings = field(default_factory=dict)
    text_layers: int | None = None
    text_activation: str = "quick_gelu"


DDPM = Published(DDPM_UNET, 113_673_219, NARROW_DDPM, {"sample_size": 64})
PUBLISHED = {
    "afhq_dog": Published(P2_UNET, 93_563_910, NARROW_DDPM, {"sample_size": 64}),
    "ddpm_celebahq": DDPM,
    "ddpm_lsun_bedroom": DDPM,
    "ddpm_lsun_cat": DDPM,
    "ddpm_lsun_church": DDPM,
    "sd15": Published(
        SD15_UNET, 859_520_964, {"block_out_channels": [64, 128, 256, 256], "sample_size": 8}, {"sample_size": 16}, 12
    ),
    "sd21_base": Published(
        SD21_UNET,
        865_910_724,
        {"block_out_channels": [64, 128, 256, 256], "attention_head_dim": [1, 2, 4, 4], "sample_size": 8},
        {"sample_size": 16},
        23,
        "gelu",
    ),
}
"""By the name of the entry of ``conf/model/``."""


def build_unet(name: str, **changes: Any) -> UNet2DModel | UNet2DConditionModel:
    """The U-Net of an entry."""
    published = PUBLISHED[name]
    kind = UNet2DModel if published.text_layers is None else UNet2DConditionModel
    return kind(**published.unet | changes).eval().requires_grad_(False)


def save_published(name: str, folder: Path, *, full_width: bool = False, seed: int = 0) -> Path:
    """Save the entry's pipeline with random weights, laid out as its repository is."""
    published = PUBLISHED[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build_unet(name, **published.small if full_width else published.narrow)
        unet.conv_out.weight.mul_(CALM)
        if published.text_layers is None:
            return _save_flat(unet, folder)
        return _save_stable_diffusion(published, unet, folder, full_width=full_width)


def _save_flat(unet: UNet2DModel, folder: Path) -> Path:
    """Google's layout of 2022: all files at the top, weights as a ``.bin``."""
    folder.mkdir(parents=True)
    unet.save_pretrained(folder, safe_serialization=False)
    DDPMScheduler(**DDPM_SCHEDULER).save_pretrained(folder)
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.1.1",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _save_stable_diffusion(published: Published, unet: UNet2DConditionModel, folder: Path, *, full_width: bool) -> Path:
    """A folder a part; the tokenizer is the shipped one, and the text encoder as wide as the U-Net wants, no deeper."""
    from transformers import CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(shipped_folder("factor_faces_t2i") / "tokenizer")
    width = published.unet["cross_attention_dim"]
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width if full_width else 64,
            num_hidden_layers=1,
            num_attention_heads=width // 64,
            hidden_act=published.text_activation,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(**SD_VAE | ({} if full_width else NARROW_VAE)),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(**SD_SCHEDULER),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(),
        requires_safety_checker=False,
    ).save_pretrained(folder)
    path = folder / "model_index.json"
    index = json.loads(path.read_text())  # the published ones name a safety checker, which diffgeo leaves alone
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    path.write_text(json.dumps(index))
    return folder

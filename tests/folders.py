"""Folders of tiny pipelines with random weights, and what tests change in them."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)

from diffgeo.diffusion.models import shipped_folder


def unet(**changes):
    """A ``UNet2DModel`` of 16 × 16 pixels."""
    config = {
        "sample_size": 16,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet2DModel(**config | changes)


def conditional_unet(**changes):
    """A ``UNet2DConditionModel`` of 8 × 8 latents and embeddings of 16 numbers."""
    config = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet2DConditionModel(**config | changes)


def autoencoder(**changes):
    """An ``AutoencoderKL`` that halves pictures."""
    config = {
        "block_out_channels": (4, 8),
        "norm_num_groups": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKL(**config | changes)


def save_pixels(folder, network=None, scheduler=None, **how):
    """A ``DDPMPipeline`` on disk."""
    DDPMPipeline(network or unet(), scheduler or DDPMScheduler()).save_pretrained(folder, **how)
    return Path(folder)


def save_prompted(folder, network=None, vae=None, scheduler=None, **how):
    """A ``StableDiffusionPipeline`` on disk, with the shipped tokenizer and a text encoder of one layer."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(shipped_folder("factor_faces_t2i") / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    StableDiffusionPipeline(
        vae=vae or autoencoder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=network or conditional_unet(),
        scheduler=scheduler or DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, **how)
    return Path(folder)


def patch(path, **changes):
    """Change keys of a JSON file."""
    path = Path(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(path, *keys):
    """Take keys out of a JSON file."""
    path = Path(path)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in keys}))


def copied(folder, to):
    """A copy of a folder."""
    shutil.copytree(folder, to)
    return Path(to)


def joint_pipeline(**changes):
    """A tiny ``StableDiffusion3Pipeline`` with random weights: latents (4, 8, 8), 16 image tokens, texts of 20."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(shipped_folder("factor_faces_t2i") / "tokenizer")
    tokenizer.model_max_length = 20
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPTextConfig(vocab_size=len(tokenizer), projection_dim=16, max_position_embeddings=20, **sizes, **tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders = [CLIPTextModelWithProjection(config).eval() for _ in range(2)]
        network = {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 3,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 40,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 32,
            "pos_embed_max_size": 8,
            "qk_norm": "rms_norm",
        }
        transformer = SD3Transformer2DModel(**network | changes).eval()
        for weights in transformer.requires_grad_(False).parameters():  # at first hardly any text gets through
            weights.add_(0.2 * torch.randn_like(weights))
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(shift_factor=0.1),
        text_encoder=encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )

"""Tiny pipelines of every family with random weights, as diffusers' own classes make, save and load them."""

import string

import torch
from diffusers import (
    AutoencoderDC,
    DDIMScheduler,
    DDPMPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    VQModel,
)

from diffgeo.diffusion.models import shipped_folder
from folders import autoencoder, conditional_unet, unet

LATENT = {"sample_size": 8, "in_channels": 4, "attention_head_dim": 8, "num_attention_heads": 2}
"""Of transformers: latents (4, 8, 8), 16 channels."""
_LETTERS = ["▁", *(f"▁{letter}" for letter in string.ascii_lowercase), *string.ascii_lowercase]


def awake(network, size=0.2):
    """The network with weights that let everything through; diffusers begins with many at 0."""
    generator = torch.Generator().manual_seed(0)
    for weights in network.eval().requires_grad_(False).parameters():
        weights.add_(size * torch.randn(weights.shape, generator=generator))
    return network


def made(kind, *arguments, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(*arguments, **settings).eval().requires_grad_(False)


def clip_tokenizer():
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(shipped_folder("factor_faces_t2i") / "tokenizer")
    tokenizer.model_max_length = 20
    return tokenizer


def clip_encoder(kind):
    from transformers import CLIPTextConfig

    tokenizer = clip_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = {"vocab_size": len(tokenizer), "projection_dim": 16, "max_position_embeddings": 20}
    return made(kind, CLIPTextConfig(**config, **sizes, **tokens))


def t5_tokenizer():
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0)]
    return T5Tokenizer(vocab=[*special, *((letter, -2.0) for letter in _LETTERS)], extra_ids=0)


def t5_encoder(width=24):
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": width, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return made(T5EncoderModel, T5Config(vocab_size=64, **sizes))


def gemma():
    """Tokenizer and encoder."""
    from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

    words = ["<pad>", "<eos>", "<bos>", "<unk>", *_LETTERS]
    tokenizer = GemmaTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "num_hidden_layers": 1}
    config = Gemma2Config(vocab_size=64, hidden_size=16, intermediate_size=16, **heads)
    return tokenizer, made(Gemma2Model, config)


def labelled(**changes):
    """DDPM with six classes."""
    network = awake(unet(num_class_embeds=6, sample_size=8, **changes))
    return DDPMPipeline(network, DDIMScheduler(clip_sample=False, timestep_spacing="trailing"))


def ldm(vqvae=None):
    """LDM on latents (3, 8, 8) of a VQ autoencoder that halves pictures and has 16 codes."""
    network = awake(unet(sample_size=8, norm_num_groups=4), size=0.05)
    return LDMPipeline(vqvae or vq_autoencoder(), network, DDIMScheduler(**LDM_SCHEDULER))


LDM_SCHEDULER = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
LDM_SCHEDULER |= {"clip_sample": False, "timestep_spacing": "trailing"}


def vq_autoencoder(**changes):
    sizes = {"block_out_channels": (8, 16), "norm_num_groups": 4, "num_vq_embeddings": 16, "sample_size": 16}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    network = made(VQModel, **sizes | blocks | {"scaling_factor": 0.4} | changes)
    network.quantize.embedding.weight.mul_(20)  # codes as far apart as latents are
    return network


def ldm_kl():
    """LDM on latents of a KL autoencoder."""
    return ldm(autoencoder(latent_channels=3))


def sd(**schedule):
    """Stable Diffusion 1 or 2: an ε-prediction on its β, or what ``schedule`` says."""
    from transformers import CLIPTextModel

    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip_encoder(CLIPTextModel),
        tokenizer=clip_tokenizer(),
        unet=awake(conditional_unet()),
        scheduler=DDIMScheduler(**settings | {"clip_sample": False, "set_alpha_to_one": False} | schedule),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd_v():
    """The same with a v-prediction that begins at noise alone (zero terminal SNR)."""
    return sd(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")


def sdxl(**changes):
    """SDXL: its scheduler, text encoders of 16 numbers each, sizes of the picture."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer, config = clip_tokenizer(), {"cross_attention_dim": 32, "addition_time_embed_dim": 8}
    added = {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 6 * 8 + 16}
    network = awake(conditional_unet(**config, **added))
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip_encoder(CLIPTextModel),
        text_encoder_2=clip_encoder(CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=network,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
        **changes,
    )


def dit():
    """DiT with 1000 classes and a learned variance."""
    network = made(DiTTransformer2DModel, **LATENT, out_channels=8, num_layers=3, num_embeds_ada_norm=1000)
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    return DiTPipeline(awake(network), autoencoder(), scheduler)


def flux(*, distilled=True):
    """Flux: two joint and two single blocks, latents (4, 8, 8) of pictures of 16 pixels, packed into 16 tokens."""
    from transformers import CLIPTextModel

    network = made(
        FluxTransformer2DModel,
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=16,
        guidance_embeds=distilled,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=16),
        vae=autoencoder(shift_factor=0.1),
        text_encoder=clip_encoder(CLIPTextModel),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
        transformer=awake(network),
    )


def pixart(kind=PixArtAlphaPipeline, size=0.2, **changes):
    """PixArt-α, or Σ; with a learned variance."""
    sizes = {"out_channels": 8, "num_layers": 3, "cross_attention_dim": 16, "caption_channels": 24}
    network = made(PixArtTransformer2DModel, **LATENT | sizes | changes)
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    return kind(t5_tokenizer(), t5_encoder(), autoencoder(), awake(network, size), scheduler)


def pixart_sigma():
    return pixart(PixArtSigmaPipeline)


def pixart_sized():
    """PixArt-α of 1024 pixels, which is told resolution and aspect ratio; its config alone makes it so."""
    return pixart(size=0.05, sample_size=128, patch_size=32, num_attention_heads=3, cross_attention_dim=24)


def sana():
    """Sana with a deep-compression autoencoder that halves pictures twice."""
    heads = {"num_attention_heads": 2, "attention_head_dim": 8, "num_cross_attention_heads": 2}
    sizes = {"cross_attention_head_dim": 8, "cross_attention_dim": 16, "caption_channels": 16, "num_layers": 3}
    channels = {"in_channels": 4, "out_channels": 4, "sample_size": 8, "patch_size": 1, "timestep_scale": 0.5}
    network = made(SanaTransformer2DModel, **channels, **heads, **sizes)
    vae = made(
        AutoencoderDC,
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), (5,)),
        decoder_qkv_multiscales=((), (), (5,)),
        downsample_block_type="Conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.4,
    )
    tokenizer, encoder = gemma()
    return SanaPipeline(tokenizer, encoder, vae, awake(network), FlowMatchEulerDiscreteScheduler(shift=3.0))

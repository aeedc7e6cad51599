r"""Training of the shipped rectified-flow models: a transformer, and a U-Net that differs in nothing else.

On the straight path x_σ = (1 − σ) z + σ ε from a latent z to noise, the network learns the velocity dx/dσ,

    E_{z, text, σ, ε} ‖v_θ(x_σ, 1000 σ, c(text)) − (ε − z)‖²,      σ = s u / (1 + (s − 1) u),   u uniform in (0, 1).

The shift s is the scheduler's, so the network trains at the noise levels that a sampler visits, evenly. With SD3's
s = 3, u = ¼, ½, ¾ are σ = 0.50, 0.75, 0.90: nearly the signal-to-noise ratios of the linear-β DDPM at the same
fractions of T (0.49, 0.78, 0.95), so equal fractions mean nearly equal noise in all the shipped models. Logit-normal σ
would train little near σ = 1, which many studies ask about.

Autoencoder and text model are those of the shipped text-to-image model, frozen. z is a sample of q(z|x) for one of
``pool`` portraits, of which mean and standard deviation are computed once. The transformer is conditioned as
``StableDiffusion3Pipeline`` does it: the states before the last layer of two CLIP models side by side, then a number
of zero tokens in place of T5's, and the pooled texts. The first CLIP model is the shipped one, the second its first
layer alone, whose states are the words' embeddings. The U-Net has the last states of the shipped one, as
``StableDiffusionPipeline`` does it.

The n zero tokens are computed as one (:class:`diffgeo.diffusion.models.families.sd3.ZeroTokens`). A pipeline chooses n
(``max_sequence_length``, 256 unless told); n is drawn between 1 and 256, evenly in log n, so that fewer and faster ones
do as well.

Batch number k is a pure function of (seed, k) and the device, the same for both networks.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.models import shipped_folder
from diffgeo.diffusion.models.families.sd3 import T5_TOKENS, ZeroTokens
from diffgeo.errors import ConfigError
from training.diffusion import Progress, device_name, learning_rate, loss_curve, replace_state, write_log
from training.text_to_image import batch_generator, caption_tokens, conditional_unet, draw_grid

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

__all__ = ["FlowTraining", "load_pipeline", "noise_level", "train_flow"]

TIMESTEPS = 1000
"""What σ is multiplied by for the network."""
CHUNK = 512
"""Portraits encoded at once."""


@dataclass
class FlowTraining:
    """Settings of :func:`train_flow`.

    Attributes:
        network: ``transformer`` or ``unet``.
        source: shipped text-to-image model that gives autoencoder, text model and tokenizer.
        size: side of the pictures in pixels.
        pool: portraits that are rendered, encoded and captioned once, to be drawn from.
        wordings: captions a portrait.
        text_length: tokens of a text, at most; the longest caption has 46.
        heads: attention heads of the transformer, 32 channels each.
        layers: its blocks.
        channels: U-Net width at each resolution of the latents; attention to the text everywhere but at the last.
        images: how many pictures to see in all; may be raised or lowered when a run is resumed.
        batch_size: pictures a step.
        learning_rate: of AdamW, after a warm-up and before a final linear decay.
        warmup: pictures over which the rate rises.
        decay: share of ``images``, at the end, over which the rate falls to 0.
        dropout: share of captions replaced by the empty text, for classifier-free guidance.
        shift: s of the noise levels, in training and in the scheduler.
        ema: decay of the averaged weights that ship.
        seed: seeds weights, pool and batches.
        checkpoint_minutes: how often the state is saved.
        sample_every: pictures between sample grids.
    """

    network: str = "transformer"
    source: str = "factor_faces_t2i"
    size: int = 64
    pool: int = 16_384
    wordings: int = 2
    text_length: int = 48
    heads: int = 4
    layers: int = 6
    channels: list[int] = field(default_factory=lambda: [64, 96, 96])
    images: int = 300_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: int = 16_000
    decay: float = 0.3
    dropout: float = 0.1
    shift: float = 3.0
    ema: float = 0.999
    seed: int = 0
    checkpoint_minutes: float = 4.0
    sample_every: int = 50_000


def noise_level(u: Tensor, shift: float) -> Tensor:
    """σ = s u / (1 + (s − 1) u), the static shift of ``FlowMatchEulerDiscreteScheduler``.

    Args:
        u: in [0, 1], any shape.
        shift: s, positive.
    """
    return shift * u / (1 + (shift - 1) * u)


class Denoiser(Protocol):
    """A network with what conditions it, as one of diffusers' pipelines joins them."""

    network: nn.Module

    def velocity(self, x: Tensor, sigma: Tensor, tokens: Tensor, zeros: int) -> Tensor:
        """Velocity at x (B, 4, h, w), σ (B,) and token ids (B, length); shape as x."""
        ...

    def pipeline(self, network: nn.Module, vae: AutoencoderKL) -> Any:
        """The pipeline of diffusers with this network."""
        ...


class _Transformer:
    """``SD3Transformer2DModel`` with two CLIP models."""

    def __init__(self, cfg: FlowTraining, vae: AutoencoderKL, device: torch.device) -> None:
        self.cfg = cfg
        self.tokenizer = _tokenizer(cfg)
        shipped = _text_model(cfg)
        width = shipped.config.hidden_size
        self.encoders = [
            _with_projection(shipped, layers).to(device) for layers in (shipped.config.num_hidden_layers, 1)
        ]
        latents = cfg.size // 2 ** (len(vae.config.block_out_channels) - 1)
        self.network = SD3Transformer2DModel(
            sample_size=latents,
            patch_size=2,
            in_channels=vae.config.latent_channels,
            out_channels=vae.config.latent_channels,
            num_layers=cfg.layers,
            attention_head_dim=32,
            num_attention_heads=cfg.heads,
            joint_attention_dim=2 * width,
            caption_projection_dim=32 * cfg.heads,
            pooled_projection_dim=2 * width,
            pos_embed_max_size=latents // 2,
            qk_norm="rms_norm",
        ).to(device)
        _start_at_identity(self.network)
        self.zeros = ZeroTokens.put_into(self.network)

    def velocity(self, x: Tensor, sigma: Tensor, tokens: Tensor, zeros: int) -> Tensor:
        with torch.no_grad():
            texts = [encoder(tokens, output_hidden_states=True) for encoder in self.encoders]
            states = torch.cat([text.hidden_states[-2] for text in texts], dim=-1)
            pooled = torch.cat([text.text_embeds for text in texts], dim=-1)
        self.zeros.count = zeros
        out: Tensor = self.network(x, F.pad(states, (0, 0, 0, 1)), pooled, TIMESTEPS * sigma, return_dict=False)[0]
        return out

    def pipeline(self, network: nn.Module, vae: AutoencoderKL) -> StableDiffusion3Pipeline:
        return StableDiffusion3Pipeline(
            transformer=network,
            scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMESTEPS, shift=self.cfg.shift),
            vae=vae,
            text_encoder=self.encoders[0],
            tokenizer=self.tokenizer,
            text_encoder_2=self.encoders[1],
            tokenizer_2=self.tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )


class _UNet:
    """``UNet2DConditionModel`` with the shipped text model."""

    def __init__(self, cfg: FlowTraining, vae: AutoencoderKL, device: torch.device) -> None:
        self.cfg = cfg
        self.tokenizer = _tokenizer(cfg)
        self.encoder = _text_model(cfg).to(device)
        self.network = conditional_unet(
            cfg.size // 2 ** (len(vae.config.block_out_channels) - 1),
            cfg.channels,
            layers_per_block=1,
            heads=4,
            text_width=self.encoder.config.hidden_size,
        ).to(device)

    def velocity(self, x: Tensor, sigma: Tensor, tokens: Tensor, zeros: int) -> Tensor:  # noqa: ARG002 (no such tokens)
        with torch.no_grad():
            states = self.encoder(tokens)[0]
        out: Tensor = self.network(x, TIMESTEPS * sigma, states, return_dict=False)[0]
        return out

    def pipeline(self, network: nn.Module, vae: AutoencoderKL) -> StableDiffusionPipeline:
        # the flow schedulers lack what this pipeline calls; this solver of order 1 takes Euler steps
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=TIMESTEPS,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=self.cfg.shift,
            solver_order=1,
            steps_offset=1,
        )
        return StableDiffusionPipeline(
            vae=vae,
            unet=network,
            text_encoder=self.encoder,
            tokenizer=self.tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


_DENOISERS: dict[str, Callable[[FlowTraining, AutoencoderKL, torch.device], Denoiser]] = {
    "transformer": _Transformer,
    "unet": _UNet,
}


def _start_at_identity(network: SD3Transformer2DModel) -> None:
    """Modulations and output at 0, so that every block is the identity at first (adaLN-Zero, Peebles & Xie 2023)."""
    last = [network.norm_out.linear, network.proj_out]
    for block in network.transformer_blocks:
        last += [block.norm1.linear, block.norm1_context.linear]
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def _tokenizer(cfg: FlowTraining) -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(shipped_folder(cfg.source) / "tokenizer")
    tokenizer.model_max_length = cfg.text_length
    return tokenizer


def _text_model(cfg: FlowTraining) -> CLIPTextModel:
    """The shipped text model, for shorter texts."""
    from transformers import CLIPTextConfig, CLIPTextModel

    whole = CLIPTextModel.from_pretrained(shipped_folder(cfg.source) / "text_encoder", dtype=torch.float32)
    config = CLIPTextConfig.from_dict(whole.config.to_dict() | {"max_position_embeddings": cfg.text_length})
    model: CLIPTextModel = CLIPTextModel(config)
    model.load_state_dict(_for_length(whole.state_dict(), cfg.text_length))
    return model.eval().requires_grad_(False)


def _for_length(state: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    """Weights of a CLIP text model without the positions beyond ``length``."""
    return {k: v[:length] if k.endswith("position_embedding.weight") else v for k, v in state.items()}


def _with_projection(model: CLIPTextModel, layers: int) -> CLIPTextModelWithProjection:
    """The first layers of a text model, with the identity for a projection of the pooled text."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig.from_dict(model.config.to_dict() | {"num_hidden_layers": layers})
    first: CLIPTextModelWithProjection = CLIPTextModelWithProjection(config)
    state = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in model.state_dict().items()}
    state["text_projection.weight"] = torch.eye(config.projection_dim)
    first.load_state_dict({k: state[k] for k in first.state_dict()})
    return first.eval().requires_grad_(False)


@torch.no_grad()
def _latents(cfg: FlowTraining, vae: AutoencoderKL, factors: Tensor, folder: Path) -> Tensor:
    """Mean and standard deviation of q(z|x) of the pool, half precision (pool, 2, 4, h, w); kept chunk by chunk."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = vae.to(memory_format=torch.channels_last)
    found = []
    for i, z in enumerate(factors.split(CHUNK)):
        path = folder / f"{cfg.source}-{cfg.size}-seed{cfg.seed}-{i:04d}.pt"
        if not path.exists():
            posteriors = [encoder.encode(render(part, cfg.size)).latent_dist for part in z.split(64)]
            both = torch.cat([torch.stack([p.mean, p.std], dim=1).half().cpu() for p in posteriors])
            torch.save(both, path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
            print(f"encoded {CHUNK * i + len(z):,} of {len(factors):,} portraits", flush=True)
        found.append(torch.load(path, weights_only=True)[: len(z)])
    return torch.cat(found).to(factors.device)


def train_flow(cfg: FlowTraining, folder: Path) -> Path:
    """Train, resuming from ``folder/state`` when it is there.

    Args:
        cfg: the settings.
        folder: receives ``latents/``, ``state/`` (checkpoint), ``log.csv`` (images, loss, rate, seconds),
            ``samples/*.png`` with their prompts, ``pipeline/`` (diffusers' pipeline with the EMA weights), ``loss.png``
            and ``training.json``.

    Returns:
        The pipeline folder.

    Raises:
        ConfigError: no such network.
    """
    if cfg.network not in _DENOISERS:
        raise ConfigError(f"training.network is {cfg.network!r}", f"known are {', '.join(_DENOISERS)}")
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(cfg.seed)
    vae = AutoencoderKL.from_pretrained(shipped_folder(cfg.source) / "vae", torch_dtype=torch.float32).to(device).eval()
    vae.requires_grad_(False).register_to_config(shift_factor=0.0)  # StableDiffusion3Pipeline adds it
    denoiser: Denoiser = _DENOISERS[cfg.network](cfg, vae, device)
    run = _Run(cfg, folder, denoiser, vae)
    factors = sample_factors(cfg.pool, generator=batch_generator(device, cfg.seed, 0, 0))
    latents = _latents(cfg, vae, factors, folder / "latents")
    texts, empty = caption_tokens(factors, _tokenizer(cfg), cfg.wordings, cfg.seed)
    scale = vae.config.scaling_factor
    saved, recent = time.monotonic(), []
    started = time.monotonic() - run.progress.seconds
    while run.progress.seen < cfg.images:
        generator = batch_generator(device, cfg.seed, 1, run.progress.step)
        n = cfg.batch_size
        index = torch.randint(len(latents), (n,), generator=generator, device=device)
        wording = torch.randint(cfg.wordings, (n,), generator=generator, device=device)
        dropped = torch.rand(n, generator=generator, device=device) < cfg.dropout
        sigma = noise_level(torch.rand(n, generator=generator, device=device), cfg.shift)
        mean, std = latents[index].float().unbind(1)
        z = scale * (mean + std * torch.randn(mean.shape, generator=generator, device=device))
        noise = torch.randn(z.shape, generator=generator, device=device)
        zeros = int((T5_TOKENS + 1) ** torch.rand(1, generator=generator, device=device).item())
        tokens = torch.where(dropped[:, None], empty, texts[index, wording]).long()
        at = sigma[:, None, None, None]
        loss = (denoiser.velocity((1 - at) * z + at * noise, sigma, tokens, zeros) - (noise - z)).square().mean()
        run.step(loss)
        before = run.progress.seen
        run.progress.step += 1
        run.progress.seen += n
        run.progress.seconds = time.monotonic() - started
        recent.append(loss.detach())  # a number only when it is logged: reading it waits for the GPU
        if run.progress.step % 100 == 0 or run.progress.seen >= cfg.images:
            run.progress.loss = torch.stack(recent).mean().item()
            write_log(folder / "log.csv", run.progress, cfg)
            recent.clear()
        if run.progress.seen // cfg.sample_every > before // cfg.sample_every and run.progress.seen < cfg.images:
            run.sample()
        if time.monotonic() - saved > 60 * cfg.checkpoint_minutes:
            run.save()
            saved = time.monotonic()
    pipeline = run.sample()
    loss_curve(folder / "log.csv", folder / "loss.png", "mean squared error of the velocity")
    return pipeline


class _Run:
    """What a checkpoint holds, and how it is saved."""

    def __init__(self, cfg: FlowTraining, folder: Path, denoiser: Denoiser, vae: AutoencoderKL) -> None:
        self.cfg, self.folder, self.denoiser, self.vae = cfg, folder, denoiser, vae
        self.weights = list(denoiser.network.parameters())
        self.device = self.weights[0].device
        self.optimizer = torch.optim.AdamW(self.weights, lr=cfg.learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
        self.ema = EMAModel(self.weights, decay=cfg.ema, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True)
        self.progress = Progress()
        self._holders: dict[str, Any] = {
            "network": denoiser.network,
            "optimizer": self.optimizer,
            "ema": self.ema,
            "progress": self.progress,
        }
        if (folder / "state").exists():
            state = torch.load(folder / "state" / "state.pt", map_location=self.device, weights_only=True)
            for name, holder in self._holders.items():
                holder.load_state_dict(state[name])
            self.ema.to(self.device)
        self.progress.sit_down(cfg)

    def step(self, loss: Tensor) -> None:
        """One step of the optimizer and of the average."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.progress.seen, self.cfg)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.weights)

    def save(self) -> Path:
        """The checkpoint, and the pipeline with the averaged weights."""
        content = {name: holder.state_dict() for name, holder in self._holders.items()}
        replace_state(self.folder, lambda fresh: torch.save(content, fresh / "state.pt"))
        averaged = copy.deepcopy(self.denoiser.network)
        self.ema.copy_to(averaged.parameters())
        self.denoiser.pipeline(averaged.eval(), self.vae).save_pretrained(self.folder / "pipeline")
        facts = {
            "config": asdict(self.cfg),
            "images_seen": self.progress.seen,
            "seconds": round(self.progress.seconds),
            "sittings": self.progress.sittings,
            "loss": self.progress.loss,
            "parameters": sum(p.numel() for p in self.weights),
            "device": device_name(self.device),
        }
        (self.folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return self.folder / "pipeline"

    def sample(self) -> Path:
        """Save, and draw a grid of samples."""
        pipeline = self.save()
        path = self.folder / "samples" / f"{self.progress.seen:08d}.png"
        _sample_grid(pipeline, path, self.device, self.cfg.seed)
        return pipeline


def load_pipeline(folder: Path) -> Any:
    """The pipeline of diffusers in a folder that :func:`train_flow` or ``train_text_to_image`` wrote, in float32."""
    if (folder / "transformer").is_dir():  # a folder without T5 is loaded so
        unused: dict[str, None] = {"text_encoder_3": None, "tokenizer_3": None}
        return StableDiffusion3Pipeline.from_pretrained(folder, torch_dtype=torch.float32, **unused)
    return StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None)


def _sample_grid(pipeline: Path, path: Path, device: torch.device, seed: int) -> None:
    draw_grid(load_pipeline(pipeline).to(device), path, seed, steps=28)

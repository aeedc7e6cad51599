r"""Training of the embedded text-to-image model: a StableDiffusionPipeline of captioned FactorFaces.

Two stages. First an autoencoder x → z → x with one latent for 4×4 pixels, minimising

    ‖x̂ − x‖² + ¼ ‖x̂ − x‖₁ + ‖∇x̂ − ∇x‖² + k KL(q(z|x) ‖ N(0, 1))        (means over elements),

∇ being differences of neighbouring pixels. Then the means of q are shifted and scaled to mean 0 and variance 1 a
channel, which its 1×1 convolutions absorb without changing any reconstruction.

Second a U-Net on these latents together with the text model c(·), minimising

    E_{z, text, t, ε} w(t) ‖ε_θ(√α_t z + √(1−α_t) ε, t, c(text)) − ε‖²

with the weights w of :mod:`training.diffusion`; a share of the texts is replaced by the empty one, for
classifier-free guidance. EMA weights of both networks ship.

Pictures, latents and token ids of a pool of portraits are computed once and stay on the device. Batch number k of a
stage is a pure function of (seed, k) and the device. The learning rate falls with progress = max(pictures seen /
pictures wanted, minutes spent / minutes granted), so a stage ends well whichever runs out first; with a limit on
minutes the weights depend on the speed of the machine.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from diffgeo.data.factor_faces import render, sample_factors
from training.captions import VOCABULARY, caption
from training.diffusion import device_name, loss_weights, replace_state
from training.tokenizer import write_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

__all__ = [
    "PROMPTS",
    "TextToImageTraining",
    "batch_generator",
    "caption_tokens",
    "conditional_unet",
    "draw_grid",
    "rate_factor",
    "standardise",
    "train_text_to_image",
]

TIMESTEPS = 1000
"""Of the noise process."""
CHUNK = 1024
"""Portraits rendered or encoded at once."""
PROMPTS = (
    "portrait of a smiling face with long red hair and glasses, blue background",
    "a frowning face with short blond hair and a full beard, green background",
    "portrait of a face with dark skin, short brown hair and no glasses, yellow background",
    "a happy wide face with pale skin, freckles and long orange hair, purple background",
    "a sad narrow face looking left with glasses, turquoise background",
    "a face looking right with an open mouth and long dark hair, red background",
    "smiling, glasses, orange background",
    "a face",
)
"""Of the sample grids, two samples each."""


@dataclass
class TextToImageTraining:
    """Settings of :func:`train_text_to_image`.

    Attributes:
        size: side of the pictures in pixels, a multiple of 16.
        pool: portraits that are rendered, encoded and captioned once, to be drawn from.
        wordings: captions a portrait.
        vae_channels: autoencoder width at each resolution, full first.
        vae_images: pictures that the autoencoder sees at most.
        vae_minutes: minutes that it trains at most; 0 for no limit.
        vae_batch_size: pictures a step.
        vae_learning_rate: peak of its learning rate.
        kl: k of the autoencoder's loss.
        channels: U-Net width at each resolution of the latents; attention to the text everywhere but at the last.
        layers_per_block: resnets a block of the U-Net.
        attention_heads: of every attention of the U-Net.
        text_width: width of the text model.
        text_layers: its transformer layers.
        images: pictures that the U-Net sees at most.
        minutes: minutes that it trains at most; 0 for no limit.
        batch_size: pictures a step.
        learning_rate: peak of the learning rate of U-Net and text model.
        warmup: pictures over which a rate rises, in both stages.
        decay: share of the progress, at the end, over which a rate falls to 0, in both stages.
        dropout: share of captions replaced by the empty text.
        min_snr: m of the loss weights.
        ema: decay of the averaged weights that ship.
        beta_start: first β of the noise process.
        beta_end: last one.
        beta_schedule: ``linear`` or ``scaled_linear``, what lies between.
        precision: ``no`` or ``bf16`` (autocast).
        compile: compile autoencoder and U-Net with ``torch.compile`` (pays on a GPU, after a minute).
        seed: seeds weights, pool and batches.
        checkpoint_minutes: how often the state is saved.
        sample_every: pictures between sample grids.
    """

    size: int = 64
    pool: int = 100_000
    wordings: int = 2
    vae_channels: list[int] = field(default_factory=lambda: [32, 64, 96])
    vae_images: int = 1_000_000
    vae_minutes: float = 0.0
    vae_batch_size: int = 128
    vae_learning_rate: float = 1e-3
    kl: float = 1e-4
    channels: list[int] = field(default_factory=lambda: [96, 96, 128])
    layers_per_block: int = 1
    attention_heads: int = 4
    text_width: int = 192
    text_layers: int = 2
    images: int = 4_000_000
    minutes: float = 0.0
    batch_size: int = 256
    learning_rate: float = 8e-4
    warmup: int = 50_000
    decay: float = 0.4
    dropout: float = 0.1
    min_snr: float = 10.0
    ema: float = 0.999
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    precision: str = "no"
    compile: bool = False
    seed: int = 0
    checkpoint_minutes: float = 4.0
    sample_every: int = 1_000_000


def rate_factor(seen: int, progress: float, cfg: TextToImageTraining) -> float:
    """Share of the peak rate: warm-up in pictures seen, plateau, linear decay to 0 at progress 1."""
    rise = min(1.0, (seen + 1) / max(cfg.warmup, 1))
    return rise * max(0.0, min(1.0, (1 - progress) / max(cfg.decay, 1e-9)))


def train_text_to_image(cfg: TextToImageTraining, folder: Path) -> Path:
    """Train both stages, resuming from ``folder/state`` when it is there.

    Args:
        cfg: the settings.
        folder: receives ``state/`` (checkpoint), ``log.csv`` (stage, images, loss, rate, seconds), ``samples/*.png``
            with their prompts, ``pipeline/`` (a StableDiffusionPipeline), ``loss.png`` and ``training.json``.

    Returns:
        The pipeline folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(cfg, folder)
    pictures, factors = _pool(cfg, run.device)
    _train_vae(run, pictures)
    latents = _encode(run.vae, pictures)
    del pictures
    run.vae.register_to_config(scaling_factor=1 / float(latents.float().std()))
    texts, empty = caption_tokens(factors, run.tokenizer, cfg.wordings, cfg.seed)
    _train_unet(run, latents, texts, empty)
    pipeline = run.sample()
    _loss_curves(folder / "log.csv", folder / "loss.png")
    return pipeline


@dataclass
class _Stage:
    """How far one stage is; travels with the checkpoint."""

    step: int = 0
    seen: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    done: bool = False


class _Run:
    """Everything that a checkpoint holds, and how it is saved."""

    def __init__(self, cfg: TextToImageTraining, folder: Path) -> None:
        self.cfg, self.folder = cfg, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(cfg.seed)
        self.tokenizer = write_tokenizer(VOCABULARY, folder / "tokenizer")
        self.vae = _build_vae(cfg).to(self.device)
        self.unet = conditional_unet(
            cfg.size // 2 ** (len(cfg.vae_channels) - 1),
            cfg.channels,
            layers_per_block=cfg.layers_per_block,
            heads=cfg.attention_heads,
            text_width=cfg.text_width,
        ).to(self.device)
        self.text = _build_text_model(cfg, self.tokenizer).to(self.device)
        self.denoiser = [*self.unet.parameters(), *self.text.parameters()]
        self.ema = EMAModel(self.denoiser, decay=cfg.ema, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True)
        fused = self.device.type == "cuda"
        self.optimizers = {
            "vae": torch.optim.AdamW(self.vae.parameters(), weight_decay=0.0, betas=(0.9, 0.99), fused=fused),
            "unet": torch.optim.AdamW(self.denoiser, weight_decay=0.0, betas=(0.9, 0.99), fused=fused),
        }
        self.stages = {"vae": _Stage(), "unet": _Stage()}
        self.sittings: list[dict[str, Any]] = []
        if (folder / "state").exists():
            self._load()
        if not self.sittings or self.sittings[-1]["config"] != asdict(cfg):
            seen = {f"{name}_images": stage.seen for name, stage in self.stages.items()}
            self.sittings.append({"from": seen, "device": device_name(self.device), "config": asdict(cfg)})

    @property
    def _holders(self) -> dict[str, Any]:
        return {"vae": self.vae, "unet": self.unet, "text": self.text, "ema": self.ema} | {
            f"{name}_optimizer": optimizer for name, optimizer in self.optimizers.items()
        }

    def _load(self) -> None:
        state = torch.load(self.folder / "state" / "state.pt", map_location=self.device, weights_only=True)
        for name, holder in self._holders.items():
            holder.load_state_dict(state[name])
        self.ema.to(self.device)
        self.stages = {name: _Stage(**stage) for name, stage in state["stages"].items()}
        self.sittings = state["sittings"]

    def save_state(self) -> None:
        """The checkpoint, and what ``training.json`` says of it."""
        content: dict[str, Any] = {name: holder.state_dict() for name, holder in self._holders.items()}
        content |= {"stages": {k: asdict(v) for k, v in self.stages.items()}, "sittings": self.sittings}
        replace_state(self.folder, lambda fresh: torch.save(content, fresh / "state.pt"))
        facts = {
            "config": asdict(self.cfg),
            "stages": {name: asdict(stage) for name, stage in self.stages.items()},
            "seconds": round(sum(stage.seconds for stage in self.stages.values())),
            "images_seen": self.stages["unet"].seen,
            "loss": self.stages["unet"].loss,
            "sittings": self.sittings,
            "device": device_name(self.device),
        }
        (self.folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def save(self) -> Path:
        """The checkpoint, and the pipeline with the averaged weights."""
        self.save_state()
        self.ema.store(self.denoiser)
        self.ema.copy_to(self.denoiser)
        parts = [copy.deepcopy(part).cpu().eval() for part in (self.vae, self.unet, self.text)]
        self.ema.restore(self.denoiser)
        path = self.folder / "pipeline"
        pipe = StableDiffusionPipeline(
            vae=parts[0],
            unet=parts[1],
            text_encoder=parts[2],
            tokenizer=self.tokenizer,
            scheduler=_scheduler(self.cfg),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.save_pretrained(path)
        for name in ("vocab.json", "merges.txt"):  # for transformers 4, which reads these
            shutil.copyfile(self.folder / "tokenizer" / name, path / "tokenizer" / name)
        return path

    def sample(self) -> Path:
        """Save, and draw a grid of samples."""
        pipeline = self.save()
        path = self.folder / "samples" / f"{self.stages['unet'].seen:09d}.png"
        _sample_grid(pipeline, path, self.device, self.cfg.seed)
        return pipeline

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.cfg.precision == "bf16")

    def steps(
        self,
        name: str,
        images: int,
        minutes: float,
        batch: int,
        peak: float,
        *,
        on_save: Callable[[], object],
        on_sample: Callable[[], object] = lambda: None,
    ) -> Iterator[tuple[torch.Generator, Callable[[Tensor], None]]]:
        """Drive one stage: yields (generator of this batch, function that takes the loss and steps).

        Args:
            name: the stage.
            images: pictures at most.
            minutes: minutes at most, 0 for no limit.
            batch: pictures a step.
            peak: of the learning rate.
            on_save: called when a checkpoint is due.
            on_sample: called when a sample grid is due.
        """
        stage, optimizer, cfg = self.stages[name], self.optimizers[name], self.cfg
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        recent: list[Tensor] = []
        started = time.monotonic() - stage.seconds
        saved = time.monotonic()

        def progress() -> float:
            spent = stage.seconds / (60 * minutes) if minutes else 0.0
            return max(stage.seen / images, spent)

        def step(loss: Tensor) -> None:
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = peak * rate_factor(stage.seen, progress(), cfg)
            optimizer.step()
            optimizer.zero_grad()
            recent.append(loss.detach())  # a number only when it is logged: reading it waits for the GPU

        while progress() < 1:
            yield batch_generator(self.device, cfg.seed, 1 if name == "vae" else 2, stage.step), step
            stage.step += 1
            stage.seen += batch
            stage.seconds = time.monotonic() - started
            if stage.step % 100 == 0 or progress() >= 1:
                stage.loss = torch.stack(recent).mean().item()
                stage.seconds = time.monotonic() - started
                recent.clear()
                self._log(name, progress(), peak)
            if stage.seen // cfg.sample_every > (stage.seen - batch) // cfg.sample_every and progress() < 1:
                on_sample()
            if time.monotonic() - saved > 60 * cfg.checkpoint_minutes:
                on_save()
                saved = time.monotonic()

    def _log(self, name: str, progress: float, peak: float) -> None:
        path, stage = self.folder / "log.csv", self.stages[name]
        new = not path.exists()
        rate = peak * rate_factor(stage.seen, progress, self.cfg)
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["stage", "images", "loss", "learning_rate", "seconds"])
            writer.writerow([name, stage.seen, f"{stage.loss:.6f}", f"{rate:.3e}", f"{stage.seconds:.1f}"])
        if stage.step % 500 == 0 or progress >= 1:
            speed = stage.seen / max(stage.seconds, 1e-9)
            print(
                f"{name} {stage.seen:>9,} images  loss {stage.loss:.4f}  {speed:.0f} images/s  {progress:.0%}",
                flush=True,
            )


def batch_generator(device: torch.device, seed: int, stream: int, step: int) -> torch.Generator:
    """Randomness of one batch; stream 0 is the pool's, 1 and 2 the stages'."""
    return torch.Generator(device).manual_seed((seed << 34) + (stream << 32) + step)


def _build_vae(cfg: TextToImageTraining) -> AutoencoderKL:
    n = len(cfg.vae_channels)
    return AutoencoderKL(
        block_out_channels=tuple(cfg.vae_channels),
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=cfg.size,
    )


def conditional_unet(
    size: int, channels: Sequence[int], *, layers_per_block: int, heads: int, text_width: int
) -> UNet2DConditionModel:
    """A freshly initialised U-Net on latents (4, size, size), with attention to the text everywhere but at the last."""
    texted = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=4,
        out_channels=4,
        layers_per_block=layers_per_block,
        block_out_channels=tuple(channels),
        down_block_types=("CrossAttnDownBlock2D",) * texted + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * texted,
        cross_attention_dim=text_width,
        attention_head_dim=heads,  # diffusers' name for the number of heads
        norm_num_groups=8,
    )


def _build_text_model(cfg: TextToImageTraining, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=cfg.text_width,
        intermediate_size=4 * cfg.text_width,
        projection_dim=cfg.text_width,
        num_hidden_layers=cfg.text_layers,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: CLIPTextModel = CLIPTextModel(config)
    return model


def _pool(cfg: TextToImageTraining, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pictures as bytes (pool, 3, size, size), and their factors."""
    factors = sample_factors(cfg.pool, generator=batch_generator(device, cfg.seed, 0, 0))
    chunks = [((render(z, cfg.size) + 1) * 127.5).round().byte() for z in factors.split(CHUNK)]
    return torch.cat(chunks), factors


def _floats(pictures: Tensor) -> Tensor:
    return pictures.float() / 127.5 - 1


def caption_tokens(factors: Tensor, tokenizer: CLIPTokenizer, wordings: int, seed: int) -> tuple[Tensor, Tensor]:
    """Token ids of the captions (pool, wordings, length), and of the empty text (length,)."""
    generator = torch.Generator().manual_seed(seed)
    chunks = [
        torch.stack([_token_ids(caption(z, generator), tokenizer) for _ in range(wordings)], dim=1)
        for z in factors.cpu().split(CHUNK)
    ]
    return torch.cat(chunks).to(factors.device), _token_ids([""], tokenizer)[0].to(factors.device)


def _token_ids(captions: Sequence[str], tokenizer: CLIPTokenizer) -> Tensor:
    """What the tokenizer gives, padded, for texts of the vocabulary (a word is a token), but many times faster."""
    table = {word: tokenizer(word).input_ids[1] for word in (*VOCABULARY, ",")}
    start, end, length = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.model_max_length
    rows = []
    for text in captions:
        ids = [start, *(table[word] for word in re.findall("[a-z]+|,", text))][: length - 1]
        rows.append(ids + [end] * (length - len(ids)))
    return torch.tensor(rows, dtype=torch.int16)


def _train_vae(run: _Run, pictures: Tensor) -> None:
    cfg, vae, stage = run.cfg, run.vae, run.stages["vae"]
    if stage.done:
        return
    forward = torch.compile(_reconstruct) if cfg.compile else _reconstruct
    limits = cfg.vae_images, cfg.vae_minutes, cfg.vae_batch_size, cfg.vae_learning_rate
    side = cfg.size // 2 ** (len(cfg.vae_channels) - 1)
    for generator, step in run.steps("vae", *limits, on_save=run.save_state):
        index = torch.randint(len(pictures), (cfg.vae_batch_size,), generator=generator, device=run.device)
        x = _floats(pictures[index])
        noise = torch.randn(len(x), 4, side, side, generator=generator, device=run.device)
        with run.autocast():
            back, mean, logvar = forward(vae, x, noise)
        step(_vae_loss(back.float(), x, mean.float(), logvar.float(), cfg.kl))
    latents = _encode(vae, pictures[: 16 * CHUNK]).float()
    standardise(vae, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
    stage.done = True
    run.save_state()


def _reconstruct(vae: AutoencoderKL, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x̂ of a sample of q(z|x), and the mean and the log variance of q."""
    mean, logvar = vae.quant_conv(vae.encoder(x)).chunk(2, dim=1)
    logvar = logvar.clamp(-30, 20)
    return vae.decoder(vae.post_quant_conv(mean + (logvar / 2).exp() * noise)), mean, logvar


def _vae_loss(back: Tensor, x: Tensor, mean: Tensor, logvar: Tensor, kl: float) -> Tensor:
    error = back - x
    edges = (error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean()) / 2
    divergence = (mean.square() + logvar.exp() - 1 - logvar).mean() / 2
    return error.square().mean() + 0.25 * error.abs().mean() + edges + kl * divergence


@torch.no_grad()
def standardise(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Shift and scale the latents by (z − mean) / std a channel, in the 1×1 convolutions on their both sides.

    Reconstructions stay what they are: the last convolution of the encoder takes the map in, the first one of the
    decoder its inverse.

    Args:
        vae: changed in place.
        mean: shape (4,).
        std: shape (4,), positive.
    """
    to, back, n = vae.quant_conv, vae.post_quant_conv, len(mean)
    to.bias[:n].sub_(mean).div_(std)
    to.weight[:n].div_(std[:, None, None, None])
    to.bias[n:].sub_(2 * std.log())  # log variances
    back.bias.add_(back.weight[:, :, 0, 0] @ mean)
    back.weight.mul_(std[None, :, None, None])


@torch.no_grad()
def _encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Means of q(z|x), half precision (pool, 4, h, w)."""
    return torch.cat([vae.encode(_floats(chunk)).latent_dist.mean.half() for chunk in pictures.split(CHUNK)])


def _train_unet(run: _Run, latents: Tensor, texts: Tensor, empty: Tensor) -> None:
    cfg, text = run.cfg, run.text
    denoise = torch.compile(run.unet) if cfg.compile else run.unet
    alphas = _scheduler(cfg).alphas_cumprod.to(run.device)
    weights = loss_weights(alphas, cfg.min_snr)
    scale = run.vae.config.scaling_factor
    limits = cfg.images, cfg.minutes, cfg.batch_size, cfg.learning_rate
    for generator, step in run.steps("unet", *limits, on_save=run.save, on_sample=run.sample):
        n, device = cfg.batch_size, run.device
        index = torch.randint(len(latents), (n,), generator=generator, device=device)
        wording = torch.randint(cfg.wordings, (n,), generator=generator, device=device)
        dropped = torch.rand(n, generator=generator, device=device) < cfg.dropout
        t = torch.randint(TIMESTEPS, (n,), generator=generator, device=device)
        z = latents[index].float() * scale
        noise = torch.randn(z.shape, generator=generator, device=device)
        ids = torch.where(dropped[:, None], empty, texts[index, wording]).long()
        alpha = alphas[t][:, None, None, None]
        with run.autocast():
            context = text(ids)[0]
            predicted = denoise(alpha.sqrt() * z + (1 - alpha).sqrt() * noise, t, context, return_dict=False)[0]
        step((weights[t] * (predicted.float() - noise).square().mean(dim=(1, 2, 3))).mean())
        run.ema.step(run.denoiser)
    run.stages["unet"].done = True  # for the record: with more pictures or minutes, the stage goes on


def _scheduler(cfg: TextToImageTraining) -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_start=cfg.beta_start,
        beta_end=cfg.beta_end,
        beta_schedule=cfg.beta_schedule,
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def draw_grid(pipe: Any, path: Path, seed: int, *, steps: int) -> None:
    """Two samples of each of :data:`PROMPTS` at guidance 3, one column a prompt, which a text file lists.

    Args:
        pipe: a text-to-image pipeline of diffusers.
        path: of the picture.
        seed: of the noise.
        steps: of its sampler.
    """
    from torchvision.utils import save_image

    pipe.set_progress_bar_config(disable=True)
    pictures = pipe(
        list(PROMPTS) * 2,
        num_inference_steps=steps,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    ).images
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(pictures.float(), path, nrow=len(PROMPTS))
    path.with_suffix(".txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")


def _sample_grid(pipeline: Path, path: Path, device: torch.device, seed: int) -> None:
    draw_grid(StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None).to(device), path, seed, steps=50)


def _loss_curves(log: Path, path: Path) -> None:
    import matplotlib.pyplot as plt

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for panel, stage, title in zip(axes, ("vae", "unet"), ("autoencoder", "U-Net and text model"), strict=True):
        kept = [row for row in rows if row["stage"] == stage]
        panel.semilogy([int(r["images"]) for r in kept], [float(r["loss"]) for r in kept], lw=0.8)
        panel.set(xlabel="images seen", ylabel="training loss", title=title)
    figure.savefig(path, dpi=150)
    plt.close(figure)

r"""Training of the shipped ε-prediction model.

Minimises E_{x0, t, ε} w(t) ‖ε_θ(√α_t x0 + √(1−α_t) ε, t) − ε‖² with

    w(t) = min(SNR, m)/SNR · clip(√(0.05/SNR), 1, 10),      SNR = α_t / (1 − α_t).

The first factor is Min-SNR-m (Hang et al. 2023): little is learnt from nearly clean pictures, the less the smaller m;
m = 5 learns layouts fastest but leaves grain, m = 20 removes it. The second
one raises the noisiest timesteps, where an error of ε is magnified by 1/√α_t (158 at T) in x0 and would tint
every sample; without it, sampling from noise drifts to saturated colours when x0 is not clipped.

Batch number k is a pure function of (seed, k) and the device, so an interrupted run goes on with the very batches it
would have seen.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.errors import ConfigError
from training.fashion_mnist import DEBIAN, fashion_mnist

__all__ = [
    "DiffusionTraining",
    "Progress",
    "device_name",
    "learning_rate",
    "loss_curve",
    "loss_weights",
    "pictures",
    "replace_state",
    "train_diffusion",
    "write_log",
]

TIMESTEPS = 1000
"""Of the noise process."""

Batch = Callable[[int, torch.Generator], Tensor]
"""(batch size, generator) → clean pictures (B, C, H, W) in [−1, 1]."""


@dataclass
class DiffusionTraining:
    """Settings of :func:`train_diffusion`.

    Attributes:
        data: ``factor_faces`` or ``fashion_mnist``.
        path: folder of the data where they are files; Debian's when null.
        size: side of the pictures in pixels; 32 for Fashion-MNIST.
        channels: U-Net width at each resolution; attention at the lowest.
        layers_per_block: resnets a block.
        varying: factors of FactorFaces that vary, the others resting; all when null.
        images: how many pictures to see in all; may be raised or lowered when a run is resumed.
        batch_size: pictures a step.
        learning_rate: of AdamW, after a warm-up and before a final linear decay.
        warmup: pictures over which the rate rises.
        decay: share of ``images``, at the end, over which the rate falls to 0.
        min_snr: m of the loss weights.
        ema: decay of the averaged weights that ship.
        precision: accelerate's mixed precision, ``no`` or ``bf16`` (slow on CPUs without bf16 units).
        compile: compile the U-Net with ``torch.compile`` (pays on a GPU).
        seed: seeds weights and batches.
        checkpoint_minutes: how often the state is saved.
        sample_every: pictures between sample grids.
        keep: shares of ``images`` after which the averaged weights are kept, in half precision.
    """

    data: str = "factor_faces"
    path: str | None = None
    size: int = 32
    channels: list[int] = field(default_factory=lambda: [32, 64, 128])
    layers_per_block: int = 1
    varying: list[str] | None = None
    images: int = 400_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: int = 8_000
    decay: float = 0.25
    min_snr: float = 20.0
    ema: float = 0.999
    precision: str = "no"
    compile: bool = False
    seed: int = 0
    checkpoint_minutes: float = 4.0
    sample_every: int = 25_000
    keep: list[float] = field(default_factory=list)


def loss_weights(alphas_cumprod: Tensor, min_snr: float) -> Tensor:
    """w(t) of the module's docstring for every training timestep, shape (1000,), same dtype."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp_max(min_snr) / snr * (0.05 / snr).sqrt().clamp(1, 10)


class RateSettings(Protocol):
    """What a learning rate follows."""

    images: int
    learning_rate: float
    warmup: int
    decay: float


def learning_rate(seen: int, cfg: RateSettings) -> float:
    """Warm-up, plateau, linear decay to 0 (in pictures seen)."""
    rise = min(1.0, (seen + 1) / max(cfg.warmup, 1))
    fall = min(1.0, (cfg.images - seen) / max(cfg.decay * cfg.images, 1))
    return cfg.learning_rate * rise * max(fall, 0.0)


def build_unet(cfg: DiffusionTraining) -> UNet2DModel:
    """The U-Net to train, freshly initialised."""
    plain, attended = len(cfg.channels) - 1, 1
    return UNet2DModel(
        sample_size=cfg.size,
        in_channels=1 if cfg.data == "fashion_mnist" else 3,
        out_channels=1 if cfg.data == "fashion_mnist" else 3,
        layers_per_block=cfg.layers_per_block,
        block_out_channels=tuple(cfg.channels),
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attended,
        up_block_types=("AttnUpBlock2D",) * attended + ("UpBlock2D",) * plain,
        norm_num_groups=8,
        attention_head_dim=min(32, cfg.channels[-1]),
    )


def device_name(device: torch.device) -> str:
    """For cards."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"


def replace_state(folder: Path, write: Callable[[Path], object]) -> None:
    """Write ``folder/state`` and rename it into place: a kill while saving must not cost the last checkpoint."""
    fresh, state = folder / "state.new", folder / "state"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    write(fresh)
    shutil.rmtree(state, ignore_errors=True)
    fresh.rename(state)


class Progress:
    """Counters that travel with the checkpoint."""

    def __init__(self) -> None:
        self.step, self.seen, self.seconds, self.loss = 0, 0, 0.0, math.nan
        self.sittings: list[dict[str, Any]] = []  # settings of every sitting, with where it began

    def state_dict(self) -> dict[str, Any]:
        """All counters."""
        return vars(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from those of a checkpoint."""
        vars(self).update(state)

    def sit_down(self, cfg: Any) -> None:
        """Note the settings of this sitting, unless they are those of the last one."""
        if not self.sittings or self.sittings[-1]["config"] != asdict(cfg):
            self.sittings.append({"from_image": self.seen, "config": asdict(cfg)})


def pictures(cfg: DiffusionTraining) -> Batch:
    """What draws the clean pictures that the settings name, on the generator's device.

    Raises:
        ConfigError: no such data, or Fashion-MNIST at another size than 32.
        DataError: the files are missing or broken.
    """
    if cfg.data == "factor_faces":
        return lambda n, g: render(sample_factors(n, generator=g, varying=cfg.varying), cfg.size)
    if cfg.data != "fashion_mnist" or cfg.size != 32:
        raise ConfigError(
            f"training.data={cfg.data} at size {cfg.size}", "known are factor_faces, and fashion_mnist at size 32"
        )
    kept = fashion_mnist(cfg.path or DEBIAN)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        nonlocal kept
        kept = all_of_them = kept.to(generator.device)  # moved once
        return all_of_them[torch.randint(len(all_of_them), (n,), generator=generator, device=generator.device)]

    return draw


def train_diffusion(cfg: DiffusionTraining, folder: Path, batch: Batch | None = None) -> Path:
    """Train, resuming from ``folder/state`` when it is there.

    Args:
        cfg: the settings.
        folder: receives ``state/`` (checkpoint), ``log.csv`` (images, loss, rate, seconds), ``samples/*.png``,
            ``pipeline/`` (the EMA weights as a diffusers folder) and ``training.json``; ``kept/IMAGES/`` for every
            share of ``cfg.keep``, a diffusers folder with its record.
        batch: draws clean pictures, on the generator's device; :func:`pictures` of the settings when None.

    Returns:
        The pipeline folder.
    """
    if not all(0 < share <= 1 for share in cfg.keep):
        raise ConfigError(f"training.keep={cfg.keep} is not possible", "shares are above 0 and at most 1")
    batch = pictures(cfg) if batch is None else batch
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.seed)
    accelerator = Accelerator(mixed_precision=cfg.precision)
    unet = build_unet(cfg)
    scheduler = DDPMScheduler(
        num_train_timesteps=TIMESTEPS, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=True
    )
    optimizer = torch.optim.AdamW(unet.parameters(), lr=cfg.learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    ema = EMAModel(unet.parameters(), decay=cfg.ema, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True)
    progress = Progress()
    unet, optimizer = accelerator.prepare(unet, optimizer)
    forward = torch.compile(unet) if cfg.compile else unet
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema, progress)
    state = folder / "state"
    if state.exists():
        accelerator.load_state(str(state))
        ema.to(accelerator.device)  # what is registered is loaded to the CPU
    progress.sit_down(cfg)
    weights = loss_weights(scheduler.alphas_cumprod, cfg.min_snr).to(accelerator.device)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(accelerator.device)  # add_noise copies it at every step else

    def averaged() -> UNet2DModel:
        average = copy.deepcopy(accelerator.unwrap_model(unet))
        ema.copy_to(average.parameters())
        return average

    def facts() -> dict[str, Any]:
        return {
            "config": asdict(cfg),
            "images_seen": progress.seen,
            "seconds": round(progress.seconds),
            "sittings": progress.sittings,
            "loss": progress.loss,
            "device": device_name(accelerator.device),
        }

    def save() -> Path:
        replace_state(folder, lambda fresh: accelerator.save_state(str(fresh), safe_serialization=True))
        DDPMPipeline(averaged(), scheduler).save_pretrained(folder / "pipeline")
        (folder / "training.json").write_text(json.dumps(facts(), indent=2) + "\n", encoding="utf-8")
        return folder / "pipeline"

    def keep() -> None:
        kept = folder / "kept" / f"{progress.seen:08d}"
        DDPMPipeline(averaged().half(), scheduler).save_pretrained(kept)
        record = {"training": facts()}  # where ``diffgeo`` looks for the data that a model was trained on
        (kept / "evaluation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    started = time.monotonic() - progress.seconds
    saved, recent = time.monotonic(), []
    while progress.seen < cfg.images:
        generator = torch.Generator(accelerator.device).manual_seed((cfg.seed << 32) + progress.step)
        x0 = batch(cfg.batch_size, generator)
        t = torch.randint(0, TIMESTEPS, (len(x0),), generator=generator, device=generator.device)
        noise = torch.randn(x0.shape, generator=generator, device=generator.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress.seen, cfg)
        with accelerator.autocast():
            predicted = forward(scheduler.add_noise(x0, noise, t), t).sample
        loss = (weights[t] * (predicted.float() - noise).square().mean(dim=(1, 2, 3))).mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(accelerator.unwrap_model(unet).parameters())
        before = progress.seen
        progress.step += 1
        progress.seen += len(x0)
        progress.seconds = time.monotonic() - started
        recent.append(loss.detach())  # a number only when it is logged: reading it waits for the GPU
        if progress.step % 100 == 0 or progress.seen >= cfg.images:
            progress.loss = torch.stack(recent).mean().item()
            write_log(folder / "log.csv", progress, cfg)
            recent.clear()
        if any(before < share * cfg.images <= progress.seen for share in cfg.keep):
            keep()
        if progress.seen // cfg.sample_every > before // cfg.sample_every:
            _sample_grid(save(), folder / "samples" / f"{progress.seen:08d}.png", cfg.seed)
        if time.monotonic() - saved > 60 * cfg.checkpoint_minutes:
            save()
            saved = time.monotonic()
    pipeline = save()
    _sample_grid(pipeline, folder / "samples" / f"{progress.seen:08d}.png", cfg.seed)
    loss_curve(folder / "log.csv", folder / "loss.png")
    return pipeline


def write_log(path: Path, progress: Progress, cfg: RateSettings) -> None:
    """Append a row (images, loss, rate, seconds), and print how far the training is."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["images", "loss", "learning_rate", "seconds"])
        rate = learning_rate(progress.seen, cfg)
        writer.writerow([progress.seen, f"{progress.loss:.6f}", f"{rate:.3e}", f"{progress.seconds:.0f}"])
    speed = progress.seen / progress.seconds
    left = (cfg.images - progress.seen) / speed / 60
    print(
        f"{progress.seen:>9,} images  loss {progress.loss:.4f}  {speed:.1f} images/s  {left:.0f} minutes left",
        flush=True,
    )


@torch.no_grad()
def _sample_grid(pipeline: Path, path: Path, seed: int, n: int = 16, steps: int = 50) -> None:
    """A grid of DDIM samples by diffusers' own sampler, clipped, as a newcomer would draw them."""
    from diffusers import DDIMPipeline
    from torchvision.utils import save_image

    pipe = DDIMPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)
    pictures = pipe(
        batch_size=n, num_inference_steps=steps, generator=torch.Generator().manual_seed(seed), output_type="np"
    ).images
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(torch.from_numpy(pictures).permute(0, 3, 1, 2), path, nrow=math.ceil(n / 2))


def loss_curve(log: Path, path: Path, label: str = "weighted loss") -> None:
    """Draw the loss of ``log.csv`` over the images seen."""
    import matplotlib.pyplot as plt

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.semilogy([int(r["images"]) for r in rows], [float(r["loss"]) for r in rows], lw=0.8)
    axes.set(xlabel="images seen", ylabel=label, title="training loss")
    figure.savefig(path, dpi=150)
    plt.close(figure)

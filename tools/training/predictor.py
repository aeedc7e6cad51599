"""Training of the shipped attribute predictor on fresh renders."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.metrics.attributes import FactorNet, load_predictor
from training.diffusion import device_name

__all__ = ["PredictorTraining", "evaluate_predictor", "train_predictor"]

BINARY = [factor.kind == "binary" for factor in FACTORS]


@dataclass
class PredictorTraining:
    """Settings of :func:`train_predictor`.

    Attributes:
        size: side of the pictures in pixels.
        width: channels of the first stage.
        images: pictures to see in all.
        batch_size: pictures a step.
        learning_rate: peak of the one-cycle schedule.
        noise: largest standard deviation of Gaussian pixel noise added in training (drawn per picture from
            [0, noise]), so that small defects of generated pictures do not throw the predictor off.
        seed: seeds weights and batches.
    """

    size: int = 32
    width: int = 24
    images: int = 120_000
    batch_size: int = 64
    learning_rate: float = 2e-3
    noise: float = 0.04
    seed: int = 0


def train_predictor(cfg: PredictorTraining, folder: Path) -> Path:
    """Train, then evaluate on held-out renders.

    Args:
        cfg: the settings.
        folder: receives ``config.json``, ``model.safetensors`` and ``evaluation.json``.

    Returns:
        ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.seed)
    accelerator = Accelerator()
    network = FactorNet(cfg.size, cfg.width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=cfg.learning_rate, weight_decay=1e-4)
    steps = cfg.images // cfg.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, cfg.learning_rate, total_steps=steps, pct_start=0.1)
    network, optimizer = accelerator.prepare(network, optimizer)
    binary = torch.tensor(BINARY, device=accelerator.device)
    started = time.monotonic()
    for step in range(steps):
        generator = torch.Generator(accelerator.device).manual_seed((cfg.seed << 32) + step)
        z = sample_factors(cfg.batch_size, generator=generator)
        images = render(z, cfg.size)
        spread = torch.rand(len(z), 1, 1, 1, generator=generator, device=z.device) * cfg.noise
        images = images + spread * torch.randn(images.shape, generator=generator, device=z.device)
        loss = _loss(network(images), z, binary)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 0:
            print(f"{step * cfg.batch_size:>8,} images  loss {loss.item():.4f}", flush=True)
    plain = accelerator.unwrap_model(network).eval()
    save_file({k: v.contiguous().cpu() for k, v in plain.state_dict().items()}, folder / "model.safetensors")
    config = {"size": cfg.size, "width": cfg.width, "names": list(FACTOR_NAMES), "binary": BINARY}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    facts = {
        "config": asdict(cfg),
        "images_seen": steps * cfg.batch_size,
        "seconds": round(time.monotonic() - started),
        "device": device_name(accelerator.device),
        "held_out": evaluate_predictor(folder, cfg.size),
    }
    (folder / "evaluation.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return folder


def evaluate_predictor(folder: Path | str, size: int, *, n: int = 4096, seed: int = 1_000_003) -> dict[str, float]:
    """R² of each continuous factor and AUROC of each binary one, on ``n`` renders that training never saw."""
    from sklearn.metrics import r2_score, roc_auc_score

    predictor = load_predictor(folder)
    z = sample_factors(n, generator=torch.Generator().manual_seed(seed))
    predicted = torch.cat([predictor(render(chunk, size)) for chunk in z.split(512)])
    scores = {}
    for i, factor in enumerate(FACTORS):
        truth, guess = z[:, i].numpy(), predicted[:, i].numpy()
        score = roc_auc_score(truth > 0, guess) if factor.kind == "binary" else r2_score(truth, guess)
        scores[factor.name] = round(float(score), 5)
    return scores


def _loss(output: Tensor, z: Tensor, binary: Tensor) -> Tensor:
    continuous = (output - z).square() * ~binary
    logit = nn.functional.binary_cross_entropy_with_logits(output, (z > 0).float(), reduction="none") * binary
    return (continuous + 0.2 * logit).sum(dim=1).mean()

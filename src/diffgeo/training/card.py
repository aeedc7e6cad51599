"""Model cards, written from measured facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diffgeo.training.diffusion import DiffusionTraining

__all__ = ["diffusion_card", "predictor_card"]

KS_BAR, PSNR_BAR = 0.15, 35.0


def diffusion_card(facts: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The card of the shipped diffusion model, in Markdown.

    Args:
        facts: ``training.json`` of ``scripts/train.py``.
        evaluation: what ``scripts/ship.py`` measured.
    """
    cfg, psnr = facts["config"], evaluation["reconstruction_psnr_db"]
    rows = "\n".join(
        f"| {name} | {value:.3f} | {'yes' if value <= KS_BAR else '**no**'} |"
        for name, value in evaluation["ks_distance"].items()
    )
    size, channels = cfg["size"], tuple(cfg["channels"])
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: unconditional-image-generation
---
# FactorFaces {size}×{size}, unconditional

A DDPM of synthetic portraits whose 14 factors are known, shipped with diffgeo so that every claim about directions can be
measured offline. Not a model of real people.

![samples](samples.png)

| | |
|---|---|
| architecture | diffusers `UNet2DModel`, channels {channels}, {cfg["layers_per_block"]} layer a block, attention at the lowest resolution |
| process | linear β from 1e-4 to 0.02, 1000 steps, ε-prediction; EMA weights |
| data | `diffgeo.data.factor_faces`, rendered on the fly, never the same picture twice |
| pictures seen | {facts["images_seen"]:,} |
| training time | {facts["seconds"] / 60:.0f} minutes on {facts["device"]} |
| batch, rate, EMA, seed | {cfg["batch_size"]}, {cfg["learning_rate"]:g} (warm-up, plateau, linear decay), {cfg["ema"]}, {cfg["seed"]} |
| loss | {facts["loss"]:.4f} at the end: ε-MSE with the weights of `diffgeo.training.diffusion.loss_weights`; curve below |
| commands | {"<br>".join(_commands(facts))}<br>`python scripts/ship.py diffusion outputs/training/factor_faces` |

## Measured

Reconstruction of 64 held-out renders by DDIM inversion and sampling, 100 steps, x̂0 not clipped: mean PSNR
**{psnr["mean"]:.1f} dB**, worst {psnr["min"]:.1f} dB (bar: mean at least {PSNR_BAR:g}).

Kolmogorov–Smirnov distance between predicted factors of {evaluation["samples"]:,} samples (50 DDIM steps, x̂0 clipped) and of as many renders
(bar: at most {KS_BAR}):

| factor | distance | within the bar |
|---|---|---|
{rows}

Sample with x̂0 clipped (the scheduler's default here); invert and reconstruct without clipping.

![loss](loss.png)
"""


def _commands(facts: dict[str, Any]) -> list[str]:
    """One training command a sitting, with whatever differs from the defaults."""
    lines = []
    for sitting in facts["sittings"]:
        defaults = asdict(DiffusionTraining())
        changed = [f"training.{k}={v}" for k, v in sitting["config"].items() if v != defaults[k]]
        lines.append(f"`python scripts/train.py {' '.join(changed)}` from picture {sitting['from_image']:,}")
    return lines


def predictor_card(facts: dict[str, Any]) -> str:
    """The card of the shipped attribute predictor, in Markdown."""
    cfg = facts["config"]
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in facts["held_out"].items())
    return f"""---
license: apache-2.0
---
# FactorFaces attribute predictor

A convolutional network that reads the 14 factors off a {cfg["size"]}×{cfg["size"]} portrait. Binary factors are logits.
Trained on {facts["images_seen"]:,} fresh renders with up to {cfg["noise"]} of pixel noise in {facts["seconds"] / 60:.0f} minutes on the CPU, seed {cfg["seed"]}:
`python scripts/train.py training=factor_predictor` then `python scripts/ship.py predictor outputs/training/factor_predictor`.

Held-out renders (4,096): R² of continuous factors, AUROC of binary ones.

| factor | score |
|---|---|
{rows}
"""

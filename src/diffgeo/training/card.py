"""Model cards, written from measured facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diffgeo.data.factor_faces import FACTORS
from diffgeo.training.diffusion import DiffusionTraining
from diffgeo.training.predictor import PredictorTraining

__all__ = ["diffusion_card", "predictor_card"]

KS_BAR, PSNR_BAR = 0.15, 35.0


def diffusion_card(name: str, facts: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The card of a shipped diffusion model, in Markdown.

    Args:
        name: what it ships as, and the folder it was trained in.
        facts: ``training.json`` of ``scripts/train.py``.
        evaluation: what ``scripts/ship.py`` measured.
    """
    cfg, psnr = facts["config"], evaluation["reconstruction_psnr_db"]
    rows = "\n".join(
        f"| {factor} | {value:.3f} | {'yes' if value <= KS_BAR else '**no**'} |"
        for factor, value in evaluation["ks_distance"].items()
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
| data | `diffgeo.data.factor_faces`, {_data(cfg)}, rendered on the fly, never the same picture twice |
| pictures seen | {facts["images_seen"]:,} |
| training time | {facts["seconds"] / 60:.0f} minutes on {facts["device"]} |
| batch, rate, EMA, seed | {cfg["batch_size"]}, {cfg["learning_rate"]:g} (warm-up, plateau, linear decay), {cfg["ema"]}, {cfg["seed"]} |
| loss | {facts["loss"]:.4f} at the end: ε-MSE with the weights of `diffgeo.training.diffusion.loss_weights`; curve below |
| commands | {"<br>".join(_commands(name, facts))}<br>`python scripts/ship.py diffusion outputs/training/{name}` |

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


def _data(cfg: dict[str, Any]) -> str:
    varying = cfg["varying"]
    return f"only {', '.join(varying)} varying" if varying else f"all {len(FACTORS)} factors varying"


def _commands(name: str, facts: dict[str, Any]) -> list[str]:
    """One training command a sitting, with whatever differs from the defaults."""
    lines = []
    for sitting in facts["sittings"]:
        changed = [*_overrides(sitting["config"], asdict(DiffusionTraining())), f"out=outputs/training/{name}"]
        lines.append(f"`python scripts/train.py {' '.join(changed)}` from picture {sitting['from_image']:,}")
    return lines


def _overrides(config: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """What to type for the settings that differ from the defaults."""
    changed = {k: v for k, v in config.items() if v != defaults[k]}
    return [
        f"training.{k}={'[' + ','.join(map(str, v)) + ']' if isinstance(v, list) else v}" for k, v in changed.items()
    ]


def predictor_card(name: str, facts: dict[str, Any]) -> str:
    """The card of a shipped attribute predictor, in Markdown; arguments as in :func:`diffusion_card`."""
    cfg = facts["config"]
    rows = "\n".join(f"| {factor} | {value:.4f} |" for factor, value in facts["held_out"].items())
    return f"""---
license: apache-2.0
---
# FactorFaces attribute predictor

A convolutional network that reads the 14 factors off a {cfg["size"]}×{cfg["size"]} portrait. Binary factors are logits.
Trained on {facts["images_seen"]:,} fresh renders with up to {cfg["noise"]} of pixel noise in {facts["seconds"] / 60:.0f} minutes on {facts["device"]}, seed {cfg["seed"]}:
`python scripts/train.py {" ".join(["training=factor_predictor", *_overrides(cfg, asdict(PredictorTraining())), f"out=outputs/training/{name}"])}`
then `python scripts/ship.py predictor outputs/training/{name}`.

Held-out renders (4,096): R² of continuous factors, AUROC of binary ones.

| factor | score |
|---|---|
{rows}
"""

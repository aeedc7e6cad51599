"""Model cards, written from measured facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diffgeo.data.factor_faces import FACTORS
from training.diffusion import DiffusionTraining
from training.flow import FlowTraining
from training.predictor import PredictorTraining
from training.text_to_image import TextToImageTraining

__all__ = ["diffusion_card", "flow_card", "predictor_card", "text_to_image_card"]

KS_BAR, PSNR_BAR = 0.15, 35.0


def diffusion_card(name: str, facts: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The card of a shipped diffusion model, in Markdown.

    Args:
        name: what it ships as, and the folder it was trained in.
        facts: ``training.json`` of ``tools/train.py``.
        evaluation: what ``tools/ship.py`` measured.
    """
    cfg, psnr = facts["config"], evaluation["reconstruction_psnr_db"]
    size, channels = cfg["size"], tuple(cfg["channels"])
    clothes = cfg["data"] == "fashion_mnist"
    title = f"{'Fashion-MNIST' if clothes else 'FactorFaces'} {size}×{size}, unconditional"
    what = (
        "A DDPM of Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, MIT licence) on a 32×32 canvas, shipped with diffgeo as a "
        "small model\nof real pictures."
        if clothes
        else "A DDPM of synthetic portraits whose factors are known, shipped with diffgeo so that every claim about "
        "directions can be\nmeasured offline. Not a model of real people."
    )
    stored = ", stored in float16" if facts.get("half") else ""
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: unconditional-image-generation
---
# {title}

{what}

![samples](samples.png)

| | |
|---|---|
| architecture | diffusers `UNet2DModel`, channels {channels}, {cfg["layers_per_block"]} layer a block, attention at the lowest resolution |
| process | linear β from 1e-4 to 0.02, 1000 steps, ε-prediction; EMA weights{stored} |
| data | {_data(cfg)} |
| pictures seen | {facts["images_seen"]:,} |
| training time | {facts["seconds"] / 60:.0f} minutes on {facts["device"]} |
| batch, rate, EMA, seed | {cfg["batch_size"]}, {cfg["learning_rate"]:g} (warm-up, plateau, linear decay), {cfg["ema"]}, {cfg["seed"]} |
| loss | {facts["loss"]:.4f} at the end: ε-MSE with the weights of `loss_weights` in `tools/training/diffusion.py`; curve below |
| commands | {"<br>".join(_commands(name, facts))}<br>`python tools/ship.py diffusion outputs/training/{name}{" --half" if stored else ""}` |

## Measured

Reconstruction of 64 held-out pictures by DDIM inversion and sampling, 100 steps, x̂0 not clipped: mean PSNR
**{psnr["mean"]:.1f} dB**, worst {psnr["min"]:.1f} dB (bar: mean at least {PSNR_BAR:g}{", missed" * (psnr["mean"] < PSNR_BAR)}).

{_factor_table(evaluation)}Sample with x̂0 clipped (the scheduler's default here); invert and reconstruct without clipping.

![loss](loss.png)
"""


def _factor_table(evaluation: dict[str, Any], samples: str = "samples (50 DDIM steps, x̂0 clipped)") -> str:
    """The table of factor distances, with an empty line behind it; nothing for data without factors."""
    if "ks_distance" not in evaluation:
        return ""
    rows = "\n".join(
        f"| {factor} | {value:.3f} | {'yes' if value <= KS_BAR else '**no**'} |"
        for factor, value in evaluation["ks_distance"].items()
    )
    return f"""Kolmogorov–Smirnov distance between predicted factors of {evaluation["samples"]:,} {samples} and of as many renders
(bar: at most {KS_BAR}):

| factor | distance | within the bar |
|---|---|---|
{rows}

"""


def _data(cfg: dict[str, Any]) -> str:
    if cfg["data"] == "fashion_mnist":
        return "`tools/training/fashion_mnist.py`, the 60,000 training pictures"
    varying = cfg["varying"]
    which = f"only {', '.join(varying)} varying" if varying else f"all {len(FACTORS)} factors varying"
    return f"`diffgeo.data.factor_faces`, {which}, rendered on the fly, never the same picture twice"


def _commands(name: str, facts: dict[str, Any]) -> list[str]:
    """One training command a sitting, with whatever differs from the defaults."""
    lines = []
    for sitting in facts["sittings"]:
        changed = [*_overrides(sitting["config"], asdict(DiffusionTraining())), f"out=outputs/training/{name}"]
        lines.append(f"`python tools/train.py {' '.join(changed)}` from picture {sitting['from_image']:,}")
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
`python tools/train.py {" ".join(["training=factor_predictor", *_overrides(cfg, asdict(PredictorTraining())), f"out=outputs/training/{name}"])}`
then `python tools/ship.py predictor outputs/training/{name}`.

Held-out renders (4,096): R² of continuous factors, AUROC of binary ones.

| factor | score |
|---|---|
{rows}
"""


def text_to_image_card(name: str, facts: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The card of the shipped text-to-image model; arguments as in :func:`diffusion_card`."""
    cfg, vae, unet = facts["config"], facts["stages"]["vae"], facts["stages"]["unet"]
    rows = "\n".join(
        f"| {factor} | {value:.1%} | {evaluation['found_on_renders'][factor]:.1%} | {evaluation['claims'][factor]:,} |"
        for factor, value in evaluation["found"].items()
    )
    psnr = evaluation["vae_psnr_db"]
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# FactorFaces {cfg["size"]}×{cfg["size"]}, text to image

A small `StableDiffusionPipeline` of captioned synthetic portraits, shipped with diffgeo so that text-conditional studies
run offline. It knows the words of `tools/training/captions.py` and nothing else. Not a model of real people.

![samples](samples.png)

Prompts, left to right: {"; ".join(facts["prompts"])}.

| | |
|---|---|
| parts | `AutoencoderKL` {tuple(cfg["vae_channels"])}, 4 latent channels at a quarter of the side; `UNet2DConditionModel` {tuple(cfg["channels"])}; `CLIPTextModel` of width {cfg["text_width"]} and {cfg["text_layers"]} layers, trained along; word tokens |
| process | {cfg["beta_schedule"]} β from {cfg["beta_start"]:g} to {cfg["beta_end"]:g}, 1000 steps, ε-prediction; EMA weights, stored in float16 |
| data | {cfg["pool"]:,} portraits with {cfg["wordings"]} captions each; {cfg["dropout"]:.0%} of captions dropped |
| autoencoder | {vae["seen"]:,} pictures, {vae["seconds"] / 60:.1f} minutes, batch {cfg["vae_batch_size"]} |
| U-Net and text model | {unet["seen"]:,} pictures, {unet["seconds"] / 60:.1f} minutes, batch {cfg["batch_size"]}, rate {cfg["learning_rate"]:g}, EMA {cfg["ema"]} |
| device, seed | {facts["device"]}, {cfg["seed"]} |
| loss | {unet["loss"]:.4f} at the end (curve below) |
| commands | `python tools/train.py training=factor_faces_t2i {" ".join(_overrides(cfg, asdict(TextToImageTraining())))}`<br>`python tools/ship.py text_to_image outputs/training/{name}` |

The training was limited by minutes, so another machine sees another number of pictures and ends with other weights.

## Measured

Autoencoder, {psnr["renders"]:,} held-out renders: mean PSNR
**{psnr["mean"]:.1f} dB**, worst {psnr["min"]:.1f} dB (bar: mean at least 30). Prompt following, {evaluation["samples"]:,} held-out captions,
guidance {evaluation["guidance"]:g}, {evaluation["steps"]} DDIM steps: the share of the captions' claims that the 64×64 predictor finds on the samples, and on
renders of the very factors. Bars: 85 % for background, hair, skin, glasses and beard, 65 % for smile and mouth.

| factor | found | on renders | claims |
|---|---|---|---|
{rows}

![loss](loss.png)
"""


def flow_card(name: str, facts: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The card of a shipped rectified-flow model; arguments as in :func:`diffusion_card`."""
    cfg, psnr, vae = facts["config"], evaluation["reconstruction_psnr_db"], evaluation["vae_psnr_db"]
    joint = cfg["network"] == "transformer"
    network = (
        f"`SD3Transformer2DModel`, {cfg['layers']} joint blocks of width {32 * cfg['heads']}, patch 2"
        if joint
        else f"`UNet2DConditionModel` {tuple(cfg['channels'])}"
    )
    found = "\n".join(
        f"| {factor} | {value:.1%} | {evaluation['found_on_renders'][factor]:.1%} | {evaluation['claims'][factor]:,} |"
        for factor, value in evaluation["found"].items()
    )
    loading = (
        "StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)"
        if joint
        else "StableDiffusionPipeline.from_pretrained(folder)"
    )
    commands = [
        f"`python tools/train.py {' '.join(['training=' + name, *_overrides(sitting['config'], asdict(FlowTraining()))])} "
        f"out=outputs/training/{name}` from picture {sitting['from_image']:,}"
        for sitting in facts["sittings"]
    ]
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# FactorFaces {cfg["size"]}×{cfg["size"]}, rectified flow, {"transformer" if joint else "U-Net"}

A small text-to-image model of captioned synthetic portraits, shipped with diffgeo to compare architectures: a transformer and a
U-Net can be trained on the same latents, captions and batches with the same target. Not a model of real people.

![samples](samples.png)

Prompts, left to right: {"; ".join(facts["prompts"])}.

| | |
|---|---|
| network | {network}, {facts["parameters"]:,} parameters; EMA weights, stored in float16 |
| other parts | autoencoder and text model of `{cfg["source"]}`, frozen |
| process | rectified flow, velocity ε − x0, σ = s u / (1 + (s − 1) u) with s = {cfg["shift"]:g} and u uniform |
| data | {cfg["pool"]:,} portraits with {cfg["wordings"]} captions each; {cfg["dropout"]:.0%} of captions dropped |
| pictures seen | {facts["images_seen"]:,} |
| training time | {facts["seconds"] / 60:.0f} minutes on {facts["device"]} |
| batch, rate, EMA, seed | {cfg["batch_size"]}, {cfg["learning_rate"]:g} (warm-up, plateau, linear decay), {cfg["ema"]}, {cfg["seed"]} |
| loss | {facts["loss"]:.4f} at the end, mean squared error of the velocity (curve below) |
| load | `{loading}` |
| commands | {"<br>".join(commands)}<br>`python tools/ship.py flow outputs/training/{name}` |

## Measured

Prompt following, {evaluation["samples"]:,} held-out captions, guidance {evaluation["guidance"]:g}, {evaluation["steps"]} Euler steps: the share of the captions' claims that the
64×64 predictor finds on the samples, and on renders of the very factors.

| factor | found | on renders | claims |
|---|---|---|---|
{found}

{_factor_table(evaluation, "samples of held-out captions without guidance")}Reconstruction of held-out pictures by inversion under the empty prompt and sampling, 100 steps: mean PSNR **{psnr["mean"]:.1f} dB**, worst
{psnr["min"]:.1f} dB; of the autoencoder alone {vae["mean"]:.1f} dB, worst {vae["min"]:.1f} dB.

![loss](loss.png)
"""

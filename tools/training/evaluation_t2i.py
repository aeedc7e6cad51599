r"""Quality of the shipped text-to-image models, for their cards.

- **Autoencoder:** PSNR of held-out renders through the means of q(z|x), 10 log₁₀(4 / MSE) for pictures in [−1, 1].
- **Prompt following:** of all claims of the prompts on a factor, the share that a predictor finds on the samples. The
  same share on renders which the captions were written for is what the predictor allows at best.
- **Factors of samples** and **reconstruction**, of flows, as :mod:`training.evaluation` has them: samples of held-out
  captions without guidance, and inversion under the empty prompt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor

from diffgeo.data.captions import prompted_values
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.models import load_model
from diffgeo.metrics.attributes import AttributePredictor, load_predictor
from training.captions import caption
from training.evaluation import factor_distances, reconstruction_psnr
from training.flow import load_pipeline

__all__ = ["autoencoder_psnr", "claims_found", "evaluate_flow", "evaluate_text_to_image"]

HELD_OUT = 1_000_003
"""Seed of renders and captions that no training saw."""
ZERO_TOKENS = 16
"""In place of T5's, of which a pipeline takes 256 unless told."""
COARSE = ("background_hue", "hair_hue", "hair_lightness", "hair_length", "skin_tone", "glasses", "beard")
FINE = ("smile", "mouth_opening")


def evaluate_text_to_image(
    pipeline: Path | str,
    predictor: Path | str,
    *,
    n: int = 1024,
    guidance: float = 3.0,
    steps: int = 50,
    batch_size: int = 256,
    renders: int = 1024,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """Measure a pipeline folder.

    Args:
        pipeline: a folder of a StableDiffusionPipeline, or of one that ``train_flow`` wrote.
        predictor: a predictor folder, trained at the size of its pictures.
        n: samples, each with a caption of its own.
        guidance: scale of classifier-free guidance.
        steps: DDIM or Euler steps.
        batch_size: samples drawn at once.
        renders: held-out renders for the autoencoder.
        device: where to run; a GPU when there is one.

    Returns:
        ``vae_psnr_db`` (mean, min), ``found`` and ``found_on_renders`` (factor → share), ``claims`` (factor → number),
        ``coarse`` and ``fine`` (lowest share among the factors that the card has a bar for), and the settings.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipe = load_pipeline(Path(pipeline)).to(device)
    if "beta_start" in pipe.scheduler.config and not pipe.scheduler.config.get("use_flow_sigmas", False):
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    reader = load_predictor(predictor, device=device)
    size = _picture_size(pipe)
    generator = torch.Generator().manual_seed(HELD_OUT)
    factors = sample_factors(n, generator=generator)
    prompts = caption(factors, generator)
    drawn = _drawn(pipe, reader, prompts, generator, guidance=guidance, steps=steps, batch_size=batch_size)
    rendered = [reader(render(z.to(device), size)) for z in factors.split(batch_size)]
    found, claims = claims_found(prompts, drawn, reader)
    possible, _ = claims_found(prompts, torch.cat(rendered), reader)
    psnr = autoencoder_psnr(pipe.vae, size, n=renders)
    return {
        "vae_psnr_db": {"mean": round(float(psnr.mean()), 2), "min": round(float(psnr.min()), 2), "renders": len(psnr)},
        "found": found,
        "found_on_renders": possible,
        "claims": claims,
        "coarse": min((found[name] for name in COARSE if name in found), default=None),
        "fine": min((found[name] for name in FINE if name in found), default=None),
        "samples": n,
        "guidance": guidance,
        "steps": steps,
        "megabytes": round(sum(f.stat().st_size for f in Path(pipeline).rglob("*") if f.is_file()) / 1e6, 2),
    }


def evaluate_flow(
    pipeline: Path | str,
    predictor: Path | str,
    *,
    n: int = 1024,
    reconstructed: int = 64,
    steps: int = 50,
    batch_size: int = 256,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """Measure a folder that ``train_flow`` wrote.

    Args:
        pipeline: the folder.
        predictor: a predictor folder, trained at the size of its pictures.
        n: samples, each with a caption of its own, for every figure.
        reconstructed: held-out renders that are inverted, in 100 steps.
        steps: Euler steps.
        batch_size: samples drawn at once.
        device: where to run; a GPU when there is one.

    Returns:
        What :func:`evaluate_text_to_image` finds, ``ks_distance`` (factor → distance), ``ks_distance_max`` and
        ``reconstruction_psnr_db`` (mean, min).
    """
    how: dict[str, Any] = {"steps": steps, "batch_size": batch_size}
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    found = evaluate_text_to_image(pipeline, predictor, n=n, renders=n, device=device, **how)
    pipe, reader = load_pipeline(Path(pipeline)).to(device), load_predictor(predictor, device=device)
    generator = torch.Generator().manual_seed(HELD_OUT + 1)
    prompts = caption(sample_factors(n, generator=generator), generator)
    drawn = _drawn(pipe, reader, prompts, generator, guidance=1.0, **how)
    distances = factor_distances(drawn, reader, size=_picture_size(pipe))
    model = load_model(pipeline, prompt="", device=device)
    held_out = sample_factors(reconstructed, generator=torch.Generator().manual_seed(HELD_OUT))
    psnr = reconstruction_psnr(model, render(held_out, _picture_size(pipe)))
    return found | {
        "ks_distance": {name: round(value, 4) for name, value in distances.items()},
        "ks_distance_max": round(max(distances.values()), 4),
        "reconstruction_psnr_db": {"mean": round(psnr.mean().item(), 2), "min": round(psnr.min().item(), 2)},
    }


def _picture_size(pipe: Any) -> int:
    network = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    return int(network.config.sample_size * pipe.vae_scale_factor)


def _drawn(
    pipe: Any,
    reader: AttributePredictor,
    prompts: Sequence[str],
    generator: torch.Generator,
    *,
    guidance: float,
    steps: int,
    batch_size: int,
) -> Tensor:
    """Predicted factors of a sample for every prompt, shape (n, k)."""
    pipe.set_progress_bar_config(disable=True)
    # of Stable Diffusion 3's pipeline without T5: the network was trained with 1 to 256 tokens in its place
    fewer = {"max_sequence_length": ZERO_TOKENS} if hasattr(pipe, "transformer") else {}
    found = []
    for start in range(0, len(prompts), batch_size):
        pictures = pipe(
            list(prompts[start : start + batch_size]),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="pt",
            **fewer,
        ).images
        found.append(reader(pictures.float() * 2 - 1))
    return torch.cat(found)


def claims_found(
    prompts: Sequence[str], values: Tensor, predictor: AttributePredictor
) -> tuple[dict[str, float], dict[str, int]]:
    """Share of the prompts' claims that hold, and their number, by factor.

    Args:
        prompts: n prompts.
        values: predicted factors, shape (n, k), in the order of ``predictor.names``.
        predictor: gives that order.
    """
    column = {name: i for i, name in enumerate(predictor.names)}
    held: dict[str, list[bool]] = defaultdict(list)
    for prompt, row in zip(prompts, values, strict=True):
        for claim in prompted_values(prompt):
            held[claim.factor].append(bool(claim.holds(row[column[claim.factor]])))
    ordered = [name for name in predictor.names if name in held]
    return {k: round(sum(held[k]) / len(held[k]), 4) for k in ordered}, {k: len(held[k]) for k in ordered}


@torch.no_grad()
def autoencoder_psnr(vae: AutoencoderKL, size: int, *, n: int = 1024, batch_size: int = 256) -> Tensor:
    """PSNR in dB of ``n`` held-out renders through encoder and decoder, shape (n,)."""
    factors = sample_factors(n, generator=torch.Generator().manual_seed(HELD_OUT))
    values = []
    for z in factors.split(batch_size):
        pictures = render(z.to(vae.device), size)
        back = vae.decode(vae.encode(pictures).latent_dist.mean).sample.clamp(-1, 1)
        values.append(20 * math.log10(2) - 10 * (back - pictures).square().mean(dim=(1, 2, 3)).log10().cpu())
    return torch.cat(values)

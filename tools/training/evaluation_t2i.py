r"""Quality of the embedded text-to-image model, for its card.

- **Autoencoder:** PSNR of held-out renders through the means of q(z|x), 10 log₁₀(4 / MSE) for pictures in [−1, 1].
- **Prompt following:** of all claims of the prompts on a factor, the share that a predictor finds on the samples. The
  same share on renders which the captions were written for is what the predictor allows at best.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from diffgeo.data.captions import caption, prompted_values
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.metrics.attributes import AttributePredictor, load_predictor

__all__ = ["autoencoder_psnr", "claims_found", "evaluate_text_to_image"]

HELD_OUT = 1_000_003
"""Seed of renders and captions that no training saw."""
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
        pipeline: a StableDiffusionPipeline folder.
        predictor: a predictor folder, trained at the size of its pictures.
        n: samples, each with a caption of its own.
        guidance: scale of classifier-free guidance.
        steps: DDIM steps.
        batch_size: samples drawn at once.
        renders: held-out renders for the autoencoder.
        device: where to run; a GPU when there is one.

    Returns:
        ``vae_psnr_db`` (mean, min), ``found`` and ``found_on_renders`` (factor → share), ``claims`` (factor → number),
        ``coarse`` and ``fine`` (lowest share among the factors that the card has a bar for), and the settings.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipe = StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None).to(device)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    reader = load_predictor(predictor, device=device)
    size = pipe.unet.config.sample_size * pipe.vae_scale_factor

    generator = torch.Generator().manual_seed(HELD_OUT)
    factors = sample_factors(n, generator=generator)
    prompts = caption(factors, generator)
    drawn, rendered = [], []
    for start in range(0, n, batch_size):
        pictures = pipe(
            prompts[start : start + batch_size],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="pt",
        ).images
        drawn.append(reader(pictures.float() * 2 - 1))
        rendered.append(reader(render(factors[start : start + batch_size].to(device), size)))
    found, claims = claims_found(prompts, torch.cat(drawn), reader)
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

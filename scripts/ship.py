"""Measure a trained model and put it into the package with its card and digests.

python scripts/ship.py diffusion outputs/training/factor_faces          evaluate, then copy to assets/factor_faces
python scripts/ship.py predictor outputs/training/factor_predictor
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from diffgeo.metrics.attributes import load_predictor
from diffgeo.models import load_model, shipped_folder
from diffgeo.models.loading import DIGESTS
from diffgeo.training.card import diffusion_card, predictor_card
from diffgeo.training.evaluation import factor_distances, reconstruction_psnr, sampled_factors


def sample_chunk(pipeline: str, seeds: range) -> torch.Tensor:
    return sampled_factors(load_model(pipeline), load_predictor(), seeds)


def ship_diffusion(trained: Path, samples: int) -> Path:
    facts = json.loads((trained / "training.json").read_text())
    model, predictor = load_model(trained / "pipeline"), load_predictor()
    psnr = reconstruction_psnr(model)
    print(f"reconstruction {psnr.mean():.1f} dB (worst {psnr.min():.1f})", flush=True)
    chunks = [range(first, min(first + 50, samples)) for first in range(0, samples, 50)]
    # one thread a process: small convolutions scale better over samples than over threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, torch.set_num_threads, (1,)) as pool:
        parts = []
        for part in pool.map(partial(sample_chunk, str(trained / "pipeline")), chunks):
            parts.append(part)
            print(f"{sum(map(len, parts))} of {samples} samples", flush=True)
    distances = factor_distances(torch.cat(parts), predictor, size=model.latent_shape[-1])
    evaluation = {
        "samples": samples,
        "ks_distance": {k: round(v, 4) for k, v in distances.items()},
        "ks_distance_max": round(max(distances.values()), 4),
        "reconstruction_psnr_db": {"mean": round(psnr.mean().item(), 2), "min": round(psnr.min().item(), 2)},
    }
    target = shipped_folder("factor_faces")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(trained / "pipeline", target)
    shutil.copy(trained / "loss.png", target / "loss.png")
    shutil.copy(sorted((trained / "samples").glob("*.png"))[-1], target / "samples.png")
    (target / "evaluation.json").write_text(json.dumps({"training": facts, "evaluation": evaluation}, indent=2) + "\n")
    (target / "README.md").write_text(diffusion_card(facts, evaluation))
    return target


def ship_predictor(trained: Path) -> Path:
    target = shipped_folder("factor_predictor")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "evaluation.json"):
        shutil.copy(trained / name, target / name)
    (target / "README.md").write_text(predictor_card(json.loads((trained / "evaluation.json").read_text())))
    return target


def write_digests(folder: Path) -> None:
    files = sorted(
        p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json") and p.name != "evaluation.json"
    )
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / DIGESTS).write_text("".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["diffusion", "predictor"])
    parser.add_argument("trained", type=Path, help="folder that scripts/train.py wrote")
    parser.add_argument("--samples", type=int, default=2000, help="samples for the factor distances")
    args = parser.parse_args()
    folder = ship_predictor(args.trained) if args.kind == "predictor" else ship_diffusion(args.trained, args.samples)
    write_digests(folder)
    print(folder)

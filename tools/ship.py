"""Measure a trained model and put it into the package with its card and digests.

python tools/ship.py diffusion outputs/training/factor_faces          evaluate, then copy to assets/factor_faces
python tools/ship.py evaluate outputs/training/factor_faces           only evaluate (--device cuda: in seconds)
python tools/ship.py predictor outputs/training/factor_predictor
python tools/ship.py text_to_image outputs/training/factor_faces_t2i   the same for the text-to-image model
python tools/ship.py flow outputs/training/factor_faces_flow           and for a rectified-flow model

An asset is called what its training folder is called. With --half its weights are stored in half precision (and loaded
in float32, as ever), and that is what is measured.
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
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.models import load_model, shipped_folder
from diffgeo.diffusion.models.locating import DIGESTS
from diffgeo.metrics.attributes import load_predictor
from training.card import diffusion_card, flow_card, predictor_card, text_to_image_card
from training.diffusion import DiffusionTraining
from training.evaluation import factor_distances, held_out, reconstruction_psnr, sampled_factors
from training.evaluation_t2i import evaluate_flow, evaluate_text_to_image


def sample_chunk(pipeline: str, device: str, predictor: str, seeds: range) -> torch.Tensor:
    return sampled_factors(load_model(pipeline, device=device), load_predictor(predictor, device=device), seeds)


def sample_all(pipeline: str, device: str, predictor: str, samples: int) -> torch.Tensor:
    size = 50 if device == "cpu" else 500
    chunks = [range(first, min(first + size, samples)) for first in range(0, samples, size)]
    draw = partial(sample_chunk, pipeline, device, predictor)
    if device != "cpu":
        return torch.cat([draw(chunk) for chunk in chunks])
    # one thread a process: small convolutions scale better over samples than over threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, torch.set_num_threads, (1,)) as pool:
        parts = []
        for part in pool.map(draw, chunks):
            parts.append(part)
            print(f"{sum(map(len, parts))} of {samples} samples", flush=True)
    return torch.cat(parts)


def evaluate(trained: Path, samples: int, device: str, predictor: str) -> dict[str, Any]:
    """Measure, and keep the figures beside the training."""
    cfg = DiffusionTraining(**json.loads((trained / "training.json").read_text(encoding="utf-8"))["config"])
    model = load_model(trained / "pipeline", device=device)
    psnr = reconstruction_psnr(model, held_out(cfg, 64))
    evaluation: dict[str, Any] = {
        "reconstruction_psnr_db": {"mean": round(psnr.mean().item(), 2), "min": round(psnr.min().item(), 2)}
    }
    print(f"reconstruction {psnr.mean():.1f} dB (worst {psnr.min():.1f})", flush=True)
    if cfg.data == "factor_faces":
        sampled = sample_all(str(trained / "pipeline"), device, predictor, samples)
        distances = factor_distances(sampled, load_predictor(predictor), size=cfg.size, varying=cfg.varying)
        evaluation["samples"] = samples
        evaluation["ks_distance"] = {name: round(value, 4) for name, value in distances.items()}
        evaluation["ks_distance_max"] = round(max(distances.values()), 4)
    (trained / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(evaluation, indent=2))
    return evaluation


def halve(pipeline: Path) -> None:
    """Store the weights of every part in float16."""
    for path in pipeline.rglob("*.safetensors"):
        save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


def forget_places(pipeline: Path) -> None:
    """Leave out of every config where on this machine a part was loaded from."""
    for path in pipeline.rglob("config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def ship_diffusion(trained: Path, evaluation: dict[str, Any]) -> Path:
    facts, target = json.loads((trained / "training.json").read_text(encoding="utf-8")), shipped_folder(trained.name)
    facts["half"] = any(v.dtype == torch.float16 for v in load_file(next(trained.rglob("*.safetensors"))).values())
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(trained / "pipeline", target)
    forget_places(target)
    shutil.copy(trained / "loss.png", target / "loss.png")
    shutil.copy(sorted((trained / "samples").glob("*.png"))[-1], target / "samples.png")
    (target / "evaluation.json").write_text(
        json.dumps({"training": facts, "evaluation": evaluation}, indent=2) + "\n", encoding="utf-8"
    )
    (target / "README.md").write_text(diffusion_card(trained.name, facts, evaluation), encoding="utf-8")
    return target


def ship_prompted(trained: Path, samples: int, measured: bool, *, flow: bool) -> Path:
    """Weights in half precision, measured so unless an earlier evaluation is taken."""
    facts = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    target = shipped_folder(trained.name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(trained / "pipeline", target)
    forget_places(target)
    halve(target)
    if not measured:
        reader = shipped_folder("factor_predictor_64")
        if flow:
            found = evaluate_flow(target, reader, n=samples)
        else:
            found = evaluate_text_to_image(target, reader, n=samples, renders=samples)
        (trained / "evaluation.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    evaluation = json.loads((trained / "evaluation.json").read_text(encoding="utf-8"))
    shutil.copy(trained / "loss.png", target / "loss.png")
    shutil.copy(sorted((trained / "samples").glob("*.png"))[-1], target / "samples.png")
    prompts = sorted((trained / "samples").glob("*.txt"))[-1].read_text(encoding="utf-8").splitlines()
    record = {"training": facts, "evaluation": evaluation}
    (target / "evaluation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    card = (flow_card if flow else text_to_image_card)(trained.name, facts | {"prompts": prompts}, evaluation)
    (target / "README.md").write_text(card, encoding="utf-8")
    return target


def ship_predictor(trained: Path) -> Path:
    target = shipped_folder(trained.name)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "evaluation.json"):
        shutil.copy(trained / name, target / name)
    (target / "README.md").write_text(
        predictor_card(trained.name, json.loads((trained / "evaluation.json").read_text(encoding="utf-8"))),
        encoding="utf-8",
    )
    return target


def write_digests(folder: Path) -> None:
    files = sorted(
        p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json") and p.name != "evaluation.json"
    )
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / DIGESTS).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["diffusion", "evaluate", "flow", "predictor", "text_to_image"])
    parser.add_argument("trained", type=Path, help="folder that tools/train.py wrote")
    parser.add_argument("--samples", type=int, default=2000, help="samples for the factor distances")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predictor", default="factor_predictor", help="shipped name or folder")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    parser.add_argument("--measured", action="store_true", help="take the figures of an earlier evaluation")
    args = parser.parse_args()
    if args.half:
        halve(args.trained / "pipeline")
    if args.kind == "predictor":
        folder = ship_predictor(args.trained)
    elif args.kind in ("text_to_image", "flow"):
        folder = ship_prompted(args.trained, args.samples, args.measured, flow=args.kind == "flow")
    elif args.measured:
        folder = ship_diffusion(
            args.trained, json.loads((args.trained / "evaluation.json").read_text(encoding="utf-8"))
        )
    else:
        measured = evaluate(args.trained, args.samples, args.device, args.predictor)
        folder = ship_diffusion(args.trained, measured) if args.kind == "diffusion" else args.trained
    if args.kind != "evaluate":
        write_digests(folder)
    print(folder)

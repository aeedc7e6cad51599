"""Measure how well each way of inversion brings pictures back: PSNR at an equal number of network evaluations.

python benchmarks/inversion.py                                          64 held-out renders, both noise processes
python benchmarks/inversion.py --samples 4 --evaluations 20 --model factor_faces

A picture is inverted to T and denoised by DDIM in as many steps, x̂0 not clipped. PSNR is against what the model's
autoencoder gives back of the picture; models on pixels have none, and give back the picture itself. Models that take a
prompt are given the empty one.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator

import pandas as pd
import torch
from torch import Tensor

from diffgeo import ddim_invert, ddim_sample, load_model
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.sampling import INVERSIONS, Inversion

__all__ = ["held_out", "measure", "psnr"]

SEED = 1_000_003
"""Of factors that no training drew; ``tools/training`` evaluates on the same."""
PER_STEP = {"ddim": 1, "midpoint": 2, "fireflow": 1, "fixed_point": 2}
"""Way of inversion → network evaluations a step, of which ``fireflow`` takes one more in its first."""
PROMPTS = {"factor_faces": None, "factor_faces_flow": ""}
"""Model → prompt."""


def held_out(n: int, size: int) -> Tensor:
    """``n`` rendered portraits, shape (n, 3, size, size) in [−1, 1]."""
    return render(sample_factors(n, generator=torch.Generator().manual_seed(SEED)), size)


@torch.no_grad()
def psnr(model: DiffusionModel, pictures: Tensor, method: Inversion, steps: int) -> Tensor:
    """PSNR in dB of each picture after inversion to T and back, shape (n,).

    Args:
        model: that inverts.
        pictures: shape (n, 3, H, W), a range of 2 in [−1, 1].
        method: of :func:`diffgeo.ddim_invert`.
        steps: of the inversion, and of DDIM back.
    """
    clean = model.encode(pictures.to(model.device, model.dtype))
    back = ddim_sample(model, ddim_invert(model, clean, steps=steps, method=method), steps=steps)
    error = (model.decode(back) - model.decode(clean)).square().mean(dim=(1, 2, 3))
    return 20 * math.log10(2) - 10 * error.log10().cpu()


def measure(models: Iterable[str], samples: int, evaluations: int, batch: int = 16) -> Iterator[dict[str, object]]:
    """A row per model and way of inversion: ``steps``, ``evaluations`` to noise, ``mean`` and ``worst`` PSNR in dB."""
    for name in models:
        model = load_model(name, prompt=PROMPTS[name], device="auto")
        pictures = held_out(samples, model.picture_size)
        for method in INVERSIONS:
            steps = evaluations // PER_STEP[method]
            values = torch.cat([psnr(model, chunk, method, steps) for chunk in pictures.split(batch)])
            done = steps * PER_STEP[method]
            row: dict[str, object] = {"model": name, "inversion": method, "steps": steps, "evaluations": done}
            yield row | {"mean": values.mean().item(), "worst": values.min().item()}


def main(argv: list[str] | None = None) -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=list(PROMPTS), default=list(PROMPTS))
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--evaluations", type=int, default=100, help="of the network, from the picture to noise")
    told = parser.parse_args(argv)
    table = pd.DataFrame(measure(told.model, told.samples, told.evaluations))
    print(table.to_string(index=False, float_format="{:.1f}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure how well each way of inversion brings pictures back: PSNR at an equal number of network evaluations.

python benchmarks/inversion.py                                          64 held-out renders, both noise processes
python benchmarks/inversion.py --samples 4 --evaluations 20 --model factor_faces
python benchmarks/inversion.py --mend --model factor_faces              where DDIM inversion loses a picture

A picture is inverted to T and denoised by DDIM in as many steps, x̂0 not clipped. PSNR is against what the model's
autoencoder gives back of the picture; models on pixels have none, and give back the picture itself. Models that take a
prompt are given the empty one.

``--mend`` inverts by DDIM, but some of the steps by ``fixed_point``, and tells how far ε differs at the two ends of the
first steps, the share that a first-order step is wrong by.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator

import pandas as pd
import torch
from torch import Tensor

from diffgeo import ddim_invert, ddim_sample, load_model
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.diffusion.sampling import INVERSIONS, Inversion

__all__ = ["gaps", "held_out", "measure", "mended", "mends", "psnr"]

SEED = 1_000_003
"""Of factors that no training drew; ``tools/training`` evaluates on the same."""
PER_STEP = {"ddim": 1, "midpoint": 2, "fireflow": 1, "fixed_point": 2}
"""Way of inversion → network evaluations a step, of which ``fireflow`` takes one more in its first."""
PROMPTS = {"factor_faces": None, "factor_faces_flow": "", "factor_faces_flow_unet": ""}
"""Model → prompt."""
FIRST = 3
"""Steps next to the picture, where ε changes most."""


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
    return _psnr(model.decode(back), model.decode(clean))


def _psnr(back: Tensor, clean: Tensor) -> Tensor:
    """Of each picture, shape (n,)."""
    return 20 * math.log10(2) - 10 * (back - clean).square().mean(dim=(1, 2, 3)).log10().cpu()


@torch.no_grad()
def mended(model: DiffusionModel, clean: Tensor, steps: int, mend: Callable[[int], bool]) -> Tensor:
    """Noise of clean latents by DDIM inversion whose i-th step, from the picture, is a fixed point's if ``mend(i)``."""
    x, start = clean, CLEAN
    for i, t in enumerate(reversed(model.schedule.timesteps(steps))):
        x = ddim_invert(model, x, steps=steps, start=start, stop=t, method="fixed_point" if mend(i) else "ddim")
        start = t
    return x


@torch.no_grad()
def gaps(model: DiffusionModel, clean: Tensor, steps: int, most: int = FIRST) -> list[float]:
    """Mean ‖ε_t − ε_s‖ / ‖ε_t‖ between the two ends of each of the first steps, along exact paths."""
    rising = list(reversed(model.schedule.timesteps(steps)))
    x, before, found = clean, model.forward(clean, rising[0]), []
    for s, t in zip([CLEAN, *rising], rising[:most], strict=False):
        x = ddim_invert(model, x, steps=steps, start=s, stop=t, method="fixed_point")
        after = model.forward(x, t)
        found.append(((after - before).flatten(1).norm(dim=1) / after.flatten(1).norm(dim=1)).mean().item())
        before = after
    return found


def mends(name: str, samples: int, steps: int, batch: int = 16) -> Iterator[dict[str, object]]:
    """A row per choice of mended steps: ``mean`` and ``worst`` PSNR in dB."""
    model = load_model(name, prompt=PROMPTS[name], device="auto")
    clean = model.encode(held_out(samples, model.picture_size).to(model.device, model.dtype))
    choices: dict[str, Callable[[int], bool]] = {
        "none": lambda _: False,
        f"the first {FIRST}": lambda i: i < FIRST,
        "all but the first": lambda i: i > 0,
        "all": lambda _: True,
    }
    shares = torch.tensor([gaps(model, part, steps) for part in clean.split(batch)]).mean(dim=0)
    print(f"{name}, {steps} steps: ε differs in the first ones by {', '.join(f'{one:.0%}' for one in shares)}")
    for what, mend in choices.items():
        back = [ddim_sample(model, mended(model, part, steps, mend), steps=steps) for part in clean.split(batch)]
        values = _psnr(model.decode(torch.cat(back)), model.decode(clean))
        yield {"model": name, "mended": what, "mean": values.mean().item(), "worst": values.min().item()}


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
    parser.add_argument("--mend", action="store_true", help="which steps of DDIM inversion lose a picture")
    parser.add_argument("--steps", type=int, default=40, help="of --mend")
    told = parser.parse_args(argv)
    if told.mend:
        table = pd.DataFrame([row for name in told.model for row in mends(name, told.samples, told.steps)])
    else:
        table = pd.DataFrame(measure(told.model, told.samples, told.evaluations))
    print(table.to_string(index=False, float_format="{:.1f}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())

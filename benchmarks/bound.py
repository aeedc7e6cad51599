"""The fewest passes that any Krylov solver takes, from the singular values alone: python benchmarks/bound.py.

Golub–Kahan finds, from its start, the best approximations of the singular vectors among all polynomials in JᵀJ of its
degree times that start; no other polynomial (Chebyshev filter, subspace or power iteration) of as many passes does
better. In the basis of the singular vectors J is the diagonal of its singular values, so the bound costs no network:
after the dense SVD of one J, a Krylov space of diag(s²) in float64, kept orthogonal, from Gaussian starts.

Prints, by block size, the passes after which the largest angle between the leading n right singular vectors and their
approximations is below the tolerance: the median of the starts, and the range.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch

from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.sampling import initial_noise
from diffgeo.jacobian import JacobianOperator


def passes(s: np.ndarray[Any, Any], n: int, block: int, tol: float, seed: int) -> int:
    """Passes until the leading n right singular vectors of diag(s) are found to ``tol`` rad."""
    random, squares = np.random.default_rng(seed), (s**2)[:, None]
    space = np.linalg.qr(random.standard_normal((len(s), block)))[0]
    last = space
    while space.shape[1] < len(s) - block:
        last = squares * last
        for _ in range(2):
            last = last - space @ (space.T @ last)
        if space.shape[1] >= n:
            _, ritz = np.linalg.eigh(space.T @ (squares * space))
            found = space @ ritz[:, -n:]
            sine = np.linalg.norm(found[n:], ord=2)  # the part outside the span of the leading n
            if math.asin(min(1.0, sine)) <= tol:
                return 2 * space.shape[1]
        last = np.linalg.qr(last)[0]
        space = np.concatenate([space, last], axis=1)
    return 2 * len(s)


def spectrum() -> np.ndarray[Any, Any]:
    """All singular values of J of the shipped model at its first noise, float64."""
    model = load_model("factor_faces")
    x = initial_noise(model, [0])[0]
    return torch.linalg.svdvals(JacobianOperator(model.feature_map(model.schedule.T), x).dense().double()).numpy()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=50)
    parser.add_argument("--tol", type=float, default=1e-3, help="largest angle, rad")
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8])
    args = parser.parse_args()
    s = spectrum()
    print(f"n = {args.rank}, gap behind it {1 - s[args.rank] / s[args.rank - 1]:.2%}, angle {args.tol:g} rad")
    for block in args.blocks:
        found = [passes(s, args.rank, block, args.tol, seed) for seed in range(args.starts)]
        print(f"blocks of {block}: {int(np.median(found))} passes ({min(found)} to {max(found)})", flush=True)


if __name__ == "__main__":
    main()

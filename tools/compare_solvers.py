"""Compare the SVD solvers on the shipped model: passes, time and error against the dense SVD, as a Markdown table.

python tools/compare_solvers.py            t = T, whole h, n = 50 (a few minutes on two cores)
"""

import argparse
import time
import warnings

import torch

from diffgeo import JacobianOperator, initial_noise, load_model
from diffgeo.errors import ConvergenceWarning
from diffgeo.geometry import principal_angles
from diffgeo.svd import Dense, GolubKahan, Randomized, Subspace

CASES = [
    (GolubKahan(block_size=4), 1e-4),
    (GolubKahan(block_size=8), 1e-4),
    (GolubKahan(block_size=16), 1e-4),
    (GolubKahan(block_size=8), 1e-3),
    (Subspace(oversample=0, max_passes=1000), 1e-4),
    (Subspace(oversample=0, max_passes=5000), 1e-4),
    (Randomized(oversample=10, power_steps=3), 1e-4),
]
"""Solvers, and to which tolerance."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="factor_faces")
    parser.add_argument("--rank", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    model = load_model(args.model)
    jacobian = JacobianOperator(model.feature_map(model.schedule.T), initial_noise(model, [args.seed])[0])
    started = time.perf_counter()
    truth = Dense().solve(jacobian, args.rank, tol=1e-4)
    seconds = time.perf_counter() - started
    print(f"J is {jacobian.shape[0]} x {jacobian.shape[1]}, n = {args.rank}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads; gap behind the last direction {truth.certificate.gap:.1%}\n")
    print("| solver | settings | passes | seconds | angle of V, rad | error of s |")
    print("|---|---|---|---|---|---|")
    print(f"| dense | | {truth.certificate.passes} | {seconds:.1f} | 0 | 0 |")
    for solver, tol in CASES:
        started = time.perf_counter()
        basis = solver.solve(jacobian, args.rank, tol=tol, seed=args.seed)
        seconds = time.perf_counter() - started
        angle = principal_angles(truth.V, basis.V).max().item()
        error = ((basis.s - truth.s) / truth.s).abs().max().item()
        settings = ", ".join(f"{k} {v:g}" for k, v in {**vars(solver), "tol": tol}.items() if v is not None)
        print(
            f"| {solver.name} | {settings} | {basis.certificate.passes} | {seconds:.1f} | {angle:.0e} | {error:.0e} |"
        )


if __name__ == "__main__":
    main()

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
from diffgeo.svd import SOLVERS

CASES = [
    ("golub_kahan", {"block_size": 4, "tol": 1e-4}),
    ("golub_kahan", {"block_size": 8, "tol": 1e-4}),
    ("golub_kahan", {"block_size": 16, "tol": 1e-4}),
    ("golub_kahan", {"block_size": 8, "tol": 1e-3}),
    ("subspace", {"oversample": 0, "max_passes": 1000}),
    ("subspace", {"oversample": 0, "max_passes": 5000}),
    ("randomized", {"oversample": 10, "power_steps": 3}),
]


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
    truth = SOLVERS["dense"](jacobian, args.rank)
    seconds = time.perf_counter() - started
    print(f"J is {jacobian.shape[0]} x {jacobian.shape[1]}, n = {args.rank}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads; gap behind the last direction {truth.certificate.gap:.1%}\n")
    print("| solver | settings | passes | seconds | angle of V, rad | error of s |")
    print("|---|---|---|---|---|---|")
    print(f"| dense | | {truth.certificate.passes} | {seconds:.1f} | 0 | 0 |")
    for name, options in CASES:
        started = time.perf_counter()
        basis = SOLVERS[name](jacobian, args.rank, seed=args.seed, **options)
        seconds = time.perf_counter() - started
        angle = principal_angles(truth.V, basis.V).max().item()
        error = ((basis.s - truth.s) / truth.s).abs().max().item()
        settings = ", ".join(f"{key} {value:g}" for key, value in options.items())
        print(f"| {name} | {settings} | {basis.certificate.passes} | {seconds:.1f} | {angle:.0e} | {error:.0e} |")


if __name__ == "__main__":
    main()

"""Measure one product J V and one Jᵀ U, against other ways to make them and against a pass of f.

python benchmarks/products.py                                        narrow networks, x as large as the papers'
python benchmarks/products.py --architecture celebahq sd15           the published ones (hours on a CPU)
python benchmarks/products.py --architecture celebahq sd15 --count   their memory alone: shapes without numbers, seconds

All ways are measured in turns, one column at a time, so that whatever slows the machine down meets all of them. Seconds
are medians, without the first turn, in which graphs are made that a basis keeps. Memory is that of the tensors which
both products make, graphs included, beside weights and x.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from architectures import ARCHITECTURES, build
from machine import empty_memory, environment
from released import Product, diffgeo_products, released_products
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffgeo import JacobianOperator, initial_noise
from diffgeo.jacobian.memory import Ledger, peak_bytes
from diffgeo.jacobian.product_modes import OneGraph, Plain
from diffgeo.results import atomic

__all__ = ["WAYS", "goals", "measure", "table"]

GOALS = {"sd_narrow": (5.0, 3.0, 2.5), "celebahq_narrow": (4.0, 2.0, 2.5)}
"""Network → forward passes that J V and Jᵀ U may cost together, how many times cheaper than by forward mode, and GB."""
EQUAL = 1e-5
"""Relative, of float32 products."""
OURS, FORWARD = "diffgeo", "torch: jvp, vjp of one graph"
RELEASED, FUNC = "as released: jvp, new graphs", "torch.func: vjp, the vjp's vjp"


def forward_products(jacobian: JacobianOperator) -> tuple[Product, Product]:
    """J V by forward mode, Jᵀ U over one graph; torch's rules, plain attention: what diffgeo did first."""
    x = jacobian.x
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
        way = Plain(jacobian.f, x)

    def push(rows: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return way.pushed(rows.reshape(-1, *x.shape)).flatten(1)

    def pull(rows: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return way.pulled(rows.reshape(-1, *jacobian.h.shape)).flatten(1)

    return push, pull


def func_products(jacobian: JacobianOperator) -> tuple[Product, Product]:
    """J V and Jᵀ U by ``torch.func.vjp`` of f and of its vjp, over one copy of x a column."""
    f, x = jacobian.f, jacobian.x
    graphs: dict[int, Callable[[Tensor], tuple[Tensor]]] = {}
    transposed: dict[int, Callable[[Tensor], tuple[Tensor]]] = {}

    def copies(k: int) -> Callable[[Tensor], tuple[Tensor]]:
        if k not in graphs:
            point = x.reshape(1, *x.shape[-3:]).expand(k, -1, -1, -1).contiguous()
            h, graphs[k] = torch.func.vjp(lambda at: f(at).flatten(1), point)  # type: ignore[misc]
            _, transposed[k] = torch.func.vjp(lambda u: graphs[k](u)[0].flatten(1), torch.zeros_like(h))  # type: ignore[misc]
        return graphs[k]

    def push(rows: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            copies(len(rows))
            return transposed[len(rows)](rows)[0]

    def pull(rows: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return copies(len(rows))(rows)[0].flatten(1)

    return push, pull


WAYS: dict[str, Callable[[JacobianOperator], tuple[Product, Product]]] = {
    OURS: diffgeo_products,
    FORWARD: forward_products,
    RELEASED: released_products,
    FUNC: func_products,
}


def measure(name: str, *, device: str, seed: int, turns: int) -> list[dict[str, object]]:
    """Rows of one network: seconds of J V and Jᵀ U by every way, of a pass of f, and how far the numbers differ.

    Args:
        name: of the network.
        device: torch's name.
        seed: of weights, latent and columns.
        turns: how often everything is measured, after one turn that is not.
    """
    model = build(name, device, seed=seed)
    x = initial_noise(model, [seed])[0]
    f = model.feature_map(model.schedule.T)

    def products_of(way: str) -> tuple[Product, Product]:
        return WAYS[way](JacobianOperator(f, x, chunk_size=1))

    m, d = JacobianOperator(f, x).shape
    generator = torch.Generator().manual_seed(seed)
    v, u = (torch.randn(1, size, generator=generator).to(x) for size in (d, m))
    peaks = {
        way: peak_bytes(lambda way=way: [p(w) for p, w in zip(products_of(way), (v, u), strict=True)]) for way in WAYS
    }
    empty_memory()
    products = {way: products_of(way) for way in WAYS}
    exact: dict[str, tuple[Tensor, Tensor]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}

    def timed(way: str, what: str, call: Callable[[], Tensor]) -> Tensor:
        wait(device)
        started = time.perf_counter()
        result = call()
        wait(device)
        seconds.setdefault((way, what), []).append(time.perf_counter() - started)
        return result

    for _ in range(turns + 1):
        with torch.no_grad():
            timed("forward pass", "f", lambda: f(x[None]))
        for way, (push, pull) in products.items():
            exact[way] = timed(way, "J V", lambda p=push: p(v)), timed(way, "Jᵀ U", lambda p=pull: p(u))
        print(f"{name}: " + ", ".join(f"{w} {k} {t[-1]:.3g} s" for (w, k), t in seconds.items()), flush=True)
    floor = statistics.median(seconds["forward pass", "f"][1:])
    rows: list[dict[str, object]] = []
    for way in WAYS:
        jv, ju = (statistics.median(seconds[way, what][1:]) for what in ("J V", "Jᵀ U"))
        far = max(((a - b).norm() / b.norm()).item() for a, b in zip(exact[way], exact[FORWARD], strict=True))
        own = {"way": way, "jv_s": jv, "ju_s": ju, "forward_s": floor, "passes": (jv + ju) / floor}
        rows.append({"architecture": name, "m": m, "d": d, **own, "gb": peaks[way] / 1e9, "difference": far})
    return rows


def count(name: str, columns: tuple[int, ...] = (1, 4, 8, 16, 32)) -> list[dict[str, object]]:
    """Rows of one network: bytes of the graphs of J V and Jᵀ U, and the most with so many columns at once.

    Tensors have shapes and no numbers here (torch's ``meta`` device): any network can be counted on any machine.
    """
    model = build(name, "meta")
    x = initial_noise(model, [0])[0]
    weights = sum(p.numel() * p.element_size() for p in model.unet.parameters()) / 1e9
    rows: list[dict[str, object]] = []
    for k in columns:
        with Ledger() as ledger:
            way = OneGraph(model.feature_map(model.schedule.T), x)
            way.prepare()
            graphs = ledger.held / 1e9
            images = way.pushed(x.expand(k, *x.shape))
            way.pulled(images)
        rows.append({"architecture": name, "columns": k, "weights_gb": weights, "graphs_gb": graphs})
        rows[-1] |= {"gb": ledger.peak / 1e9, "with_weights_gb": weights + ledger.peak / 1e9}
    return rows


def wait(device: str) -> None:
    """Until the device's work is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """The rows, with how many times cheaper diffgeo's pair of products is than each way's."""
    found = pd.DataFrame(rows)
    pair = found["jv_s"] + found["ju_s"]
    ours = pair[found["way"] == OURS].set_axis(found["architecture"][found["way"] == OURS])
    return found.assign(times_ours=pair / found["architecture"].map(ours))


def goals(found: pd.DataFrame) -> list[str]:
    """What the narrow networks are held to, and what was measured."""
    lines = []
    for name, (most, least, memory) in GOALS.items():
        part = found[found["architecture"] == name].set_index("way")
        if not len(part):
            continue
        passes, gb, far = part.loc[OURS, ["passes", "gb", "difference"]]
        times = part.loc[FORWARD, "times_ours"]
        for met, words in (
            (passes <= most, f"J V + Jᵀ U cost {passes:.3g} forward passes (at most {most:g})"),
            (times >= least, f"{times:.3g} times cheaper than by forward mode (at least {least:g})"),
            (gb <= memory, f"{gb:.2g} GB beside the weights (at most {memory:g})"),
            (far <= EQUAL, f"products differ by {far:.1g} from those of torch's rules (at most {EQUAL:g})"),
        ):
            lines.append(f"{'met    ' if met else 'NOT MET'} {name}: {words}")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run, print and write ``products.csv``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", choices=ARCHITECTURES, default=list(GOALS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--count", action="store_true", help="count memory on shapes alone, without measuring")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    args = parser.parse_args(argv)
    if args.count:
        counted = pd.DataFrame([row for name in args.architecture for row in count(name)])
        print(counted.to_string(index=False, float_format="%.3g"))
        return 0
    where = environment(args.device)
    print(", ".join(f"{k} {v}" for k, v in where.items()), flush=True)
    rows: list[dict[str, object]] = []
    for name in args.architecture:
        rows += measure(name, device=args.device, seed=args.seed, turns=args.turns)
        empty_memory()
    found = table(rows)
    with atomic(args.out / "products.csv") as temporary:
        found.assign(**where).to_csv(temporary, index=False)
    print("\n" + found.drop(columns=["m", "d"]).to_string(index=False, float_format="%.3g") + "\n")
    print("\n".join(goals(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

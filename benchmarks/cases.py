"""What is compared: the solvers of diffgeo with their settings, and the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from released import Iterate, Product, diffgeo_products, random_start, released_products, subspaces
from scipy.sparse.linalg import svds

from diffgeo import JacobianOperator, LocalBasis
from diffgeo.svd import GolubKahan, Randomized, Solver, Subspace, as_basis, signs

TOL = 1e-4
EXACT = 4e-7
"""What ARPACK ends at when told 1e-4, since it iterates on JᵀJ."""
ITERATIONS = (10, 30, 50)
Settings = dict[str, Any]
Solve = Callable[[JacobianOperator, int, int], Iterator[tuple[Settings, LocalBasis]]]


class OutOfTimeError(Exception):
    """The time of a case has ended."""


@dataclass(frozen=True)
class Case:
    """One solver with its settings.

    Attributes:
        solver: name in the table.
        promised: settings of the bases that ``solve`` yields, in order.
        solve: yields (settings, basis); later bases may continue from earlier ones.
        width: columns of its products, to warm them up.
        share: of the time that remains, at most.
        prepare: what is known before, outside passes and time.
        products: makes the J V and Jᵀ U that it takes, to warm them up.
    """

    solver: str
    promised: list[Settings]
    solve: Solve
    width: int
    share: float = 1.0
    prepare: Callable[[], object] | None = None
    products: Callable[[JacobianOperator], tuple[Product, Product]] = diffgeo_products


def ours(solver: Solver, width: int, share: float = 1.0, label: str | None = None, tol: float | None = TOL) -> Case:
    """A solver of diffgeo; ``tol`` is None if it looks at none."""
    given = {f.name: getattr(solver, f.name) for f in fields(solver)}
    own = {name: value for name, value in given.items() if value is not None and value is not False}
    settings: Settings = own | ({} if tol is None else {"tol": tol})

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        yield settings, solver.solve(jacobian, rank, tol=tol or TOL, seed=seed)

    return Case(label or solver.name, [settings], solve, width, share)


def blocks_of(size: int, tol: float = TOL) -> Case:
    """The default solver with blocks of this many columns."""
    return ours(GolubKahan(block_size=size), size, tol=tol)


def papers(rank: int, *, released: bool) -> Case:
    """Subspace iteration as released (:mod:`released`): n columns, at most 50 iterations, 2 n passes each.

    Args:
        rank: n.
        released: with products as in the released code, or with those of diffgeo.
    """
    products = released_products if released else diffgeo_products
    made_by: Settings = {"products": "released" if released else "ours"}

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        last: Iterate | None = None
        try:
            for last in subspaces(*products(jacobian), random_start(jacobian.shape[1], rank, seed, jacobian.x)):
                basis = basis_of(last, jacobian)
                for bound in ITERATIONS:  # once stopped it is the result under all larger bounds, too
                    if bound == last.number or (last.stopped and bound > last.number):
                        yield {**made_by, "iterations": bound}, basis
                if last.number == ITERATIONS[-1]:
                    return
        except OutOfTimeError:  # how far it came is worth a row of its own
            if last is not None and last.number not in ITERATIONS:
                yield {**made_by, "iterations": last.number}, basis_of(last, jacobian)
            raise

    promised = [{**made_by, "iterations": i} for i in ITERATIONS]
    return Case("papers", promised, solve, rank, share=0.4, products=products)


def basis_of(iterate: Iterate, jacobian: JacobianOperator) -> LocalBasis:
    """What the released function returned, as a basis whose residuals are still to be measured.

    U belongs to the V before, whose columns may be turned around; with that left in, residuals would be 2.
    """
    nan = torch.full_like(iterate.s, float("nan"), dtype=torch.float64)
    u, s, v = (part.double() for part in (iterate.u, iterate.s, iterate.v))
    u = u * signs((iterate.previous * iterate.v).sum(dim=0))
    passes, gap = 2 * iterate.number * len(s), float("nan")
    dtype = jacobian.x.dtype
    return as_basis(dtype, u, s, v, left=nan, right=nan, tol=TOL, passes=passes, solver="papers", gap=gap)


def scipy_svds(solver: str) -> Case:
    """``scipy.sparse.linalg.svds`` over the same products, one column at a time (its algorithms have no blocks)."""
    settings = {"solver": solver, "tol": TOL}

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        m, d = jacobian.shape
        operator = jacobian.to_scipy("float64")
        start = np.random.default_rng(seed).standard_normal(m if solver == "propack" else min(m, d))
        before = jacobian.passes
        u, s, vh = svds(operator, k=rank, tol=TOL, solver=solver, v0=start)
        order = np.argsort(-s)
        u, s, v = (torch.from_numpy(a.copy()).to(jacobian.x.device) for a in (u[:, order], s[order], vh[order].T))
        passes = jacobian.passes - before
        nan = torch.full_like(s, float("nan"))  # measured by `residuals`, outside the time
        yield (
            settings,
            as_basis(
                jacobian.x.dtype,
                u,
                s,
                v,
                left=nan,
                right=nan,
                tol=TOL,
                passes=passes,
                solver="svds",
                gap=float("nan"),
            ),
        )

    return Case("scipy svds", [settings], solve, 1, share=0.35)


def cases(rank: int) -> list[Case]:
    """All that are compared, the ones that matter most first."""
    return [
        blocks_of(16),
        papers(rank, released=True),
        papers(rank, released=False),
        scipy_svds("arpack"),
        blocks_of(8, EXACT),
        ours(Randomized(oversample=10, power_steps=2), rank + 10, label="svd_lowrank", tol=None),
        blocks_of(25),
        blocks_of(12),
        blocks_of(8),
        blocks_of(6),
        blocks_of(4),
        blocks_of(3),
        ours(Randomized(oversample=10, power_steps=3), rank + 10, tol=None),
        scipy_svds("propack"),
        ours(Subspace(oversample=10), rank + 10, share=0.5),
    ]


def probed(quickest: Callable[[], int]) -> Case:
    """The default solver with the block size that a probe on this device finds quickest."""

    def solve(jacobian: JacobianOperator, rank: int, seed: int) -> Iterator[tuple[Settings, LocalBasis]]:
        yield promised, GolubKahan(block_size=quickest()).solve(jacobian, rank, tol=TOL, seed=seed)

    promised: Settings = {"block_size": "probed", "tol": TOL}
    return Case("golub_kahan", [promised], solve, 16, prepare=quickest)


def say(settings: Settings) -> str:
    """Settings as one short string."""
    return ", ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in settings.items())

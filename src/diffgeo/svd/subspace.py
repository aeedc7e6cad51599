r"""Subspace iteration, the papers' algorithm, with a stopping rule that works.

    W = J V = U Σ Zᵀ (thin SVD),   V ← V Z,   G = Jᵀ U,   V ← qr(G).

The released code stops on an elementwise comparison of V, which is blind to sign and rotation, and returns a U that
belongs to the previous V. Here (U, Σ, V) always belong together, and the iteration stops on residuals. The i-th
direction converges like (s_{k+1}/s_i)^{2·iterations}, k the number of columns: the leading ones soon, the last ones
slowly if the spectrum decays slowly. How it compares, and the released code itself, is in docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from diffgeo.jacobian import JacobianOperator
from diffgeo.ranges import Rule
from diffgeo.svd._linalg import as_basis, random_block, relative_gap, thin_svd
from diffgeo.svd.basis import LocalBasis
from diffgeo.svd.solver import Solver

__all__ = ["Subspace"]


@dataclass(frozen=True)
class Subspace(Solver):
    """Subspace iteration.

    Attributes:
        oversample: columns beyond n that are iterated along (the papers: 0).
        max_passes: budget; null is 100 passes per direction (the papers' 50 iterations).
    """

    name: ClassVar[str] = "subspace"
    oversample: Annotated[int, Rule(ge=0)] = 10
    max_passes: Annotated[int | None, Rule(ge=1)] = None

    def solve(self, jacobian: JacobianOperator, rank: int, *, tol: float, seed: int) -> LocalBasis:
        """See :meth:`Solver.solve`; ``certificate.converged`` is False if the budget ended first."""
        before = jacobian.passes
        budget = 100 * rank if self.max_passes is None else self.max_passes
        columns = min(rank + self.oversample, *jacobian.shape)
        v = torch.linalg.qr(random_block(jacobian.shape[1], columns, jacobian.x, seed)).Q
        while True:
            u, s, zh = thin_svd(jacobian.mv(v).double())
            v = v @ zh.T
            g = jacobian.rmv(u).double()
            right = (g - v * s).norm(dim=0)[:rank]
            spent = jacobian.passes - before
            if bool((right <= tol * s[0]).all()) or spent + 2 * columns > budget:
                break
            v = torch.linalg.qr(g).Q
        return as_basis(
            jacobian.x.dtype,
            u[:, :rank],
            s[:rank],
            v[:, :rank],
            left=torch.zeros_like(right),  # J v_i = s_i u_i by construction
            right=right,
            tol=tol,
            passes=spent,
            solver=self.name,
            gap=relative_gap(s, rank),
        )

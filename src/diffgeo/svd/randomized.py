r"""Randomised SVD (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1).

    Q = qr((J Jᵀ)^q J Ω),   B = Qᵀ J = (Jᵀ Q)ᵀ = Y Σ Vᵀ,   U = Q Y.

Its cost is fixed in advance, 2 (q + 1)(n + oversample) passes and n more to certify; it is the usual choice for
matrices that fit in memory and serves here as a baseline.
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

__all__ = ["Randomized"]


@dataclass(frozen=True)
class Randomized(Solver):
    """A random sketch with power steps.

    Attributes:
        oversample: columns beyond n.
        power_steps: q, each costs 2 (n + oversample) passes.
    """

    name: ClassVar[str] = "randomized"
    more: ClassVar[str] = "svd.power_steps"
    oversample: Annotated[int, Rule(ge=0)] = 10
    power_steps: Annotated[int, Rule(ge=0)] = 3

    def solve(self, jacobian: JacobianOperator, rank: int, *, tol: float, seed: int) -> LocalBasis:
        """See :meth:`Solver.solve`; at a slowly decaying spectrum the sketch mostly misses ``tol``."""
        before = jacobian.passes
        columns = min(rank + self.oversample, *jacobian.shape)
        omega = random_block(jacobian.shape[1], columns, jacobian.x, seed)
        q = torch.linalg.qr(jacobian.mv(omega).double()).Q
        for _ in range(self.power_steps):
            back = torch.linalg.qr(jacobian.rmv(q).double()).Q
            q = torch.linalg.qr(jacobian.mv(back).double()).Q
        v, s, yh = thin_svd(jacobian.rmv(q).double())
        u = (q @ yh.T)[:, :rank]
        left = (jacobian.mv(v[:, :rank]).double() - u * s[:rank]).norm(dim=0)
        return as_basis(
            jacobian.x.dtype,
            u,
            s[:rank],
            v[:, :rank],
            left=left,
            right=torch.zeros_like(left),  # Jᵀ u_i = s_i v_i by construction
            tol=tol,
            passes=jacobian.passes - before,
            solver=self.name,
            gap=relative_gap(s, rank),
        )

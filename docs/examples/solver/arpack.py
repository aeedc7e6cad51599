r"""ARPACK's implicitly restarted Lanczos method on JᵀJ, by scipy: a library's solver behind diffgeo's interface.

It works on one column at a time, in numpy on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from scipy.sparse.linalg import LinearOperator, svds

from diffgeo.jacobian import JacobianOperator
from diffgeo.ranges import Rule
from diffgeo.svd import LocalBasis, Solver, as_basis


@dataclass(frozen=True)
class Arpack(Solver):
    """Leading singular triplets by ARPACK.

    Attributes:
        max_restarts: restarts at most; null is scipy's own bound.
    """

    name: ClassVar[str] = "arpack"
    more: ClassVar[str] = "svd.max_restarts"
    max_restarts: Annotated[int | None, Rule(ge=1)] = None

    def solve(self, jacobian: JacobianOperator, rank: int, *, tol: float, seed: int) -> LocalBasis:
        """See :meth:`Solver.solve`, for a rank below min(m, d); measuring the residuals costs 2 n passes."""
        before, x = jacobian.passes, jacobian.x
        operator = LinearOperator(
            jacobian.shape,
            matvec=lambda v: jacobian.mv(torch.from_numpy(v).reshape(-1, 1).to(x)).double().cpu().numpy(),
            rmatvec=lambda u: jacobian.rmv(torch.from_numpy(u).reshape(-1, 1).to(x)).double().cpu().numpy(),
            dtype="float64",
        )
        found = svds(operator, k=rank, tol=tol, maxiter=self.max_restarts, random_state=seed)
        u, s, vh = (torch.from_numpy(part.copy()).to(x.device) for part in found)
        order = s.argsort(descending=True)
        u, s, v = u[:, order], s[order], vh[order].T
        return as_basis(
            x.dtype,
            u,
            s,
            v,
            left=(jacobian.mv(v).double() - s * u).norm(dim=0),
            right=(jacobian.rmv(u).double() - s * v).norm(dim=0),
            tol=tol,
            passes=jacobian.passes - before,
            solver=self.name,
            gap=float("nan"),  # s_{n+1} was not looked at
        )

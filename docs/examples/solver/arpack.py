r"""ARPACK's implicitly restarted Lanczos method on JᵀJ, by scipy: a library's solver behind diffgeo's interface.

It works on one column at a time, in numpy on the CPU.
"""

from __future__ import annotations

import torch
from scipy.sparse.linalg import LinearOperator, svds

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import finish
from diffgeo.svd.basis import LocalBasis

__all__ = ["arpack"]


def arpack(jacobian: JacobianOperator, rank: int, *, tol: float = 1e-4, seed: int = 0) -> LocalBasis:
    """Leading singular triplets by ARPACK.

    Args:
        jacobian: J, shape (m, d).
        rank: n, 1 … min(m, d) − 1.
        tol: bound on the relative residuals.
        seed: of the random start.

    Returns:
        The basis; its residuals are measured afterwards, which costs 2 n passes.
    """
    before, x = jacobian.passes, jacobian.x
    operator = LinearOperator(
        jacobian.shape,
        matvec=lambda v: jacobian.mv(torch.from_numpy(v).reshape(-1, 1).to(x)).double().cpu().numpy(),
        rmatvec=lambda u: jacobian.rmv(torch.from_numpy(u).reshape(-1, 1).to(x)).double().cpu().numpy(),
        dtype="float64",
    )
    found = svds(operator, k=rank, tol=tol, random_state=seed)
    u, s, vh = (torch.from_numpy(part.copy()).to(x.device) for part in found)
    order = s.argsort(descending=True)
    u, s, v = u[:, order], s[order], vh[order].T
    return finish(
        jacobian.x.dtype,
        u,
        s,
        v,
        left=(jacobian.mv(v).double() - s * u).norm(dim=0),
        right=(jacobian.rmv(u).double() - s * v).norm(dim=0),
        tol=tol,
        passes=jacobian.passes - before,
        solver="arpack",
        gap=float("nan"),  # s_{n+1} was not looked at
    )

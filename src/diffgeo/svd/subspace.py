r"""Subspace iteration, the papers' algorithm, with a stopping rule that works.

    W = J V = U Σ Zᵀ (thin SVD),   V ← V Z,   G = Jᵀ U,   V ← qr(G).

The released code stops on an elementwise comparison of V, which is blind to sign and rotation, and returns a U that
belongs to the previous V. Here (U, Σ, V) always belong together, and the iteration stops on residuals. It converges
like (s_{k+1}/s_n)^{2·iterations}, k the number of columns: slowly where the spectrum decays slowly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import finish, random_block, relative_gap, thin_svd
from diffgeo.svd.basis import LocalBasis

__all__ = ["subspace"]


def subspace(
    jacobian: JacobianOperator,
    rank: int,
    *,
    tol: float = 1e-4,
    max_passes: int | None = None,
    seed: int = 0,
    oversample: int = 10,
    start: Tensor | None = None,
) -> LocalBasis:
    """Leading singular triplets by subspace iteration.

    Args:
        jacobian: J, shape (m, d).
        rank: n, 1 … min(m, d).
        tol: bound on the relative residuals of the n kept triplets.
        max_passes: budget; 100 passes a direction (the papers' 50 iterations) when None.
        seed: of the random start.
        oversample: columns beyond n that are iterated along (the papers: 0).
        start: columns (d, k ≥ n) to start from instead.

    Returns:
        The basis; ``certificate.converged`` is False where the budget ended first.
    """
    before = jacobian.passes
    budget = 100 * rank if max_passes is None else max_passes
    columns = min(rank + oversample, *jacobian.shape)
    v = random_block(jacobian.shape[1], columns, jacobian.x, seed) if start is None else start.double()
    v = torch.linalg.qr(v).Q
    while True:
        u, s, zh = thin_svd(jacobian.mv(v).double())
        v = v @ zh.T
        g = jacobian.rmv(u).double()
        right = (g - v * s).norm(dim=0)[:rank]
        spent = jacobian.passes - before
        if bool((right <= tol * s[0]).all()) or spent + 2 * columns > budget:
            break
        v = torch.linalg.qr(g).Q
    return finish(
        jacobian.x.dtype,
        u[:, :rank],
        s[:rank],
        v[:, :rank],
        left=torch.zeros_like(right),  # J v_i = s_i u_i by construction
        right=right,
        tol=tol,
        passes=spent,
        solver="subspace",
        gap=relative_gap(s, rank),
    )

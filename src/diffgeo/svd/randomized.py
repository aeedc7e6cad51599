r"""Randomised SVD (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1).

    Q = qr((J Jᵀ)^q J Ω),   B = Qᵀ J = (Jᵀ Q)ᵀ = Y Σ Vᵀ,   U = Q Y.

Its cost is fixed in advance, 2 (q + 1)(n + oversample) passes and n more to certify; it is the usual choice for
matrices that fit in memory and serves here as a baseline.
"""

from __future__ import annotations

import torch

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import finish, random_block, relative_gap, thin_svd
from diffgeo.svd.basis import LocalBasis

__all__ = ["randomized"]


def randomized(
    jacobian: JacobianOperator,
    rank: int,
    *,
    tol: float = 1e-4,
    seed: int = 0,
    oversample: int = 10,
    power_steps: int = 3,
) -> LocalBasis:
    """Leading singular triplets by a random sketch with power steps.

    Args:
        jacobian: J, shape (m, d).
        rank: n, 1 … min(m, d).
        tol: recorded; the certificate tells whether the sketch reached it.
        seed: of the sketch Ω.
        oversample: columns beyond n.
        power_steps: q, each (n + oversample) · 2 passes.

    Returns:
        The basis; ``certificate.converged`` is mostly False at a slowly decaying spectrum.
    """
    before = jacobian.passes
    columns = min(rank + oversample, *jacobian.shape)
    omega = random_block(jacobian.shape[1], columns, jacobian.x, seed)
    q = torch.linalg.qr(jacobian.mv(omega).double()).Q
    for _ in range(power_steps):
        back = torch.linalg.qr(jacobian.rmv(q).double()).Q
        q = torch.linalg.qr(jacobian.mv(back).double()).Q
    v, s, yh = thin_svd(jacobian.rmv(q).double())
    u = (q @ yh.T)[:, :rank]
    left = (jacobian.mv(v[:, :rank]).double() - u * s[:rank]).norm(dim=0)
    return finish(
        jacobian.x.dtype,
        u,
        s[:rank],
        v[:, :rank],
        left=left,
        right=torch.zeros_like(left),  # Jᵀ u_i = s_i v_i by construction
        tol=tol,
        passes=jacobian.passes - before,
        solver="randomized",
        gap=relative_gap(s, rank),
    )

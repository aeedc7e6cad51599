r"""The oracle: form J, decompose it. min(m, d) passes, exact to rounding."""

from __future__ import annotations

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import finish, relative_gap, thin_svd
from diffgeo.svd.basis import LocalBasis

__all__ = ["dense"]


def dense(jacobian: JacobianOperator, rank: int, *, tol: float = 1e-4) -> LocalBasis:
    """Leading singular triplets of the dense J, decomposed in float64.

    Args:
        jacobian: J, shape (m, d); m·d numbers must fit in memory.
        rank: n, 1 … min(m, d).
        tol: recorded in the certificate (met, unless J's own dtype is coarser).

    Returns:
        The basis. Cost: min(m, d) passes, by vjp over h where m ≤ d, else by jvp over x.
    """
    before = jacobian.passes
    j = jacobian.dense().double()
    u, s, vh = thin_svd(j)
    u, v, kept = u[:, :rank], vh[:rank].T, s[:rank]
    return finish(
        jacobian.x.dtype,
        u,
        kept,
        v,
        left=(j @ v - u * kept).norm(dim=0),
        right=(j.T @ u - v * kept).norm(dim=0),
        tol=tol,
        passes=jacobian.passes - before,
        solver="dense",
        gap=relative_gap(s, rank),
    )

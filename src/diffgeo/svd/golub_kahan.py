r"""Block Golub–Kahan bidiagonalisation with full reorthogonalisation, the default solver.

From an orthonormal block P₁ it grows two bases by turns (Golub, Luk & Overton 1981),

    J P_j  = Q C + Q_j R      (the part of J P_j outside Q spans the new left block Q_j),
    Jᵀ Q_j = P D + P_{j+1} S  (likewise for the right one),

so that with everything so far collected J P = Q B and Jᵀ Q = P E + P_{j+1} [0 … S]. The small SVD B = Y Σ Zᵀ
gives u = Q y, v = P z, and its residuals need no further product with J:

    J v − σ u = Q (B z − σ y),      Jᵀ u − σ v = P (E y − σ z) + P_{j+1} S y_last.

A Krylov space sees a slowly decaying spectrum much better than powers of J do: 50 directions of a 32×32 U-Net to
1e-3 rad in under 450 passes, where subspace iteration is at 0.45 rad after 3,000.

A block of b columns sees at most b copies of one singular value (as any block Krylov method does): where more than
``block_size`` of the leading ones are exactly equal, raise it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import Columns, finish, orthonormalise, random_block, relative_gap
from diffgeo.svd.basis import LocalBasis
from diffgeo.svd.dense import dense

__all__ = ["golub_kahan"]


def golub_kahan(
    jacobian: JacobianOperator,
    rank: int,
    *,
    tol: float = 1e-4,
    max_passes: int | None = None,
    seed: int = 0,
    block_size: int = 4,
    start: Tensor | None = None,
) -> LocalBasis:
    """Leading singular triplets by block Golub–Kahan, stopped when all residuals are within ``tol``.

    Args:
        jacobian: J, shape (m, d).
        rank: n, 1 … min(m, d).
        tol: bound on ‖J v_i − s_i u_i‖ / s_1 and ‖Jᵀ u_i − s_i v_i‖ / s_1 for i ≤ n.
        max_passes: budget; 40 passes a direction, at least 400, when None.
        seed: of the random start block.
        block_size: columns per product; smaller needs fewer passes, larger less time a pass.
        start: columns (d, k) to start from, a neighbouring basis for instance; replaces the random block.

    Returns:
        The basis; ``certificate.converged`` is False where the budget ended first. Where the bases would fill the
        whole space, J is decomposed exactly instead.
    """
    before = jacobian.passes
    budget = max(40 * rank, 400) if max_passes is None else max_passes
    m, d = jacobian.shape
    block = random_block(d, min(block_size, d), jacobian.x, seed) if start is None else start.double()
    block = torch.linalg.qr(block).Q
    p, q = Columns(d, block), Columns(m, block)
    p.append(block)
    # B and E live on the CPU, where the SVD of a small matrix is quick
    b, e = torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)
    while True:
        if max(p.count, q.count + block.shape[1]) + block.shape[1] > min(m, d):
            return dense(jacobian, rank, tol=tol)
        new, c, r = orthonormalise(jacobian.mv(block).double(), q.matrix)
        b = torch.cat([_pad(b, len(r)), torch.cat([c, r]).cpu()], dim=1)
        q.append(new)
        following, dd, s_block = orthonormalise(jacobian.rmv(new).double(), p.matrix)
        e = torch.cat([_pad(e, p.count - len(e)), dd.cpu()], dim=1)
        s_block = s_block.cpu()
        if len(b) >= rank:
            y, s, zh = torch.linalg.svd(b)
            z = zh.T
            left = (b @ z - y * s).norm(dim=0)[:rank]
            inside = (e @ y - z * s).norm(dim=0)[:rank]
            outside = (s_block @ y[-s_block.shape[1] :]).norm(dim=0)[:rank]
            right = (inside.square() + outside.square()).sqrt()
            spent = jacobian.passes - before
            met = bool((torch.maximum(left, right) <= tol * s[0]).all())
            if met or spent + 2 * following.shape[1] > budget:
                break
        # the rows of E that belong to the next right block are known now: Jᵀ Q_j has the part S in it
        e = _pad(e, len(s_block))
        e[-len(s_block) :, -s_block.shape[1] :] = s_block
        p.append(following)
        block = following
    return finish(
        jacobian,
        q.matrix @ y[:, :rank].to(block),
        s[:rank].to(block),
        p.matrix @ z[:, :rank].to(block),
        left=left,
        right=right,
        tol=tol,
        passes=spent,
        solver="golub_kahan",
        gap=relative_gap(s, rank),
    )


def _pad(matrix: Tensor, rows: int) -> Tensor:
    """The matrix with ``rows`` rows of zeros below."""
    return torch.cat([matrix, matrix.new_zeros(rows, matrix.shape[1])])

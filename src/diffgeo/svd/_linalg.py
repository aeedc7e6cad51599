"""Small dense algebra that the solvers share; float64 throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from diffgeo.errors import ValueRangeError
from diffgeo.svd.basis import Certificate, LocalBasis


def refuse_overflow(h: Tensor) -> None:
    """Raise if h is no number.

    Raises:
        ValueRangeError: h holds NaN or infinity.
    """
    if not bool(torch.isfinite(h).all()):
        raise ValueRangeError(
            "h = f(x) holds NaN or infinity at a finite x", "the model overflows, try model.dtype=float64"
        )


def random_block(rows: int, columns: int, like: Tensor, seed: int) -> Tensor:
    """Orthonormal columns of a Gaussian matrix drawn on the CPU, so that devices agree; float64."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    q: Tensor = torch.linalg.qr(block).Q
    return q.to(like.device)


class Columns:
    """A matrix that grows by columns, without being copied each time; every column is contiguous."""

    def __init__(self, rows: int, like: Tensor) -> None:
        self._buffer, self.count = like.new_empty(64, rows, dtype=torch.float64), 0

    @property
    def matrix(self) -> Tensor:
        """Shape (rows, count)."""
        return self._buffer[: self.count].T

    def append(self, columns: Tensor) -> None:
        """Add columns, shape (rows, k)."""
        end = self.count + columns.shape[1]
        if end > len(self._buffer):
            larger = self._buffer.new_empty(max(end, 2 * len(self._buffer)), self._buffer.shape[1])
            larger[: self.count] = self._buffer[: self.count]
            self._buffer = larger
        self._buffer[self.count : end] = columns.T
        self.count = end


def orthonormalise(w: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split W = Q C + W⊥ R with orthonormal [Q, W⊥], by block Gram–Schmidt done twice.

    Once would not do even where most of W lies outside span Q: an error of q is then passed on to the new columns,
    magnified, and so from block to block.

    Args:
        w: new columns, shape (rows, b).
        q: orthonormal columns, shape (rows, k), k + b ≤ rows.

    Returns:
        (W⊥ of shape (rows, b), C of shape (k, b), R of shape (b, b)).
    """
    rows, old = w.T.contiguous(), q.T  # as rows, which is how `Columns` keeps them: BLAS takes a fifth of the time
    c = rows @ old.T
    rest = rows - c @ old
    # a column that lies within span(q) leaves nothing; any direction outside serves in its place
    empty = rest.norm(dim=1) <= 1e-14 * max(w.norm().item(), torch.finfo(w.dtype).tiny)
    if bool(empty.any()):
        rest[empty] = random_block(len(w), int(empty.sum()), w, seed=q.shape[1]).T
    new, r = torch.linalg.qr(rest.T)
    again = new.T @ old.T
    new, r2 = torch.linalg.qr(new - (again @ old).T)
    r[:, empty] = 0
    return new, c.T + again.T @ r, r2 @ r


def combine(q: Tensor, coefficients: Tensor) -> Tensor:
    """Q Y, for Q whose columns are contiguous."""
    return (coefficients.T.contiguous() @ q.T).T


def thin_svd(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin SVD (U, s, Vᵀ), on A's device; a GPU's A is reduced by QR there, the rest is quicker on the CPU."""
    if a.device.type == "cpu":
        u, s, vh = torch.linalg.svd(a, full_matrices=False)
        return u, s, vh
    if a.shape[0] < a.shape[1]:
        v, s, uh = thin_svd(a.T)
        return uh.T, s, v.T
    q, r = torch.linalg.qr(a)
    u, s, vh = torch.linalg.svd(r.cpu())
    return q @ u.to(a), s.to(a), vh.to(a)


def as_basis(
    dtype: torch.dtype,
    u: Tensor,
    s: Tensor,
    v: Tensor,
    *,
    left: Tensor,
    right: Tensor,
    tol: float,
    passes: int,
    solver: str,
    gap: float,
) -> LocalBasis:
    """What a solver returns: signs fixed, residuals relative to s_1, all in the dtype of J.

    Args:
        dtype: of the basis.
        u: left singular vectors, shape (m, n), float64.
        s: singular values, falling, shape (n,), float64.
        v: right singular vectors, shape (d, n), float64.
        left: ‖J v_i − s_i u_i‖, shape (n,).
        right: ‖Jᵀ u_i − s_i v_i‖, shape (n,).
        tol: as the solver was told.
        passes: as the solver spent.
        solver: its name.
        gap: (s_n − s_{n+1}) / s_n, NaN if s_{n+1} was not looked at.

    Returns:
        The basis with its certificate.
    """
    largest = v.gather(0, v.abs().argmax(dim=0, keepdim=True))
    sign = signs(largest)
    scale = s[0].cpu().clamp_min(torch.finfo(s.dtype).tiny)
    certificate = Certificate(left.cpu() / scale, right.cpu() / scale, tol, passes, solver, gap)
    return LocalBasis((u * sign).to(dtype), s.to(dtype), (v * sign).to(dtype), certificate)


def signs(values: Tensor) -> Tensor:
    """−1 for a negative value, 1 for any other: what turns a direction around, and never makes it zero.

    Args:
        values: by which signs are fixed, any shape; 0 and NaN give 1.

    Returns:
        the same shape and dtype.
    """
    return torch.where(values < 0, -1.0, 1.0).to(values)


def relative_gap(s: Tensor, rank: int) -> float:
    """(s_n − s_{n+1}) / s_n, or NaN if s_{n+1} is not known."""
    if len(s) <= rank or s[rank - 1] <= 0:
        return float("nan")
    return ((s[rank - 1] - s[rank]) / s[rank - 1]).item()

r"""Block Golub–Kahan bidiagonalisation with full reorthogonalisation, the default solver.

From an orthonormal block P₁ it grows two bases by turns (Golub, Luk & Overton 1981),

    J P_j  = Q C + Q_j R      (the part of J P_j outside Q spans the new left block Q_j),
    Jᵀ Q_j = P D + P_{j+1} S  (likewise for the right one),

so that with everything so far collected J P = Q B and Jᵀ Q = P E + P_{j+1} [0 … S]. The small SVD B = Y Σ Zᵀ
gives u = Q y, v = P z, and its residuals need no further product with J:

    J v − σ u = Q (B z − σ y),      Jᵀ u − σ v = P (E y − σ z) + P_{j+1} S y_last.

A Krylov space sees a slowly decaying spectrum much better than powers of J do: 50 directions of a 32×32 U-Net to
1e-3 rad in some 400 passes. After 50 subspace iterations (5,000 passes) 46 to 49 of the 50 are within 0.1 rad, and the
largest angle is 0.4 to 1.5 rad, by the random start.

A block of b columns sees at most b copies of one singular value (as any block Krylov method does): if more than
``block_size`` of the leading ones are exactly equal, raise it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from diffgeo.errors import ConfigError
from diffgeo.jacobian import JacobianOperator
from diffgeo.ranges import Rule
from diffgeo.svd._linalg import Columns, as_basis, combine, orthonormalise, random_block, relative_gap
from diffgeo.svd.basis import LocalBasis
from diffgeo.svd.conversation import Routine, alone
from diffgeo.svd.dense import Dense
from diffgeo.svd.solver import SMALL, Solver

__all__ = ["GolubKahan", "default_block_size", "probe_block_size"]

_PER_DIRECTION, _PER_DIGIT = 5.8, 2.0
"""Golub–Kahan takes about 5.8 n + 2 ln(1/tol) b passes in blocks of b, on trained networks (docs/performance.md)."""


@dataclass(frozen=True)
class GolubKahan(Solver):
    """Block Golub–Kahan, stopped when all residuals are within the tolerance.

    Where the bases would fill the whole space, J is decomposed exactly instead.

    Attributes:
        block_size: columns per product; larger blocks need more passes, which a GPU may well take in less time. null is
            4 on a CPU and 16 elsewhere.
        max_passes: budget; null is 40 a direction, at least 400.
        probe: measure which block size is quickest for this network on this device instead, once; the store
            remembers it, so that repeated runs agree.

    Raises:
        ConfigError: a block size that is given and measured.
    """

    name: ClassVar[str] = "golub_kahan"
    columns: ClassVar[tuple[str, ...]] = ("block_size",)
    block_size: Annotated[int | None, Rule(ge=1)] = None
    max_passes: Annotated[int | None, Rule(ge=1)] = None
    probe: bool = False

    def __post_init__(self) -> None:
        if self.probe and self.block_size is not None:
            raise ConfigError(
                f"svd.block_size={self.block_size} is not possible", "allowed: null if svd.probe=true measures it"
            )

    def solve(self, jacobian: JacobianOperator, rank: int, *, tol: float, seed: int) -> LocalBasis:
        """See :meth:`Solver.solve`; ``certificate.converged`` is False if the budget ended first."""
        routine = self.routine(jacobian.shape, jacobian.x, rank, tol=tol, seed=seed)
        return alone(routine, jacobian) or Dense().solve(jacobian, rank, tol=tol, seed=seed)

    @property
    def measures(self) -> bool:
        """See :attr:`Solver.measures`."""
        return self.probe

    def measure(self, jacobian: JacobianOperator, rank: int, *, tol: float) -> int:
        """See :meth:`Solver.measure`; a block size."""
        return probe_block_size(jacobian, rank, tol=tol)

    def with_measured(self, found: int) -> Self:
        """See :meth:`Solver.with_measured`."""
        return replace(self, block_size=found, probe=False)

    def forms_whole(self, shape: tuple[int, int], rank: int) -> bool:
        """Whether the whole J costs no more than looking for ``rank`` directions."""
        return 4 * rank >= min(shape) or min(shape) <= SMALL

    def routine(
        self, shape: tuple[int, int], like: Tensor, rank: int, *, tol: float, seed: int
    ) -> Routine[LocalBasis | None]:
        """The algorithm as a conversation; its result is None if only the dense J is left to take."""
        width = default_block_size(like.device) if self.block_size is None else self.block_size
        budget = max(40 * rank, 400) if self.max_passes is None else self.max_passes
        return _bidiagonalise(shape, like, rank, tol, budget, seed, width)


def default_block_size(device: torch.device) -> int:
    """4 columns on a CPU, 16 on an accelerator, by docs/performance.md."""
    return 4 if device.type == "cpu" else 16


def probe_block_size(
    jacobian: JacobianOperator,
    rank: int,
    *,
    tol: float = 1e-4,
    candidates: Sequence[int] = (2, 3, 4, 6, 8, 12, 16, 24),
) -> int:
    """The block size that should be quickest here: measured time a step, times the steps that it will take.

    Args:
        jacobian: J; some 450 passes are spent on it, more than on a basis of 50.
        rank: n.
        tol: as for :meth:`GolubKahan.solve`.
        candidates: block sizes to try.

    Returns:
        One of them. It depends on the machine and on what else that does, so remember it where numbers must be
        repeated to the last digit.
    """
    m, d = jacobian.shape

    def seconds(width: int) -> float:
        v, u = jacobian.x.new_ones(d, width), jacobian.x.new_ones(m, width)
        times = []
        for _ in range(3):
            began = perf_counter()
            jacobian.rmv(u).sum().item(), jacobian.mv(v).sum().item()  # .item() waits for the device
            times.append(perf_counter() - began)
        return min(times) * (_PER_DIRECTION * rank + _PER_DIGIT * math.log(1 / min(tol, 0.5)) * width) / (2 * width)

    fitting = [width for width in candidates if 4 * width <= min(m, d)] or [1]
    return min(fitting, key=seconds)


def _bidiagonalise(
    shape: tuple[int, int], like: Tensor, rank: int, tol: float, budget: int, seed: int, block_size: int
) -> Routine[LocalBasis | None]:
    """The algorithm; arguments as in :class:`GolubKahan`, its budget and block size chosen."""
    m, d = shape
    block = torch.linalg.qr(random_block(d, min(block_size, d), like, seed)).Q
    p, q = Columns(d, block), Columns(m, block)
    p.append(block)
    # B and E live on the CPU, where the SVD of a small matrix is quick
    b, e = torch.zeros(0, 0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)
    spent, patience = 0, _Patience(tol)
    while True:
        if max(p.count, q.count + block.shape[1]) + block.shape[1] > min(m, d):
            return None
        image = yield "mv", block
        new, c, r = orthonormalise(image.double(), q.matrix)
        b = torch.cat([_pad(b, len(r)), torch.cat([c, r]).cpu()], dim=1)
        q.append(new)
        back = yield "rmv", new
        spent += block.shape[1] + new.shape[1]
        following, dd, s_block = orthonormalise(back.double(), p.matrix)
        e = torch.cat([_pad(e, p.count - len(e)), dd.cpu()], dim=1)
        s_block = s_block.cpu()
        full = max(p.count, q.count) + 2 * following.shape[1] > min(m, d)  # the next block would fill the space
        last = spent + 2 * following.shape[1] > budget
        if len(b) >= rank and (patience.due() or last or full):
            y, s, zh = torch.linalg.svd(b)
            z = zh.T
            left = (b @ z - y * s).norm(dim=0)[:rank]
            inside = (e @ y - z * s).norm(dim=0)[:rank]
            outside = (s_block @ y[-s_block.shape[1] :]).norm(dim=0)[:rank]
            right = (inside.square() + outside.square()).sqrt()
            worst = torch.maximum(left, right).max().item()
            if last or patience.met(worst / s[0].item() if worst else 0.0):
                break
        # the rows of E that belong to the next right block are known now: Jᵀ Q_j has the part S in it
        e = _pad(e, len(s_block))
        e[-len(s_block) :, -s_block.shape[1] :] = s_block
        p.append(following)
        block = following
    return as_basis(
        like.dtype,
        combine(q.matrix, y[:, :rank].to(block)),
        s[:rank].to(block),
        combine(p.matrix, z[:, :rank].to(block)),
        left=left,
        right=right,
        tol=tol,
        passes=spent,
        solver="golub_kahan",
        gap=relative_gap(s, rank),
    )


class _Patience:
    """When to look at the residuals next: a small SVD at every step would take a fifth of all time.

    Args:
        tol: what the largest residual is to come down to.
    """

    LONGEST = 4

    def __init__(self, tol: float) -> None:
        self.tol, self._waited, self._wait, self._before = tol, 0, 1, math.inf

    def due(self) -> bool:
        """Count a step; whether to look after it."""
        self._waited += 1
        return self._waited >= self._wait

    def met(self, worst: float) -> bool:
        """Whether the largest residual is small enough; if not, wait for half of the steps that it still needs."""
        if worst <= self.tol:
            return True
        rate = math.log(self._before / worst) / self._waited if worst < self._before < math.inf else 0.0
        steps = 0.5 * math.log(worst / self.tol) / rate if rate else self.LONGEST * (self._before < math.inf)
        self._waited, self._wait, self._before = 0, max(1, min(self.LONGEST, int(steps))), worst
        return False


def _pad(matrix: Tensor, rows: int) -> Tensor:
    """The matrix with ``rows`` rows of zeros below."""
    return torch.cat([matrix, matrix.new_zeros(rows, matrix.shape[1])])

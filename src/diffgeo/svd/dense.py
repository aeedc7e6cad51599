r"""The oracle: form J, decompose it. min(m, d) passes, exact to rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffgeo.jacobian import JacobianOperator
from diffgeo.jacobian.memory import refuse_whole
from diffgeo.svd._linalg import as_basis, relative_gap, thin_svd
from diffgeo.svd.basis import LocalBasis
from diffgeo.svd.solver import Solver

__all__ = ["Dense"]


@dataclass(frozen=True)
class Dense(Solver):
    """The dense J, decomposed in float64; three matrices of its m·d numbers must fit in memory."""

    name: ClassVar[str] = "dense"
    more: ClassVar[str] = "svd.tol (J's own precision is the limit)"

    def solve(self, jacobian: JacobianOperator, rank: int, *, tol: float, seed: int = 0) -> LocalBasis:  # noqa: ARG002
        """See :meth:`Solver.solve`.

        Costs min(m, d) passes, by vjp over h if m ≤ d, else by jvp over x. ``tol`` is met unless J's own dtype is
        coarser; ``seed`` plays no part.

        Raises:
            DeviceError: the device has too little memory for the decomposition; nothing is computed then.
        """
        refuse_whole(jacobian.shape, torch.float64, jacobian.x.device)
        before = jacobian.passes
        j = jacobian.dense().double()
        u, s, vh = thin_svd(j)
        u, v, kept = u[:, :rank], vh[:rank].T, s[:rank]
        return as_basis(
            jacobian.x.dtype,
            u,
            kept,
            v,
            left=(j @ v - u * kept).norm(dim=0),
            right=(j.T @ u - v * kept).norm(dim=0),
            tol=tol,
            passes=jacobian.passes - before,
            solver=self.name,
            gap=relative_gap(s, rank),
        )

    def forms_whole(self, shape: tuple[int, int], rank: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

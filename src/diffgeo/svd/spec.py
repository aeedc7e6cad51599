"""What is asked of a solver.

A :class:`SolveSpec` names the solver and adds what every solver is told: how many directions, how accurate, from which
seed. It is a plain value: it makes the call, and it is the key under which the result is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from diffgeo.errors import ValueRangeError
from diffgeo.svd.golub_kahan import GolubKahan
from diffgeo.svd.solver import Solver

__all__ = ["SolveSpec"]


@dataclass(frozen=True)
class SolveSpec:
    """Everything that determines a local basis beside f and x.

    Attributes:
        solver: the algorithm with its settings.
        rank: n, directions to find; with ``share``, the most to look for; None is min(m, d).
        share: instead of a fixed n, the smallest n with Σ_{i≤n} s_i² ≥ share · ‖J‖²_F, in (0, 1).
        tol: bound on the residuals relative to s_1.
        seed: of the solver's random start.
        chunk_size: columns per vectorised product; changes results by rounding only.
    """

    solver: Solver = field(default_factory=GolubKahan)
    rank: int | None = 50
    share: float | None = None
    tol: float = 1e-4
    seed: int = 0
    chunk_size: int = 32

    def of_rank(self, rank: int | None, tol: float | None = None) -> Self:
        """The same with a fixed number of directions, and another tolerance; what is None stays as it is.

        Args:
            rank: n; None keeps ``rank`` and ``share``.
            tol: bound on the residuals relative to s_1; None keeps it.

        Returns:
            The changed question.
        """
        fixed = self if rank is None else replace(self, rank=rank, share=None)
        return fixed if tol is None else replace(fixed, tol=tol)

    def rank_of(self, shape: tuple[int, int]) -> int:
        """The number of directions to look for in a Jacobian of this shape.

        Args:
            shape: of J, (m, d).

        Returns:
            ``rank``, or min(m, d) if that is None.

        Raises:
            ValueRangeError: rank, share, tolerance or a setting of the solver is out of its range for this J.
        """
        m, d = shape
        rank = min(m, d) if self.rank is None else self.rank
        if self.share is not None and not 0 < self.share < 1:
            raise ValueRangeError(f"svd.share is {self.share}", "allowed is 0 < share < 1")
        if not 1 <= rank <= min(m, d):
            raise ValueRangeError(
                f"{rank} directions (svd.rank) are too many: the Jacobian is {m} x {d}, so there are at most "
                f"{min(m, d)}",
                "ask for fewer, or choose a wider feature.block or feature.pool=null",
            )
        if not self.tol > 0:
            raise ValueRangeError(f"svd.tol is {self.tol}", "it must be positive")
        for setting in self.solver.columns:
            if (width := getattr(self.solver, setting)) is not None and width > d:
                raise ValueRangeError(
                    f"svd.{setting} is {width}, and the Jacobian is {m} x {d}", f"allowed are at most {d} columns"
                )
        return rank

"""What is asked of a solver.

A :class:`SolveSpec` names the solver and adds what every solver is told: how many directions, how accurate, from which
seed. It is a plain value: it makes the call, and it is the key under which the result is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

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
        """The same with a fixed number of directions, and another tolerance; what is None stays as it is."""
        fixed = self if rank is None else replace(self, rank=rank, share=None)
        return fixed if tol is None else replace(fixed, tol=tol)

"""How many passes a basis takes, before it is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["SMALL", "Passes", "expected_passes", "forms_whole"]

SMALL = 256
"""Smaller side of J up to which all of J is formed in place of ``golub_kahan``: in wide blocks so many vjps take no
longer than a few directions do in narrow ones."""

ON_CPU, ELSEWHERE = 4, 16
"""Columns of a block where nobody says, by docs/performance.md."""
_PER_DIRECTION, _PER_DIGIT = 5.8, 2.0
"""Golub–Kahan takes about 5.8 n + 2 ln(1/tol) b passes in blocks of b, on trained networks (docs/performance.md)."""
_LOW, _HIGH = 0.65, 1.6
"""What was seen beside that: easy spectra, and networks of random weights."""


@dataclass(frozen=True, slots=True)
class Passes:
    """A number of passes.

    Attributes:
        low: fewest that are likely.
        about: what to expect.
        high: most that are likely; all three agree where the number is known.
    """

    low: float
    about: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether the number is known."""
        return self.low == self.high


def forms_whole(shape: tuple[int, int], rank: int, solver: str) -> bool:
    """Whether a solver forms the whole J (m, d): where that costs no more than looking for ``rank`` directions."""
    smaller = min(shape)
    return solver == "dense" or (solver == "golub_kahan" and (4 * rank >= smaller or smaller <= SMALL))


def expected_passes(
    shape: tuple[int, int], rank: int, *, solver: str, tol: float, share: float | None = None, **options: Any
) -> Passes:
    """Passes of one basis.

    Args:
        shape: of J, (m, d).
        rank: n; with ``share``, the most to look for.
        solver: a key of :data:`diffgeo.svd.SOLVERS`.
        tol: of the residuals.
        share: as in :func:`diffgeo.svd.local_basis`; how many directions it takes is not known before.
        options: the solver's own; where ``block_size`` is None, that of a CPU.
    """
    smaller = min(shape)
    rank = min(rank, smaller)
    if share is not None:
        ranks, probes = [min(16, rank)], min(64, smaller)
        tried = [expected_passes(shape, ranks[0], solver=solver, tol=tol, **options)]
        while ranks[-1] < rank:
            ranks.append(min(2 * ranks[-1], rank))
            tried.append(expected_passes(shape, ranks[-1], solver=solver, tol=tol, **options))
        most = probes + sum(one.high for one in tried)
        return Passes(probes + tried[0].low, (probes + tried[0].low + most) / 2, most)
    if forms_whole(shape, rank, solver):
        return Passes(smaller, smaller, smaller)
    if solver == "randomized":
        columns = min(rank + options["oversample"], smaller)
        known = 2 * (options["power_steps"] + 1) * columns + rank
        return Passes(known, known, known)
    if solver == "subspace":
        columns = min(rank + options["oversample"], smaller)
        budget = options["max_passes"] or 100 * rank
        most = max(2 * columns, budget // (2 * columns) * 2 * columns)
        return Passes(min(most, 4 * columns), most, most)
    block = options["block_size"] or ON_CPU
    budget = options["max_passes"] or max(40 * rank, 400)
    about = _PER_DIRECTION * rank + _PER_DIGIT * math.log(1 / min(tol, 0.5)) * block
    low, about, high = (min(max(x, 2 * rank), budget) for x in (_LOW * about, about, _HIGH * about))
    return Passes(low, about, high)

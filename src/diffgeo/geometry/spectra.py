"""What the singular values of a map's Jacobian tell: how many directions count, and how unevenly."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["effective_dimension", "half_energy_rank", "isometry"]


def effective_dimension(s: Tensor) -> float:
    """Participation ratio of the pullback metric's spectrum, (Σ s²)² / Σ s⁴, in [1, len(s)].

    Args:
        s: singular values, shape (n,), not all 0.
    """
    squared = s.double().square()
    return (squared.sum().square() / squared.square().sum()).item()


def half_energy_rank(s: Tensor, energy: float) -> float:
    """The least r with Σ_{i≤r} s_i² ≥ ‖J‖²_F / 2, in [1, n].

    Args:
        s: leading singular values of J, shape (n,), falling.
        energy: ‖J‖²_F of the whole J.

    Returns:
        r, or NaN if the n values do not reach half.
    """
    reached = s.double().square().cumsum(0) >= energy / 2
    return float(reached.int().argmax()) + 1 if bool(reached[-1]) else math.nan


def isometry(s: Tensor) -> tuple[float, float]:
    """How far a map is from an isometry up to scale, on its leading directions (isodiff, arXiv 2407.11451).

    Args:
        s: leading singular values, falling and positive, shape (n,).

    Returns:
        The condition number s_1 / s_n, and the standard deviation of log s_i over the n values; 1 and 0 for an
        isometry.
    """
    values = s.double()
    return (values[0] / values[-1]).item(), values.log().std(correction=0).item()

r"""Curves in the latent space.

Geodesic shooting (P23a, algorithm 1): walk x ← x + δ v, and after each step transport the direction to the new
point's tangent space. On a curved space this follows the surface where a straight line leaves it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffgeo.errors import ValueRangeError
from diffgeo.geometry.transport import Convention, transport
from diffgeo.svd import LocalBasis

__all__ = ["geodesic_shooting"]


def geodesic_shooting(
    basis_at: Callable[[Tensor], LocalBasis],
    x: Tensor,
    u: Tensor,
    v: Tensor,
    *,
    length: float,
    steps: int,
    convention: Convention = "isometric",
    retract: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Walk a curve from x in direction v, transporting the direction through H.

    Args:
        basis_at: x → its local basis; called at every point but the first and the last.
        x: the start, shape (C, H, W).
        u: direction in H at x, shape (m,), unit.
        v: the same direction in X, shape (d,), unit.
        length: total length in X; negative walks the other way.
        steps: number of straight pieces, at least 1.
        convention: of the transport.
        retract: (x, x + δv) → the next point, such as the distortion normalisation; x + δv itself when None.

    Returns:
        ``steps`` + 1 points from x on, each shaped as x.

    Raises:
        ValueRangeError: steps < 1, or the direction left the tangent space.
    """
    if steps < 1:
        raise ValueRangeError(f"edit.steps is {steps}; shooting needs at least 1")
    delta = length / steps
    points = [x]
    for index in range(steps):
        if index:
            u, v = transport(u, basis_at(points[-1]), convention)
        moved = points[-1] + delta * v.reshape(x.shape)
        points.append(moved if retract is None else retract(points[-1], moved))
    return points

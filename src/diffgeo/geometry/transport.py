r"""Carrying a direction from one point's tangent space to another's, through H.

A unit vector u of T_h is projected onto the target's tangent space and made unit again,

    u' = P_{T_h'} u / ‖P_{T_h'} u‖,      P_{T_h'} = U' U'ᵀ,

and pulled back to X in one of two conventions:

    ``isometric``  v' ∝ V' U'ᵀ u'        (the released code; pairs v_i with u_i),
    ``pullback``   v' ∝ V' Λ'⁻¹ U'ᵀ u'   (the exact pre-image: J' v' ∝ u').
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.svd import LocalBasis

__all__ = ["Convention", "pull_back", "transport"]

Convention = Literal["isometric", "pullback"]


def transport(u: Tensor, target: LocalBasis, convention: Convention = "isometric") -> tuple[Tensor, Tensor]:
    """Parallel transport of a direction to ``target`` (P23a, section 3.2).

    Args:
        u: direction in H, shape (m,), any length but 0.
        target: the local basis to arrive at.
        convention: see the module's docstring.

    Returns:
        (u', v'), unit vectors of shapes (m,) and (d,).

    Raises:
        ShapeError: u is not (m,).
        ValueRangeError: u is orthogonal to the target's tangent space, or no such convention.
    """
    if u.shape != target.U.shape[:1]:
        raise ShapeError(f"u has shape {tuple(u.shape)}", f"the target's tangent space lives in ({target.U.shape[0]},)")
    projected = target.U @ (target.U.T @ u)
    length = projected.norm()
    # what rounding alone leaves of an orthogonal u grows with the root of its length
    if length <= 8 * torch.finfo(u.dtype).eps * math.sqrt(len(u)) * u.norm():
        raise ValueRangeError("u is orthogonal to the target's tangent space", "raise svd.rank")
    unit = projected / length
    return unit, pull_back(unit, target, convention)


def pull_back(u: Tensor, basis: LocalBasis, convention: Convention = "isometric") -> Tensor:
    """The unit direction of X that belongs to u, a vector of ``basis``'s tangent space.

    Args:
        u: shape (m,).
        basis: local basis at the point.
        convention: see the module's docstring.

    Returns:
        v, shape (d,), ‖v‖ = 1.

    Raises:
        ValueRangeError: no such convention, u has no part in the tangent space, or (``pullback``) some s_i is 0.
    """
    coordinates = basis.U.T @ u
    if convention == "pullback":
        floor = torch.finfo(basis.s.dtype).eps * basis.s[0]
        if bool((basis.s <= floor).any()):
            raise ValueRangeError(
                f"the basis holds a singular value of {basis.s[-1]:g}, so that u has no exact pre-image",
                "lower svd.rank, or use edit.transport=isometric",
            )
        coordinates = coordinates / basis.s
    elif convention != "isometric":
        raise ValueRangeError(f"edit.transport is {convention!r}", "allowed are isometric and pullback")
    v: Tensor = basis.V @ coordinates
    length = v.norm()
    if not length > 0:
        raise ValueRangeError("u has no part in the tangent space", "raise svd.rank")
    return v.div(length)

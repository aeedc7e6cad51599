r"""What an edit costs besides what it changes: colours driven to their limits.

Saturation has two numbers per picture: the share of values at the limits of the range (a clean latent beyond ±1 before
it is clipped, see :func:`clipped_share`), and the mean chroma √(α² + β²), the length of the opponent components
α = R − (G + B)/2 and β = (√3/2)(G − B) (Hanbury 2008), R, G, B in [0, 1].
"""

from __future__ import annotations

import math

from torch import Tensor

from diffgeo.errors import ShapeError

__all__ = ["chroma", "clipped_share"]


def clipped_share(pictures: Tensor, *, limit: float = 0.999) -> Tensor:
    """Share of values of magnitude ``limit`` or more.

    Args:
        pictures: shape (B, C, H, W), in [−1, 1] or, before clipping, beyond.
        limit: what counts as the end of the range.

    Returns:
        shape (B,), in [0, 1].

    Raises:
        ShapeError: pictures are not (B, C, H, W).
    """
    if pictures.ndim != 4:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}; expected (B, C, H, W)")
    return (pictures.abs() >= limit).float().mean(dim=(1, 2, 3))


def chroma(pictures: Tensor) -> Tensor:
    """Mean chroma of pictures, by the module's docstring.

    Args:
        pictures: shape (B, 3, H, W), RGB in [−1, 1].

    Returns:
        shape (B,), in [0, 1].

    Raises:
        ShapeError: pictures are not (B, 3, H, W).
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}; expected (B, 3, H, W)")
    r, g, b = ((pictures.float() + 1) / 2).unbind(dim=1)
    alpha, beta = r - (g + b) / 2, math.sqrt(3) / 2 * (g - b)
    return (alpha.square() + beta.square()).sqrt().mean(dim=(1, 2))

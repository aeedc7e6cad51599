r"""Masks: which pixels of a picture an edit should change.

A mask is a boolean tensor (H, W), true inside Ω. It comes from a file, from a rectangle, or, for a FactorFaces portrait
render(z), from a factor: the pixels where ∂render/∂z_j ≠ 0 in any channel (for glasses, which are there or not, those
where the portraits with and without them differ). Such a mask is the exact answer to the question where an edit of this
factor may act, picture by picture.

A mask without a pixel, or with all of them, leaves nothing to tell apart, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render
from diffgeo.data.images import load_image
from diffgeo.data.tangent import RANK_TOL
from diffgeo.errors import DataError, ShapeError, ValueRangeError

__all__ = ["checked_mask", "checked_size", "factor_mask", "load_mask", "rectangle", "resize_mask"]


def checked_mask(mask: Tensor, what: str) -> Tensor:
    """The mask itself, if it has pixels inside and outside.

    Args:
        mask: boolean, shape (H, W).
        what: it is, for messages.

    Raises:
        DataError: all of it, or nothing of it, is inside.
    """
    if not bool(mask.any()):
        raise DataError(f"{what} has no pixel inside", "give a mask with white where the edit should act")
    if bool(mask.all()):
        raise DataError(f"{what} has every pixel inside", "give a mask with black where the picture should stay")
    return mask


def checked_size(what: str, given: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Refuse a mask of another size than the picture's.

    Args:
        what: it is, for messages.
        given: rows and columns of the mask.
        wanted: rows and columns of the model's pictures.

    Raises:
        DataError: the two differ.
    """
    if given != wanted:
        raise DataError(
            f"{what} has {given[1]} × {given[0]} pixels, the model's pictures {wanted[1]} × {wanted[0]}",
            "give a mask of the pictures' size",
        )


def rectangle(edges: Sequence[float], height: int, width: int) -> Tensor:
    """The pixels whose centres lie in a rectangle.

    Args:
        edges: top, left, bottom, right as shares of the picture in [0, 1]; bottom and right are not inside.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Returns:
        Boolean, shape (height, width).

    Raises:
        DataError: it holds no pixel's centre, or all.
        ValueRangeError: not four shares, top above bottom and left before right.
    """
    if len(edges) != 4 or not 0 <= edges[0] < edges[2] <= 1 or not 0 <= edges[1] < edges[3] <= 1:
        raise ValueRangeError(
            f"a rectangle is {list(edges)}", "give top, left, bottom, right in [0, 1], top < bottom and left < right"
        )
    top, left, bottom, right = edges
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
    return checked_mask(inside, f"the rectangle {list(edges)}")


def load_mask(path: Path, height: int, width: int) -> Tensor:
    """A mask from a picture: inside is what is nearer to white than to black.

    Args:
        path: the file.
        height: that it must have, in pixels.
        width: that it must have, in pixels.

    Returns:
        Boolean, shape (height, width).

    Raises:
        DataError: the file cannot be read, has another size, or all of it or nothing of it is inside.
    """
    pixels = load_image(path, height, width)
    with Image.open(path) as opened:
        checked_size(f"the mask {path}", (opened.height, opened.width), (height, width))
    return checked_mask(pixels.mean(dim=0) > 0, f"the mask {path}")


def factor_mask(z: Tensor, factor: str, size: int = 32) -> Tensor:
    """The pixels that a factor changes in one portrait.

    Args:
        z: factors of the portrait, shape (14,), in [−1, 1]; computed in float64.
        factor: one of :data:`~diffgeo.data.factor_faces.FACTOR_NAMES`.
        size: side of the portrait in pixels.

    Returns:
        Boolean, shape (size, size), on the device of ``z``.

    Raises:
        DataError: the factor changes no pixel here, or every pixel.
        ShapeError: z is not (14,).
        ValueRangeError: there is no such factor.
    """
    if factor not in FACTOR_NAMES:
        raise ValueRangeError(f"no factor is called {factor}", f"factors are {', '.join(FACTOR_NAMES)}")
    if z.shape != (len(FACTORS),):
        raise ShapeError(f"factors have shape {tuple(z.shape)}", f"expected ({len(FACTORS)},)")
    z, j = z.double(), FACTOR_NAMES.index(factor)

    def painted(value: Tensor) -> Tensor:
        return render(z.index_copy(0, torch.tensor([j], device=z.device), value[None])[None], size)[0]

    if FACTORS[j].kind == "binary":
        change = painted(z.new_tensor(1.0)) - painted(z.new_tensor(-1.0))
    else:
        change = torch.func.jvp(painted, (z[j],), (torch.ones_like(z[j]),))[1]
    moved = change.abs().amax(dim=0)
    inside = moved > RANK_TOL * moved.amax()
    if not bool(inside.any()):
        raise DataError(f"{factor} has no effect on this picture", "choose another factor or another picture")
    return checked_mask(inside, f"the mask of {factor}")


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask on a coarser grid: a cell is inside if any of its pixels is, so that a small mask does not vanish.

    Args:
        mask: boolean, shape (H, W).
        height: rows of the grid, at most H.
        width: columns of the grid, at most W.

    Returns:
        Boolean, shape (height, width).

    Raises:
        DataError: every cell is touched.
        ShapeError: the grid is finer than the mask.
    """
    if height > mask.shape[0] or width > mask.shape[1]:
        raise ShapeError(f"a mask has shape {tuple(mask.shape)}", f"it must be at least ({height}, {width})")
    touched = torch.nn.functional.adaptive_max_pool2d(mask[None].float(), (height, width))[0] > 0
    return checked_mask(touched, f"the mask on the {height} × {width} grid of this map")

r"""A part of a map's output: with P the projection onto chosen places, P f has the Jacobian P J, the chosen rows of J.

So a :class:`Masked` map goes wherever a map goes: into :class:`~diffgeo.jacobian.JacobianOperator`, to solvers, into
the store. Of a picture's mask Ω, P keeps the pixels in Ω, with all their channels; the complement keeps the others, and
the two together have all rows of J.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = ["Masked"]


class Masked:
    """P f: the output of f at the places of a mask.

    Args:
        f: map whose output has shape (…, C, H, W).
        mask: places to keep, boolean, shape (H, W), on the output's device.

    Raises:
        ShapeError: in a call: the output of f is not (…, C, H, W).
        ValueRangeError: the mask keeps no place.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], mask: Tensor) -> None:
        self.f, self.mask, self._places = f, mask, mask.flatten().nonzero()[:, 0]
        if not len(self._places):
            raise ValueRangeError("a mask keeps no place", "give one with at least one pixel")

    def __call__(self, x: Tensor) -> Tensor:
        """Apply P f.

        Args:
            x: as f takes it.

        Returns:
            Shape (…, C, k), the k places in the order of the rows of the picture.
        """
        h = self.f(x)
        if h.shape[-2:] != self.mask.shape:
            raise ShapeError(
                f"the map's output has shape {tuple(h.shape)}, the mask {tuple(self.mask.shape)}",
                "expected (…, C, H, W) and (H, W)",
            )
        return h.flatten(-2).index_select(-1, self._places)

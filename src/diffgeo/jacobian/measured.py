"""What products with J were measured to take, by map, so that its operators at other points are not measured again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor

from diffgeo.jacobian.product_modes import ProductMode

__all__ = ["Measured", "measured_of"]


@dataclass(slots=True)
class Measured:
    """What was measured of a map.

    Attributes:
        kind: the first mode that it allows.
        graph: bytes of its graph.
        column: bytes of one column of both products over it.
        vectorises: whether copies of x can be given to it at once, as far as is known.
    """

    kind: type[ProductMode]
    graph: float
    column: float
    vectorises: bool = True


_MEASURED: WeakKeyDictionary[object, dict[tuple[object, ...], Measured]] = WeakKeyDictionary()


def measured_of(f: Callable[[Tensor], Tensor]) -> dict[tuple[object, ...], Measured]:
    """What was measured of a map so far, by what else it depends on; to be added to.

    Maps that take equal memory, as a feature map's at several timesteps, say so by an attribute ``measured_as``, an
    object that they share.
    """
    try:
        return _MEASURED.setdefault(getattr(f, "measured_as", f), {})
    except TypeError:  # f takes no weak reference, or has no hash
        return {}

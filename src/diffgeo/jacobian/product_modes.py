r"""Ways to make products with a Jacobian: reverse mode over copies of x, over one graph, or forward mode.

u ↦ Jᵀu is linear, so that its own vjp is J: reverse mode over reverse mode gives J V at the cost of Jᵀ U, a fraction of
what forward mode costs (docs/performance.md). It goes

    over copies   a graph of f at as many copies of x as there are columns. Nothing but torch's own kernels runs in a
                  product, which is quickest as long as such graphs are small;
    over one      graph of f at x, whose products take several columns by vmap. The graph's memory counts once;
    forward       mode for J V, and one graph for Jᵀ U, if f cannot be differentiated twice.

The last two also go by torch's own rules of layers, for f that evaluates layers again in a derivative, as checkpoints
do, or that holds derivatives itself.

All give the same numbers; :class:`diffgeo.jacobian.operator.JacobianOperator` chooses.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from diffgeo.jacobian.transposable import transposable_layers

log = logging.getLogger(__name__)

__all__ = ["PRODUCT_MODES", "Copies", "Forward", "OneGraph", "Plain", "PlainGraph", "ProductMode", "by_own_rules"]


class ProductMode(ABC):
    """A way to make products, which keeps the graphs that it has made.

    Args:
        f: the map.
        x: the point.
    """

    name: ClassVar[str]
    OWN_RULES: ClassVar[bool] = True
    """Whether convolution, group norm and attention go by :mod:`diffgeo.jacobian.transposable`."""

    def __init__(self, f: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self._f, self._x = by_own_rules(f) if self.OWN_RULES else f, x

    @abstractmethod
    def pulled(self, cotangents: Tensor) -> Tensor:
        """Jᵀ u, shape (k, *h.shape) → (k, *x.shape)."""

    @abstractmethod
    def pushed(self, tangents: Tensor) -> Tensor:
        """J v, shape (k, *x.shape) → (k, *h.shape)."""

    @abstractmethod
    def forget(self) -> None:
        """Drop the graphs."""

    def prepare(self) -> None:  # noqa: B027  # most have nothing more to make
        """Make the graphs that products keep."""


class Forward(ProductMode):
    """Forward mode, and one graph for Jᵀ U."""

    name = "forward"
    _vjp: Callable[[Tensor], tuple[Tensor]] | None = None

    def pushed(self, tangents: Tensor) -> Tensor:
        """See the base class."""
        image: Tensor = torch.func.vmap(lambda v: torch.func.jvp(self._f, (self._x,), (v,))[1])(tangents)
        return image

    def pulled(self, cotangents: Tensor) -> Tensor:
        """See the base class."""
        if self._vjp is None:
            _, self._vjp = torch.func.vjp(self._f, self._x)  # type: ignore[misc]  # (h, vjp) without has_aux
        vjp = self._vjp
        image: Tensor = torch.func.vmap(lambda u: vjp(u)[0])(cotangents)
        return image

    def forget(self) -> None:
        """See the base class."""
        self._vjp = None


class Plain(Forward):
    """The same by torch's own rules, for f that holds derivatives itself: it needs second ones of its layers."""

    name = "forward by torch's rules"
    OWN_RULES = False


class OneGraph(ProductMode):
    """Reverse mode over reverse mode, over one graph."""

    name = "one graph"
    _pull: tuple[Tensor, Tensor] | None = None
    _push: tuple[Tensor, Tensor] | None = None

    def pulled(self, cotangents: Tensor) -> Tensor:
        """See the base class."""
        h, point = self._graph()
        return _over(h, point, cotangents)

    def pushed(self, tangents: Tensor) -> Tensor:
        """See the base class."""
        return _over(*self._transposed(self._graph()), tangents)

    def forget(self) -> None:
        """See the base class."""
        self._pull = self._push = None

    def prepare(self) -> None:
        """See the base class."""
        self._transposed(self._graph())

    def _graph(self) -> tuple[Tensor, Tensor]:
        """The image h and the x that it was made of."""
        if self._pull is None:
            with torch.enable_grad():
                point = self._x.clone().requires_grad_()
                self._pull = _connected(self._f(point), point), point
        return self._pull

    def _transposed(self, graph: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Jᵀ u and the u that it was made of; any u does, the map is linear."""
        if self._push is None:
            h, point = graph
            with torch.enable_grad():
                u = torch.zeros_like(h, requires_grad=True)
                self._push = torch.autograd.grad(h, point, u, create_graph=True)[0], u
        return self._push


class PlainGraph(OneGraph):
    """The same by torch's own rules, for f that evaluates layers again in a derivative, as checkpoints do."""

    name = "one graph by torch's rules"
    OWN_RULES = False


class Copies(OneGraph):
    """Reverse mode over reverse mode, over a graph of f at copies of x, one for each column."""

    name = "copies"
    width = 0

    def pulled(self, cotangents: Tensor) -> Tensor:
        """See the base class."""
        h, copies = self._of_width(len(cotangents))
        return torch.autograd.grad(h, copies, self._padded(cotangents), retain_graph=True)[0][: len(cotangents)]

    def pushed(self, tangents: Tensor) -> Tensor:
        """See the base class."""
        image, u = self._transposed(self._of_width(len(tangents)))
        return torch.autograd.grad(image, u, self._padded(tangents), retain_graph=True)[0][: len(tangents)]

    def _of_width(self, k: int) -> tuple[Tensor, Tensor]:
        if self._pull is None or not k <= self.width <= 2 * k:
            self.forget()  # two of them at once might not fit
            self.width = k
            with torch.enable_grad():
                copies = self._x.expand(k, *self._x.shape).clone().requires_grad_()
                self._pull = _connected(torch.func.vmap(self._f)(copies), copies), copies
        return self._pull

    def _padded(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.new_zeros(self.width - len(rows), *rows.shape[1:])])


PRODUCT_MODES: dict[bool | None, list[type[Forward] | type[Plain] | type[OneGraph]]] = {
    True: [Forward, Plain],
    False: [OneGraph, PlainGraph],
    None: [OneGraph, PlainGraph, Forward, Plain],
}
"""By ``forward`` of the operator, in the order in which they are tried."""


def by_own_rules(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same map, its layers differentiated by :mod:`diffgeo.jacobian.transposable`."""

    def ruled(x: Tensor) -> Tensor:
        with transposable_layers():
            return f(x)

    return ruled


def _connected(result: Tensor, source: Tensor) -> Tensor:
    """The result; with a graph also if it does not depend on its source, where f is constant."""
    if result.requires_grad:
        return result
    log.warning("f(x) does not depend on x, so that J is 0; if it should, f may turn gradients off (torch.no_grad)")
    return result + 0 * source.sum()


def _over(result: Tensor, source: Tensor, rows: Tensor) -> Tensor:
    """Products with the derivative of ``result`` by ``source``, one a row."""

    def product(row: Tensor) -> Tensor:
        # a result that does not depend on its source is an error: a derivative without a derivative of its own
        return torch.autograd.grad(result, source, row, retain_graph=True)[0]

    return product(rows[0])[None] if len(rows) == 1 else torch.func.vmap(product)(rows)

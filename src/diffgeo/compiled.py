r"""Products with J as compiled graphs.

``torch.compile`` cannot look through function transforms over a network that is left by a hook. So each product is
traced first, with its derivative rules, to a flat graph of tensor operations (u ↦ Jᵀ u and v ↦ J v by forward mode,
x an input), and that is compiled. A graph runs f anew at every product, where eager mode keeps f's own graph, but no
step of it goes through Python. Tracing takes seconds and compiling minutes: it is for networks and timesteps that are
met thousands of times, on accelerators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["compiled_product"]

Product = Literal["mv", "rmv"]
_GRAPHS: WeakKeyDictionary[Any, dict[tuple[Any, ...], Callable[[Tensor, Tensor], Tensor]]] = WeakKeyDictionary()
"""Graphs by map: a basis at another point, by the same map, takes those that are there."""


def compiled_product(f: Callable[[Tensor], Tensor], product: Product, x: Tensor, rows: Tensor) -> Tensor:
    """J V or Jᵀ U by a compiled graph, made on first use for this map and number of columns.

    Args:
        f: the map; kept weakly, so hold on to it to use its graphs again.
        product: ``mv`` (rows like x) or ``rmv`` (rows like h).
        x: the point.
        rows: one column each, shape (k, …).

    Returns:
        One image each, shape (k, …).
    """
    width = 1 << (len(rows) - 1).bit_length()  # few widths, few graphs
    padded = torch.cat([rows, rows.new_zeros(width - len(rows), *rows.shape[1:])])
    graphs = _GRAPHS.setdefault(f, {})
    key = (product, padded.shape, padded.dtype, x.shape, str(x.device))
    if key not in graphs:
        compute = _pushed if product == "mv" else _pulled
        traced = make_fx(lambda x, rows: compute(f, x, rows))(x, padded)
        graphs[key] = torch.compile(traced)
    return graphs[key](x, padded)[: len(rows)]


def _pushed(f: Callable[[Tensor], Tensor], x: Tensor, rows: Tensor) -> Tensor:
    image: Tensor = torch.func.vmap(lambda row: torch.func.jvp(f, (x,), (row,))[1])(rows)
    return image


def _pulled(f: Callable[[Tensor], Tensor], x: Tensor, rows: Tensor) -> Tensor:
    _, pull = torch.func.vjp(f, x)  # type: ignore[misc]
    image: Tensor = torch.func.vmap(lambda row: pull(row)[0])(rows)
    return image

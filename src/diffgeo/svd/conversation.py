r"""Solvers as conversations: what a solver asks of J, apart from who answers.

A *routine* is a generator that yields requests (``"mv"`` or ``"rmv"`` with columns) and is sent the products. Written
once, it serves one point or several: :func:`alone` answers with one J, :func:`together` puts the requests of several
points side by side into one product with the block-diagonal J of all of them. A GPU that one small block leaves idle
is busy with eight, and no routine needs more passes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import refuse_overflow

__all__ = ["Request", "Routine", "alone", "together"]

R = TypeVar("R")
Request = tuple[Literal["mv", "rmv"], Tensor]
Routine = Generator[Request, Tensor, R]
"""Yields products to be made with J (d × k, or m × k), is sent them, and returns its result."""


def alone(routine: Routine[R], jacobian: JacobianOperator) -> R:
    """The routine's result at one point."""
    reply: Tensor | None = None
    while True:
        try:
            name, columns = next(routine) if reply is None else routine.send(reply)
        except StopIteration as stop:
            result: R = stop.value
            return result
        reply = jacobian.mv(columns) if name == "mv" else jacobian.rmv(columns)


def together(routines: Sequence[Routine[R]], stack: Callable[[list[int]], JacobianOperator]) -> list[R]:
    """The routines' results at several points, their products made together.

    Args:
        routines: one a point, all asking for ``mv`` and ``rmv`` by turns.
        stack: indices of points → the block-diagonal J there; asked again when half of the points are done.

    Returns:
        One result a routine, in order.
    """
    results: dict[int, R] = {}
    asked = {i: next(routine) for i, routine in enumerate(routines)}
    places = list(asked)
    jacobian = stack(places)
    while asked:
        if len(asked) <= len(places) // 2:
            places = list(asked)
            jacobian = stack(places)
        for name in sorted({request[0] for request in asked.values()}):
            columns = {i: request[1] for i, request in asked.items() if request[0] == name}
            for i, reply in _answered(jacobian, name, columns, places).items():
                try:
                    asked[i] = routines[i].send(reply)
                except StopIteration as stop:
                    results[i] = stop.value
                    del asked[i]
    return [results[i] for i in range(len(routines))]


def _answered(
    jacobian: JacobianOperator, name: Literal["mv", "rmv"], columns: dict[int, Tensor], places: list[int]
) -> dict[int, Tensor]:
    """One product with the block-diagonal J; points that ask for nothing, or for fewer columns, get zeros."""
    rows_in = jacobian.shape[1 if name == "mv" else 0] // len(places)
    width = max(part.shape[1] for part in columns.values())
    first = next(iter(columns.values()))
    packed = first.new_zeros(len(places), rows_in, width)
    for i, part in columns.items():
        packed[places.index(i), :, : part.shape[1]] = part
    flat = packed.flatten(0, 1)
    image = (jacobian.mv(flat) if name == "mv" else jacobian.rmv(flat)).unflatten(0, (len(places), -1))
    return {i: image[places.index(i), :, : part.shape[1]] for i, part in columns.items()}


def stacked(
    f: Callable[[Tensor], Tensor],
    xs: Tensor,
    *,
    chunk_size: int,
    on_pass: Callable[[int], None] | None = None,
    max_bytes: float | None = None,
) -> Callable[[list[int]], JacobianOperator]:
    """What :func:`together` asks for: the J of f at any of the points xs (B, C, H, W).

    Args:
        f: feature map that treats the entries of a batch apart.
        xs: the points.
        chunk_size: columns a product, over all points.
        on_pass: as for :class:`JacobianOperator`, called with columns of all points.
        max_bytes: as for :class:`JacobianOperator`.

    Raises:
        ValueRangeError: when asked: h is not finite at one of the points.
    """

    def stack(places: list[int]) -> JacobianOperator:
        count = len(places)
        counted = None if on_pass is None else (lambda columns: on_pass(columns * count))
        some = xs[torch.tensor(places)]
        columns = max(1, chunk_size // count)
        jacobian = JacobianOperator(f, some, chunk_size=columns, on_pass=counted, stacked=True, max_bytes=max_bytes)
        refuse_overflow(jacobian.h)
        return jacobian

    return stack

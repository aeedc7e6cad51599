r"""The papers' subspace iteration as its authors released it (arXiv 2307.12868), written anew from its description.

From the QR factor of a Gaussian matrix V (d × n, float32), one iteration is

    U = J V        forward mode through a ↦ f(x + a V), 25 columns at once; U is not made orthonormal,
    G = Jᵀ U       one reverse pass per column over one saved graph,
    G = V' S Zᵀ    thin SVD; V' is the next V, √S are the singular values.

It stops when every entry of V' is within 1e-4 of V's, from the twelfth iteration on, and after 50 iterations. It
returns V', √S and the U of the previous V, which the released scripts scale to unit columns. The comparison of entries
is blind to a sign or a rotation of V, and stopped none of the runs on the shipped model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffgeo import JacobianOperator, principal_angles

__all__ = ["CHUNK", "Iterate", "angles_by_start", "diffgeo_products", "random_start", "released_products", "subspaces"]

MOST, LEAST, CLOSE = 50, 10, 1e-4
"""Iterations at most, the last one that never stops, and the entrywise tolerance: as the released scripts set them."""
CHUNK = 25
"""Columns of J V at once in the released function."""
Product = Callable[[Tensor], Tensor]
"""Rows to rows: (k, d) to (k, m) for J V, (k, m) to (k, d) for Jᵀ U."""


@dataclass(frozen=True)
class Iterate:
    """What the released function would return after an iteration.

    Attributes:
        number: of the iteration, from 1.
        u: J times the previous V, unit columns, shape (m, n).
        s: singular values, shape (n,).
        v: right singular vectors, shape (d, n).
        previous: the V that ``u`` belongs to, shape (d, n).
        stopped: whether the released rule ends here.
    """

    number: int
    u: Tensor
    s: Tensor
    v: Tensor
    previous: Tensor
    stopped: bool


def random_start(rows: int, rank: int, seed: int, like: Tensor) -> Tensor:
    """Orthonormal columns of a Gaussian matrix in the dtype of ``like``, shape (rows, rank)."""
    gaussian = torch.randn(rows, rank, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)
    start: Tensor = torch.linalg.qr(gaussian.to(like.device)).Q
    return start


def subspaces(push: Product, pull: Product, start: Tensor) -> Iterator[Iterate]:
    """The released iteration.

    Args:
        push: J V, rows to rows.
        pull: Jᵀ U, rows to rows.
        start: orthonormal columns, shape (d, n).

    Yields:
        Every iterate up to the one at which the released rule stops.
    """
    v = start.T
    for number in range(1, MOST + 1):
        previous = v
        u = push(previous)
        _, s, v = torch.linalg.svd(pull(u), full_matrices=False)
        alike = bool(torch.allclose(previous, v, atol=CLOSE)) and number > LEAST + 1
        stopped = alike or number == MOST
        yield Iterate(number, (u / u.norm(dim=1, keepdim=True)).T, s.sqrt(), v.T, previous.T, stopped)
        if stopped:
            return


def released_products(jacobian: JacobianOperator) -> tuple[Product, Product]:
    """Products as the released function makes them.

    Args:
        jacobian: J of a feature map f at one x; its own products are not used, its ``on_pass`` is told of these.

    Returns:
        J V and Jᵀ U.
    """
    f, x, count = jacobian.f, jacobian.x, jacobian.on_pass or (lambda _: None)
    point = x.reshape(1, *x.shape[-3:])

    def push(rows: Tensor) -> Tensor:
        images = []
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
            for some in rows.reshape(-1, *point.shape[1:]).split(CHUNK):
                at_zero = torch.zeros((), device=x.device, dtype=x.dtype)
                moved = torch.func.jacfwd(lambda a, some=some: f(point + a * some))(at_zero)
                images.append(moved.detach().flatten(1))
                count(len(some))
        return torch.cat(images)

    def pull(rows: Tensor) -> Tensor:
        def inner_products(at: Tensor) -> Tensor:
            return rows @ f(at).flatten()

        with sdpa_kernel(SDPBackend.MATH):
            gradients = torch.autograd.functional.jacobian(inner_products, point)  # type: ignore[no-untyped-call]
        count(len(rows))
        flat: Tensor = gradients.flatten(1)
        return flat

    return push, pull


def diffgeo_products(jacobian: JacobianOperator) -> tuple[Product, Product]:
    """J V and Jᵀ U by the operator, rows to rows."""
    return lambda rows: jacobian.mv(rows.T).T, lambda rows: jacobian.rmv(rows.T).T


def angles_by_start(singular_values: Tensor, rank: int, seeds: int) -> list[Tensor]:
    """How far the released iteration comes from other random starts, without one product more.

    A Gaussian start has no preferred axes, so that angles are distributed as for diag(s), on which the iteration runs
    here.

    Args:
        singular_values: all d of J, falling; zeros are among them if m < d.
        rank: n.
        seeds: how many starts.

    Returns:
        Per start, the n principal angles to the leading n axes, rising.
    """
    s = singular_values.float()
    truth = torch.eye(len(s), rank, dtype=torch.float64)
    found = []
    for seed in range(seeds):
        *_, last = subspaces(lambda rows: rows * s, lambda rows: rows * s, random_start(len(s), rank, seed, s))
        found.append(principal_angles(truth, last.v.double()).sort().values)
    return found

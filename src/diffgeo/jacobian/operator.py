r"""The Jacobian J = ∂f/∂x at one point, as a linear operator that is never formed.

Let f map x (d numbers) to h (m numbers). The pullback metric of the latent space is ‖v‖²_pb = vᵀJᵀJ v (P23a,
eq. 1; P23b, eq. 2). All that its singular value decomposition needs are the products

    J V   one Jacobian-vector product (jvp) per column,
    Jᵀ U  one vector-Jacobian product (vjp) per column, by reverse mode.

There are two roads to the same numbers. Where x is large and memory counts, **one** saved graph of f serves all columns
of Jᵀ U, and J V goes by forward mode, about two runs of f. Where x is small, graphs hold a copy of f for every column,
and nothing but torch's own kernels runs in a product; J V is then reverse over reverse: u ↦ Jᵀu is linear, so that its
own vjp is J. That costs as much as Jᵀ U, a third of forward mode (docs/performance.md).

A product with one column is a *pass*, the unit in which solvers are compared.

At several points at once (``stacked``) J is block diagonal: x and h are those of all points, one below the other, and
a column holds a part for each. One saved graph and one kernel launch then serve all of them, which is what fills a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffgeo.errors import DeviceError, ShapeError, ValueRangeError
from diffgeo.jacobian.memory import is_out_of_memory, most_that_fits
from diffgeo.jacobian.transposable import transposable_layers

__all__ = ["JacobianOperator", "chunk_that_fits"]

log = logging.getLogger(__name__)

SMALL_X, MOST_COPIES = 64 * 64 * 3, 98_304
"""Points of at most so many numbers have a copy of f for every column, of no more than so many numbers in all; beyond,
the graphs' memory counts."""


class JacobianOperator:
    """J of f at x, shape (m, d).

    Args:
        f: differentiable map from tensors of x's shape to tensors of any shape.
        x: the point, any shape; a leading batch dimension must be 1 unless ``stacked``. Its dtype is that of all
            products; float32 or float64 (half precision breaks the adjoint identity by 1e-2).
        chunk_size: columns per vectorised call; bounds memory, does not change results beyond rounding. It is halved,
            with a warning in the log, where the device has too little memory.
        on_pass: called with the number of columns after every chunk, to show progress.
        forward: J V by forward mode and one graph for Jᵀ U (True), or a copy of f for every column and reverse over
            reverse (False), which needs f to be twice differentiable and to work under ``torch.func.vmap``. None
            chooses by the size of a point (:data:`SMALL_X`), and forward if f does not work under vmap.
        stacked: x holds several points along its first dimension, which f treats apart, as U-Nets do.

    Raises:
        DeviceError: in a product: not even one column fits into the device's memory.
        ShapeError: x is a batch of several points, and not ``stacked``.
        ValueRangeError: x is not floating point, not finite, or chunk_size < 1.
    """

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        chunk_size: int = 32,
        on_pass: Callable[[int], None] | None = None,
        forward: bool | None = None,
        stacked: bool = False,
    ) -> None:
        if x.ndim == 4 and len(x) != 1 and not stacked:
            raise ShapeError(f"x has shape {tuple(x.shape)}", "a Jacobian is taken at one point, pass x[i]")
        if x.dtype not in (torch.float32, torch.float64):
            raise ValueRangeError(f"x is {x.dtype}", "Jacobians need float32 or float64")
        if not bool(torch.isfinite(x).all()):
            raise ValueRangeError("x holds NaN or infinity", "the latent has diverged before this point")
        if chunk_size < 1:
            raise ValueRangeError(f"chunk_size is {chunk_size}", "it must be at least 1")
        self.f, self.x, self.chunk_size, self.on_pass = f, x.detach(), chunk_size, on_pass
        point = self.x.numel() // (len(x) if stacked else 1)
        self.forward = point > SMALL_X if forward is None else forward
        self.passes = 0
        self._copies: _Copies | None = None
        self._vjp: Callable[[Tensor], tuple[Tensor]] | None = None
        self._insists = forward is not None
        with _exact_arithmetic():
            if self.forward:
                h, self._vjp = torch.func.vjp(f, self.x)  # type: ignore[misc]  # (h, vjp) without has_aux
            else:
                with torch.no_grad():
                    h = f(self.x)
        self.h = h.detach()

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d): numbers in h and in x."""
        return self.h.numel(), self.x.numel()

    def mv(self, v: Tensor) -> Tensor:
        """J V, the directions' images in H.

        Args:
            v: columns, shape (d, k), in units of x.

        Returns:
            shape (m, k), in units of h; dtype and device of x.

        Raises:
            ShapeError: v has other than d rows.
        """
        return self._columnwise(self._pushed if self.forward else self._pushed_by_copies, v, self.x.shape, "J V")

    def rmv(self, u: Tensor) -> Tensor:
        """Jᵀ U, the pull-back of covectors.

        Args:
            u: columns, shape (m, k), in units of h.

        Returns:
            shape (d, k); dtype and device of x.

        Raises:
            ShapeError: u has other than m rows.
        """
        return self._columnwise(self._pulled if self.forward else self._pulled_by_copies, u, self.h.shape, "J^T U")

    def dense(self) -> Tensor:
        """J as a matrix, by the cheaper side: min(m, d) passes.

        Returns:
            Shape (m, d), in the dtype of x.
        """
        m, d = self.shape
        if m <= d:
            return self.rmv(torch.eye(m, dtype=self.x.dtype, device=self.x.device)).T
        return self.mv(torch.eye(d, dtype=self.x.dtype, device=self.x.device))

    def _pushed(self, tangents: Tensor) -> Tensor:
        image: Tensor = torch.func.vmap(lambda v: torch.func.jvp(self.f, (self.x,), (v,))[1])(tangents)
        return image

    def _pulled(self, cotangents: Tensor) -> Tensor:
        if self._vjp is None:
            _, self._vjp = torch.func.vjp(self.f, self.x)  # type: ignore[misc]  # (h, vjp) without has_aux
        vjp = self._vjp
        image: Tensor = torch.func.vmap(lambda u: vjp(u)[0])(cotangents)
        return image

    def _pushed_by_copies(self, tangents: Tensor) -> Tensor:
        found = self._by_copies(lambda: self._of_width(len(tangents)).pushed(tangents))
        return self._pushed(tangents) if found is None else found

    def _pulled_by_copies(self, cotangents: Tensor) -> Tensor:
        found = self._by_copies(lambda: self._of_width(len(cotangents)).pulled(cotangents))
        return self._pulled(cotangents) if found is None else found

    def _by_copies(self, product: Callable[[], Tensor]) -> Tensor | None:
        """The product; None, and forward from now on, if f cannot be vectorised, as one that branches on x."""
        try:
            return product()
        except RuntimeError as error:
            if self._insists or is_out_of_memory(error):
                raise
            log.info("products one point at a time, which is slower: %s", str(error).partition("\n")[0])
        self.forward, self._copies = True, None
        return None

    def _of_width(self, k: int) -> _Copies:
        if self._copies is None or not k <= self._copies.width <= 2 * k:
            self._copies = None  # two of them at once might not fit
            self._copies = _Copies(self.f, self.x, k)
        return self._copies

    def _columnwise(
        self, products: Callable[[Tensor], Tensor], columns: Tensor, shape: torch.Size, what: str
    ) -> Tensor:
        if columns.ndim != 2 or columns.shape[0] != shape.numel():
            raise ShapeError(
                f"{what} with J of shape {self.shape} got columns of shape {tuple(columns.shape)}",
                f"expected ({shape.numel()}, k)",
            )
        rows = columns.T.to(self.x).reshape(-1, *shape)
        chunks: list[Tensor] = []
        done, copies = 0, self.chunk_size if self.forward else max(1, MOST_COPIES // self.x.numel())
        with _exact_arithmetic(), torch.no_grad():
            while done < len(rows):
                left = len(rows) - done
                even = ceil(left / ceil(left / min(self.chunk_size, copies)))  # 50 by 32: 25 and 25
                chunk = rows[done : done + even]
                failed = ""
                try:
                    chunks.append(products(chunk))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    failed = str(error).partition("\n")[0] or type(error).__name__
                if failed:  # out here the error, and with it what the failed call held, is gone
                    self._halve(len(chunk), failed)
                    continue
                done += len(chunk)
                self.passes += len(chunk)
                if self.on_pass is not None:
                    self.on_pass(len(chunk))
        return torch.cat(chunks).flatten(1).T

    def _halve(self, columns: int, why: str) -> None:
        """Take half as many columns from now on; what the failed call left behind goes back to the device."""
        if columns == 1:
            raise DeviceError(
                f"{self.x.device} has too little memory for one product with J ({why})",
                "take a smaller model, or another device",
            )
        self.chunk_size, self._copies = columns // 2, None
        log.warning("out of memory with %d columns; going on with %d at once", columns, self.chunk_size)
        if self.x.device.type == "cuda":
            torch.cuda.empty_cache()


class _Copies:
    """Products through graphs of f at copies of x, one for each column; each graph is made when it is needed first.

    Args:
        f: the map.
        x: the point.
        width: the most columns.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], x: Tensor, width: int) -> None:
        self._f, self._x, self.width = f, x, width
        self._pull: tuple[Tensor, Tensor] | None = None
        self._push: tuple[Tensor, Tensor] | None = None

    def pulled(self, cotangents: Tensor) -> Tensor:
        """Jᵀ u of at most ``width`` cotangents, shape (k, *h.shape) → (k, *x.shape)."""
        if self._pull is None:
            with _exact_arithmetic(), torch.enable_grad():
                self._pull = self._run()
        h, copies = self._pull
        return torch.autograd.grad(h, copies, self._padded(cotangents), retain_graph=True)[0][: len(cotangents)]

    def pushed(self, tangents: Tensor) -> Tensor:
        """J v of at most ``width`` tangents, shape (k, *x.shape) → (k, *h.shape)."""
        if self._push is None:
            with _exact_arithmetic(), torch.enable_grad(), transposable_layers():
                h, copies = self._run()
                u = torch.zeros_like(h, requires_grad=True)  # any u does, the map is linear
                self._push = torch.autograd.grad(h, copies, u, create_graph=True)[0], u
        image, u = self._push
        return torch.autograd.grad(image, u, self._padded(tangents), retain_graph=True)[0][: len(tangents)]

    def _run(self) -> tuple[Tensor, Tensor]:
        copies = self._x.expand(self.width, *self._x.shape).clone().requires_grad_()
        h: Tensor = torch.func.vmap(self._f)(copies)
        return (h if h.requires_grad else h + 0 * copies.sum()), copies  # where f is constant, too, there is a graph

    def _padded(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.new_zeros(self.width - len(rows), *rows.shape[1:])])


def chunk_that_fits(
    f: Callable[[Tensor], Tensor], x: Tensor, max_bytes: float, most: int = 32, *, stacked: bool = False
) -> int:
    """``chunk_size`` with which products of J at x take at most so much memory, by a measured probe.

    Args:
        f: as for :class:`JacobianOperator`.
        x: one point, or several that are ``stacked``.
        max_bytes: for all tensors that a product needs beside weights: saved graphs, columns, images.
        most: no more than so many columns.
        stacked: as for :class:`JacobianOperator`.

    Returns:
        1 … most; the same at every call.

    Raises:
        ValueRangeError: not even one column fits.
    """

    def take(columns: int) -> None:
        jacobian = JacobianOperator(f, x, chunk_size=columns, stacked=stacked)
        m, d = jacobian.shape
        jacobian.mv(x.new_zeros(d, columns))
        jacobian.rmv(x.new_zeros(m, columns))

    what = f"one column of J at {len(x)} points (svd.points)" if stacked else "one column of J"
    return most_that_fits(take, max_bytes, most, what=what)


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """No TF32, and attention by plain operations: the fused kernels have no forward-mode derivative."""
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    torch.set_float32_matmul_precision("highest")
    # cudnn.flags resets what it is not told
    kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "benchmark_limit", "deterministic")}
    try:
        with sdpa_kernel(SDPBackend.MATH), cudnn.flags(**kept, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)

r"""The Jacobian J = ∂f/∂x at one point, as a linear operator that is never formed.

Let f map x (d numbers) to h (m numbers). The pullback metric of the latent space is ‖v‖²_pb = vᵀJᵀJ v (P23a,
eq. 1; P23b, eq. 2). All that its singular value decomposition needs are the products

    J V   one Jacobian-vector product (jvp) per column,
    Jᵀ U  one vector-Jacobian product (vjp) per column, by reverse mode.

There is more than one way to the same numbers (:mod:`diffgeo.jacobian.product_modes`). The first product measures what
one column takes (:mod:`diffgeo.jacobian.memory`). Copies of x are chosen if those of a whole chunk stay below
:data:`COPIES_BYTES`; and as many columns are made at once as fit what the caller allows, or what the device has free.

A product with one column is a *pass*, the unit in which solvers are compared.

At several points at once (``stacked``) J is block diagonal: x and h are those of all points, one below the other, and
a column holds a part for each. One saved graph and one kernel launch then serve all of them, which is what fills a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffgeo.errors import DeviceError, ShapeError, ValueRangeError
from diffgeo.jacobian.measured import Measured, measured_of
from diffgeo.jacobian.memory import Ledger, free_bytes, is_out_of_memory, refuse_whole
from diffgeo.jacobian.product_modes import PRODUCT_MODES, Copies, OneGraph, ProductMode, by_own_rules

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

__all__ = ["JacobianOperator", "TransposedJacobian", "chunk_that_fits"]

log = logging.getLogger(__name__)

COPIES_BYTES = 5e8
"""Graphs of copies may take so much; with larger ones, kernels are so long that what surrounds them does not count."""

_FEW = 4
"""Copies that are worth it: the columns of a block on a CPU."""

_LESS = "take a smaller model, or another device"

_AT_ONCE_ON_A_CPU = 2
"""Columns over one graph on a CPU: two share the weights of attention; the arrays of more are so long that the system's
allocator asks for new pages every time, which costs more than sharing gains."""


class JacobianOperator:
    """J of f at x, shape (m, d): ``J @ V`` and ``J.T @ U`` without forming it, for any differentiable function.

    Args:
        f: differentiable map from tensors of x's shape to tensors of any shape. It returns one real tensor, does not
            turn gradients off (``torch.no_grad``), and gives the same for the same x: networks are in ``eval`` mode.
        x: the point, any shape; a leading batch dimension must be 1 unless ``stacked``. Its dtype is that of all
            products; float32 or float64 (half precision breaks the adjoint identity by 1e-2).
        chunk_size: columns per vectorised call; bounds memory, does not change results beyond rounding. It is halved,
            with a warning in the log, if the device has too little memory.
        on_pass: called with the number of columns after every chunk, to show progress.
        forward: J V by forward mode (True), or by reverse mode over reverse mode, which needs f to be twice
            differentiable (False). None tries the latter first.
        stacked: x holds several points along its first dimension, which f treats apart, as U-Nets do.
        max_bytes: what the tensors of a product may take, graphs included, beside those that exist already; what the
            device has free if None.

    Raises:
        DeviceError: f(x) does not fit into the device's memory; in a product: not even one column does, or into
            ``max_bytes``.
        ShapeError: x is a batch of several points, and not ``stacked``, or f does not return a tensor.
        ValueRangeError: x is not floating point or not finite, f(x) is not floating point, or chunk_size < 1.

    Example:
        >>> J = JacobianOperator(lambda x: x.square(), torch.tensor([1.0, 2.0, 3.0]))
        >>> J @ torch.ones(3)
        tensor([2., 4., 6.])
        >>> J.T @ torch.ones(3, 1)
        tensor([[2.],
                [4.],
                [6.]])
        >>> J.to_scipy().shape
        (3, 3)
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
        max_bytes: float | None = None,
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
        self.max_bytes, self.passes = max_bytes, 0
        self._forward, self._most = forward, chunk_size
        self._mode: ProductMode | None = None
        self.h = self._image()

    def _image(self) -> Tensor:
        try:
            with _exact_arithmetic(), torch.no_grad():
                h = by_own_rules(self.f)(self.x)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(f"{self.x.device} has too little memory for f(x) ({error})", _LESS) from error
        if not isinstance(h, Tensor):
            raise ShapeError(f"f returns a {type(h).__name__}", "return one tensor, as lambda x: net(x).logits does")
        if not h.is_floating_point():
            raise ValueRangeError(f"f(x) is {h.dtype}", "return real numbers, a complex one as torch.view_as_real(h)")
        return h.detach()

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d): numbers in h and in x."""
        return self.h.numel(), self.x.numel()

    @property
    def dtype(self) -> torch.dtype:
        """That of x and of all products, float32 or float64."""
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        """Where x is, and where products are made."""
        return self.x.device

    def mv(self, v: Tensor) -> Tensor:
        """J V, the directions' images in H.

        Args:
            v: columns, shape (d, k), in units of x.

        Returns:
            shape (m, k), in units of h; dtype and device of x.

        Raises:
            ShapeError: v has other than d rows.
        """
        return self._columnwise("pushed", v, self.x.shape, "J V")

    def rmv(self, u: Tensor) -> Tensor:
        """Jᵀ U, the pull-back of covectors.

        Args:
            u: columns, shape (m, k), in units of h.

        Returns:
            shape (d, k); dtype and device of x.

        Raises:
            ShapeError: u has other than m rows.
        """
        return self._columnwise("pulled", u, self.h.shape, "J^T U")

    def dense(self) -> Tensor:
        """J as a matrix, by the cheaper side: min(m, d) passes.

        Returns:
            Shape (m, d), in the dtype of x.

        Raises:
            DeviceError: the device has too little memory for it; nothing is computed then.
        """
        m, d = self.shape
        refuse_whole(self.shape, self.x.dtype, self.x.device)
        if m <= d:
            return self.rmv(torch.eye(m, dtype=self.x.dtype, device=self.x.device)).T
        return self.mv(torch.eye(d, dtype=self.x.dtype, device=self.x.device))

    def __matmul__(self, v: Tensor) -> Tensor:
        """J v or J V: as :meth:`mv`, of one vector (d,) also, and of numpy's arrays."""
        return _times(self.mv, v)

    @property
    def T(self) -> TransposedJacobian:  # noqa: N802  # as a matrix
        """Jᵀ, whose products are those of :meth:`rmv`."""
        return TransposedJacobian(self)

    def to_scipy(self, dtype: str | None = None) -> LinearOperator:
        """J for scipy's solvers.

        Args:
            dtype: of the numbers that scipy sees; that of x if None. With ``float64`` a solver computes in double
                precision, whatever J does.

        Returns:
            An operator of shape (m, d), whose products are counted as passes of this one.

        Raises:
            ValueRangeError: in a product: with complex numbers.
        """
        from scipy.sparse.linalg import LinearOperator

        dtype = dtype or str(self.x.dtype).removeprefix("torch.")

        def product(times: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
            def of(columns: Any) -> Any:
                if np.iscomplexobj(columns):
                    raise ValueRangeError("J is real, and was given complex numbers", "give their two parts apart")
                given = torch.from_numpy(np.array(columns)).reshape(len(columns), -1)
                return times(given.to(self.x)).cpu().numpy().astype(dtype).reshape(-1, *columns.shape[1:])

            return of

        mv, rmv = product(self.mv), product(self.rmv)
        return LinearOperator(self.shape, matvec=mv, rmatvec=rmv, matmat=mv, rmatmat=rmv, dtype=dtype)

    @property
    def mode(self) -> str:
        """How products are made, a name of :mod:`diffgeo.jacobian.product_modes`; measured before the first product."""
        return self._chosen().name

    @property
    def columns_at_once(self) -> int:
        """Columns of one call: at most ``chunk_size``, and as many as fit; measured if no product has been made yet."""
        self._chosen()
        return min(self._most, self.chunk_size)

    def forget(self) -> None:
        """Drop the graphs, and with them most of the memory; the next product makes new ones."""
        if self._mode is not None:
            self._mode.forget()

    def _chosen(self) -> ProductMode:
        """The mode; it and the number of columns that fit are found by a column of zeros, once for every f."""
        if self._mode is None:
            limit = free_bytes(self.x.device) if self.max_bytes is None else self.max_bytes
            found = self._measured(limit)
            mode, graph, column = found.kind(self.f, self.x), found.graph, found.column
            if graph + column > limit:
                raise MemoryError(f"one column takes {(graph + column) / 1e9:.2g} GB of {limit / 1e9:.2g} GB")
            self._most = max(1, min(self.chunk_size, int((limit - graph) / max(column, 1))))
            copies = int(min(limit, COPIES_BYTES) / max(graph + column, 1)) if found.vectorises else 0
            if found.kind is OneGraph and copies >= min(self.chunk_size, _FEW):
                mode, self._most = Copies(self.f, self.x), min(self.chunk_size, copies)
            elif isinstance(mode, OneGraph) and self.x.device.type == "cpu":
                self._most = min(self._most, _AT_ONCE_ON_A_CPU)
            self._mode = mode
        return self._mode

    def _measured(self, limit: float) -> Measured:
        """What products take by the first mode that f allows."""
        known, key = measured_of(self.f), self._key
        for kind in PRODUCT_MODES[self._forward] if key not in known else ():
            mode = kind(self.f, self.x)
            try:
                known[key] = Measured(kind, *self._taken(mode, limit))
                break
            except RuntimeError as error:
                if kind is PRODUCT_MODES[self._forward][-1] or is_out_of_memory(error):
                    raise
                log.info("no derivatives by %s, which is quicker: %s", mode.name, str(error).partition("\n")[0])
        return known[key]

    @property
    def _key(self) -> tuple[object, ...]:
        """What the memory of a product depends on, for one map."""
        return self._forward, self.x.shape, self.x.dtype, self.x.device

    def _taken(self, mode: ProductMode, limit: float) -> tuple[float, float]:
        tangent, cotangent = torch.zeros_like(self.x)[None], torch.zeros_like(self.h)[None]
        with _exact_arithmetic(), torch.no_grad(), Ledger(limit) as ledger:
            mode.pulled(cotangent)
            mode.prepare()
            held = ledger.peak = ledger.held
            mode.pulled(cotangent)
            if isinstance(mode, OneGraph):  # forward mode costs the same, and f may have Jᵀ u alone
                mode.pushed(tangent)
            return float(held), float(ledger.peak - held)

    def _columnwise(self, product: str, columns: Tensor, shape: torch.Size, what: str) -> Tensor:
        if columns.ndim != 2 or columns.shape[0] != shape.numel():
            raise ShapeError(
                f"{what} with J of shape {self.shape} got columns of shape {tuple(columns.shape)}",
                f"expected ({shape.numel()}, k)",
            )
        if columns.shape[1] == 0:
            return columns.new_zeros(self.shape[product == "pulled"], 0).to(self.x)
        rows = columns.T.to(self.x).reshape(-1, *shape)
        chunks: list[Tensor] = []
        done = 0
        with _exact_arithmetic(), torch.no_grad():
            while done < len(rows):
                left = even = len(rows) - done
                failed, bound = "", None
                try:
                    mode = self._chosen()
                    even = ceil(left / ceil(left / self.columns_at_once))  # 50 by 32: 25 and 25
                    chunks.append(getattr(mode, product)(rows[done : done + even]))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        self._leave_copies(error)
                        continue
                    failed = str(error).partition("\n")[0] or type(error).__name__
                    bound = self.max_bytes if isinstance(error, MemoryError) else None  # torch raises RuntimeErrors
                if failed:  # out here the error, and with it what the failed call held, is gone
                    self._halve(even if self._mode is not None else 1, failed, bound)
                    continue
                done += even
                self.passes += even
                if self.on_pass is not None:
                    self.on_pass(even)
        return torch.cat(chunks).reshape(len(rows), -1).T

    def _leave_copies(self, error: RuntimeError | MemoryError) -> None:
        """Go over one graph from now on: f cannot be vectorised, as one that branches on x."""
        if not isinstance(self._mode, Copies):
            raise error
        log.info("products one point at a time, which is slower: %s", str(error).partition("\n")[0])
        self._mode = OneGraph(self.f, self.x)
        if found := measured_of(self.f).get(self._key):
            found.vectorises = False

    def _halve(self, columns: int, why: str, bound: float | None) -> None:
        """Take half as many columns from now on; what the failed call left behind goes back to the device.

        Args:
            columns: as many as there was no room for.
            why: the error's words.
            bound: what the caller allows, if that ran out and not the device.

        Raises:
            DeviceError: it was one column.
        """
        if columns == 1 and bound is not None:
            raise DeviceError(
                f"max_memory={bound / 1e9:g} GB is too little for one product with J ({why})",
                "raise max_memory (in Python, max_bytes)",
            )
        if columns == 1:
            raise DeviceError(
                f"{self.x.device} has too little memory for one product with J ({why})",
                _LESS,
            )
        self.chunk_size = columns // 2
        self.forget()
        log.warning("out of memory with %d columns; going on with %d at once", columns, self.chunk_size)
        if self.x.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class TransposedJacobian:
    """Jᵀ, shape (d, m).

    Attributes:
        jacobian: J; it counts the passes.
    """

    jacobian: JacobianOperator

    @property
    def shape(self) -> tuple[int, int]:
        """(d, m)."""
        m, d = self.jacobian.shape
        return d, m

    @property
    def dtype(self) -> torch.dtype:
        """As of J."""
        return self.jacobian.dtype

    @property
    def device(self) -> torch.device:
        """As of J."""
        return self.jacobian.device

    @property
    def T(self) -> JacobianOperator:  # noqa: N802  # as a matrix
        """J."""
        return self.jacobian

    def __matmul__(self, u: Tensor) -> Tensor:
        """Jᵀ u or Jᵀ U, of a vector (m,) or columns (m, k), and of numpy's arrays."""
        return _times(self.jacobian.rmv, u)

    def to_scipy(self, dtype: str | None = None) -> LinearOperator:
        """Jᵀ for scipy's solvers, shape (d, m), as :meth:`JacobianOperator.to_scipy`."""
        return self.jacobian.to_scipy(dtype).adjoint()


def _times(product: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """A product with a vector or with columns."""
    columns = torch.as_tensor(v)
    if columns.ndim not in (1, 2):
        raise ShapeError(f"a product got an array of shape {tuple(columns.shape)}", "expected a vector or columns")
    return product(columns) if columns.ndim == 2 else product(columns[:, None])[:, 0]


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
    what = f"one column of J at {len(x)} points (svd.points)" if stacked else "one column of J"
    jacobian = JacobianOperator(f, x, chunk_size=most, stacked=stacked, max_bytes=max_bytes)
    try:
        return jacobian.columns_at_once
    except MemoryError as error:
        raise ValueRangeError(
            f"max_memory={max_bytes / 1e9:g} GB is too little for {what}: {error}", "raise max_memory"
        ) from error


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """No TF32, and attention without rules of our own by plain operations, which have all derivatives."""
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    torch.set_float32_matmul_precision("highest")
    # cudnn.flags resets what it is not told
    kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "benchmark_limit", "deterministic")}
    try:
        with sdpa_kernel(SDPBackend.MATH), cudnn.flags(**kept, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)

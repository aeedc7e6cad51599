r"""Local bases: the leading singular triplets of J without forming it.

:func:`local_basis` is the entry, :func:`local_bases` serves several points at once, :func:`decompose` takes an operator
at hand. All hand a :class:`SolveSpec` to its solver, and warn if the tolerance was missed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffgeo.errors import BasisWarning, ShapeError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import refuse_overflow
from diffgeo.svd.basis import LocalBasis
from diffgeo.svd.conversation import stacked, together
from diffgeo.svd.dense import Dense
from diffgeo.svd.solver import Solver
from diffgeo.svd.spec import SolveSpec

__all__ = ["decompose", "energy", "local_bases", "local_basis"]


def local_basis(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    rank: int | None = None,
    *,
    spec: SolveSpec | None = None,
    solver: Solver | None = None,
    tol: float | None = None,
    on_pass: Callable[[int], None] | None = None,
    max_bytes: float | None = None,
) -> LocalBasis:
    r"""Local basis of the latent space at x: J = U Λ Vᵀ truncated at rank n (P23a, section 3.1).

    Args:
        f: feature map, x → h.
        x: one latent, shape (C, H, W) or (1, C, H, W) (or any shape that f takes), float32 or float64.
        rank: n, 1 … min(m, d); that of ``spec`` (50) if None.
        spec: everything else that determines the basis; the default if None.
        solver: an algorithm, instead of the one in ``spec``.
        tol: bound on the relative residuals, instead of the one in ``spec`` (1e-4).
        on_pass: called with the number of columns after every product, to show progress.
        max_bytes: what the tensors of a product with J may take; what the device has free if None.

    Returns:
        The basis. It is exact if the whole of J costs no more than the solver (for Golub–Kahan: 4 n ≥ min(m, d), or
        min(m, d) ≤ 256, as for pooled h).

    Raises:
        ValueRangeError: rank, share or tol out of range, or h is not finite.

    Warns:
        BasisWarning: ``tol`` was not reached; the message names the residual and the setting to raise.

    Example:
        >>> import torch
        >>> matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
        >>> local_basis(lambda x: matrix @ x, torch.zeros(3), rank=2).s
        tensor([3., 2.])
    """
    asked = (SolveSpec() if spec is None else spec).of_rank(rank, tol)
    asked = asked if solver is None else replace(asked, solver=solver)
    jacobian = JacobianOperator(f, x, chunk_size=asked.chunk_size, on_pass=on_pass, max_bytes=max_bytes)
    return _warned(_solved(jacobian, asked), asked.solver)


def local_bases(
    f: Callable[[Tensor], Tensor],
    xs: Tensor,
    spec: SolveSpec,
    *,
    on_pass: Callable[[int], None] | None = None,
    max_bytes: float | None = None,
) -> list[LocalBasis]:
    """Local bases at several points, their products with J made together if the solver can.

    Args:
        f: feature map that treats the entries of a batch apart, as those of :class:`FeatureMap` do.
        xs: latents, shape (B, C, H, W).
        spec: as for :func:`local_basis`; its ``chunk_size`` counts columns over all points together.
        on_pass: called with the number of columns, over all points together.
        max_bytes: as for :func:`local_basis`, over all points together.

    Returns:
        One basis per point. They agree with those of :func:`local_basis` to rounding.

    Raises:
        ShapeError: xs is no batch.
        ValueRangeError: as :func:`local_basis`.

    Warns:
        BasisWarning: ``tol`` was not reached at a point.
    """
    if xs.ndim != 4:
        raise ShapeError(f"xs has shape {tuple(xs.shape)}, not (B, C, H, W)", "give a batch of latents")
    first = JacobianOperator(f, xs[:1], chunk_size=spec.chunk_size)
    rank, solver = _checked(first, spec), spec.solver
    routines = [solver.routine(first.shape, first.x, rank, tol=spec.tol, seed=spec.seed) for _ in xs]
    talking = [one for one in routines if one is not None]
    found: Sequence[LocalBasis | None] = [None] * len(xs)
    if len(talking) == len(xs) and spec.share is None and not solver.forms_whole(first.shape, rank):
        found = together(
            talking, stacked(f, xs.detach(), chunk_size=spec.chunk_size, on_pass=on_pass, max_bytes=max_bytes)
        )
        spec = replace(spec, solver=Dense())  # for points that are left
    bases = []
    for x, basis in zip(xs, found, strict=True):
        if basis is None:
            jacobian = JacobianOperator(f, x, chunk_size=spec.chunk_size, on_pass=on_pass, max_bytes=max_bytes)
            basis = _solved(jacobian, spec)
        bases.append(_warned(basis, solver))
    return bases


def decompose(jacobian: JacobianOperator, spec: SolveSpec) -> LocalBasis:
    """:func:`local_basis` for an operator at hand.

    Args:
        jacobian: J, shape (m, d).
        spec: what is asked: solver, rank or share, tolerance, seed. ``chunk_size`` is the operator's own.

    Returns:
        The basis, with its certificate.

    Raises:
        ValueRangeError: more directions than J has.

    Warns:
        BasisWarning: it missed ``tol``, or the share of the spectrum.
    """
    return _warned(_solved(jacobian, spec), spec.solver)


def energy(jacobian: JacobianOperator, *, probes: int = 64, seed: int = 0) -> float:
    r"""‖J‖²_F = trace JᵀJ = E‖J ω‖², ω of random signs (Hutchinson 1990), from the smaller side.

    Args:
        jacobian: J.
        probes: passes to spend; if they would do for the dense J, the value is exact. The relative standard error is
            about √(2 / (probes · r)), r = (Σ s²)² / Σ s⁴ the spectrum's effective dimension.
        seed: of ω.

    Returns:
        ‖J‖²_F, in (units of h per unit of x)².
    """
    m, d = jacobian.shape
    if min(m, d) <= probes:
        return jacobian.dense().double().square().sum().item()
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (min(m, d), probes), generator=generator).to(jacobian.x) * 2 - 1
    images = jacobian.mv(signs) if d <= m else jacobian.rmv(signs)
    return images.double().square().sum().item() / probes


def _solved(jacobian: JacobianOperator, spec: SolveSpec) -> LocalBasis:
    rank, before = _checked(jacobian, spec), jacobian.passes
    if spec.share is None:
        basis = _solver(jacobian, rank, spec).solve(jacobian, rank, tol=spec.tol, seed=spec.seed)
    else:
        basis = _share(jacobian, rank, spec.share, spec)
    return replace(basis, certificate=replace(basis.certificate, passes=jacobian.passes - before))


def _solver(jacobian: JacobianOperator, rank: int, spec: SolveSpec) -> Solver:
    """The spec's solver, or the dense one if that costs no more."""
    return Dense() if spec.solver.forms_whole(jacobian.shape, rank) else spec.solver


def _checked(jacobian: JacobianOperator, spec: SolveSpec) -> int:
    """The rank to look for, after the checks that :func:`local_basis` promises."""
    rank = spec.rank_of(jacobian.shape)
    refuse_overflow(jacobian.h)
    return rank


def _share(jacobian: JacobianOperator, most: int, share: float, spec: SolveSpec) -> LocalBasis:
    """Double n until the share is reached, then cut."""
    total, rank = energy(jacobian, seed=spec.seed), min(16, most)
    while True:
        basis = _solver(jacobian, rank, spec).solve(jacobian, rank, tol=spec.tol, seed=spec.seed)
        shares = basis.s.double().square().cumsum(0) / total
        if shares[-1] >= share or rank == most:
            break
        rank = min(2 * rank, most)
    n = min(int((shares < share).sum()) + 1, rank)
    if shares[-1] < share:
        warnings.warn(
            f"svd.rank={most} directions hold {shares[-1]:.0%} of the spectrum, below "
            f"svd.share={share:g}; raise svd.rank",
            BasisWarning,
            stacklevel=4,
        )
    cut = basis.truncated(n)
    return replace(cut, certificate=replace(cut.certificate, share=shares[n - 1].item()))


def _warned(basis: LocalBasis, solver: Solver) -> LocalBasis:
    """Warn, in the name of the public function's caller, if the tolerance was not reached."""
    certificate = basis.certificate
    if not certificate.converged:
        more = Dense.more if certificate.solver == Dense.name else solver.more  # it may have taken over
        warnings.warn(
            f"{certificate.solver}: residual {certificate.residual:.1e} after {certificate.passes} passes, above "
            f"svd.tol={certificate.tol:g}; raise {more}, or svd.tol if that accuracy is enough",
            BasisWarning,
            stacklevel=3,
        )
    return basis

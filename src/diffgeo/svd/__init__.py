r"""Local bases: the leading singular triplets of J without forming it.

``local_basis`` is the entry; each solver is one file and takes ``(jacobian, rank, *, tol, …)``.
``local_bases`` serves several points at once; ``refine`` starts from the basis of a neighbouring point instead.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffgeo.errors import ConfigError, ConvergenceWarning, ShapeError, ValueRangeError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd._linalg import finish, refuse_overflow, thin_svd
from diffgeo.svd.basis import Certificate, LocalBasis
from diffgeo.svd.conversation import stacked, together
from diffgeo.svd.cost import Passes, expected_passes, forms_whole
from diffgeo.svd.dense import dense
from diffgeo.svd.golub_kahan import (
    default_block_size,
    default_budget,
    golub_kahan,
    golub_kahan_routine,
    probe_block_size,
)
from diffgeo.svd.randomized import randomized
from diffgeo.svd.refine import refine
from diffgeo.svd.subspace import subspace

__all__ = [
    "PROBES",
    "SOLVERS",
    "Certificate",
    "LocalBasis",
    "Passes",
    "decompose",
    "default_block_size",
    "energy",
    "expected_passes",
    "local_bases",
    "local_basis",
    "probe_block_size",
    "refine",
]

SOLVERS: dict[str, Callable[..., LocalBasis]] = {
    "golub_kahan": golub_kahan,
    "subspace": subspace,
    "randomized": randomized,
    "dense": dense,
}
"""Solvers by the name that ``svd=`` takes."""

PROBES = 64
"""Passes that an estimate of ‖J‖²_F takes."""

_SETTING_TO_RAISE = {"randomized": "svd.power_steps", "dense": "svd.tol (J's own precision is the limit)"}


def local_basis(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    rank: int | None = 50,
    *,
    share: float | None = None,
    solver: str = "golub_kahan",
    tol: float = 1e-4,
    seed: int = 0,
    chunk_size: int = 32,
    compiled: bool = False,
    rough: Callable[[Tensor], Tensor] | None = None,
    rough_tol: float = 3e-2,
    on_pass: Callable[[int], None] | None = None,
    **options: Any,
) -> LocalBasis:
    r"""Local basis of the latent space at x: J = U Λ Vᵀ truncated at rank n (P23a, section 3.1).

    Args:
        f: feature map, x → h.
        x: one latent, shape (C, H, W) or (1, C, H, W) (or any shape that f takes), float32 or float64.
        rank: n, 1 … min(m, d). With ``share``, the most directions to look for.
        share: instead of a fixed n, the smallest n with Σ_{i≤n} s_i² ≥ share · ‖J‖²_F, in (0, 1): the share of the
            pullback metric's spectrum (its eigenvalues are s²).
        solver: a key of :data:`SOLVERS`.
        tol: bound on the residuals ‖J v_i − s_i u_i‖ and ‖Jᵀ u_i − s_i v_i‖ relative to s_1.
        seed: of the solver's random start.
        chunk_size: columns per vectorised product.
        compiled: make products by compiled graphs (:mod:`diffgeo.compiled`).
        rough: a cheaper version of f, such as the network in half precision, in which V is looked for. U and s, and
            the residuals of the certificate, are then taken with f itself, 2 n passes more, so that the certificate
            shows what it cost. None looks for V with f.
        rough_tol: ``tol`` while ``rough`` is used: its rounding keeps residuals above some value.
        on_pass: called with the number of columns after every product, to show progress.
        **options: the solver's own, such as ``block_size``, ``max_passes``, ``start``.

    Returns:
        The basis. Where the whole of J costs no more than the solver (4 n ≥ min(m, d), or min(m, d) ≤ 256, as for
        pooled h), it is exact.

    Raises:
        ConfigError: no such solver, or an option that it does not take.
        ValueRangeError: rank, share or tol out of range, or h is not finite.

    Warns:
        ConvergenceWarning: ``tol`` was not reached; the message names the residual and the setting to raise.
    """
    common: dict[str, Any] = {"chunk_size": chunk_size, "on_pass": on_pass, "compiled": compiled}
    if rough is None:
        jacobian = JacobianOperator(f, x, **common)
        return _warn(_decompose(jacobian, rank, share, solver, tol, seed, options))
    cheap = JacobianOperator(rough, x, **common)
    found = _decompose(cheap, rank, share, solver, max(tol, rough_tol), seed, options)
    del cheap  # and its graph
    return _warn(_measured(found, JacobianOperator(f, x, **common), tol), rough=True)


def local_bases(
    f: Callable[[Tensor], Tensor],
    xs: Tensor,
    rank: int = 50,
    *,
    solver: str = "golub_kahan",
    tol: float = 1e-4,
    seed: int = 0,
    chunk_size: int = 32,
    on_pass: Callable[[int], None] | None = None,
    **options: Any,
) -> list[LocalBasis]:
    """Local bases at several points, their products with J made together (``golub_kahan``) or one point after another.

    Args:
        f: feature map that treats the entries of a batch apart, as those of :class:`FeatureMap` do.
        xs: latents, shape (B, C, H, W).
        rank: n of each.
        solver: as for :func:`local_basis`, as are the others.
        tol: bound on the residuals, met at every point.
        seed: of the random start, the same for every point.
        chunk_size: columns per vectorised product, over all points together.
        on_pass: called with the number of columns, over all points together.
        **options: the solver's own.

    Returns:
        One basis a point. They agree with those of :func:`local_basis` to rounding.

    Raises:
        ConfigError: as :func:`local_basis`, as are the others.
        ShapeError: xs is no batch.
        ValueRangeError: as above.

    Warns:
        ConvergenceWarning: ``tol`` was not reached at a point.
    """
    if xs.ndim != 4:
        raise ShapeError(f"xs has shape {tuple(xs.shape)}; expected a batch (B, C, H, W)")
    first = JacobianOperator(f, xs[:1], chunk_size=chunk_size)
    _check(first, rank, None, solver, tol, options)
    if solver != "golub_kahan" or forms_whole(first.shape, rank, solver):
        common: dict[str, Any] = {"solver": solver, "tol": tol, "seed": seed, "chunk_size": chunk_size}
        return [local_basis(f, x, rank, on_pass=on_pass, **common, **options) for x in xs]
    width = options.get("block_size") or default_block_size(xs.device)
    budget = options.get("max_passes") or default_budget(rank)
    routines = [
        golub_kahan_routine(first.shape, first.x, rank, tol, budget, seed, width, options.get("start")) for _ in xs
    ]
    found = together(routines, stacked(f, xs.detach(), chunk_size=chunk_size, on_pass=on_pass))
    bases = []
    for x, basis in zip(xs, found, strict=True):
        one = dense(JacobianOperator(f, x, chunk_size=chunk_size), rank, tol=tol) if basis is None else basis
        bases.append(_warn(one))
    return bases


def decompose(
    jacobian: JacobianOperator,
    rank: int | None = 50,
    *,
    share: float | None = None,
    solver: str = "golub_kahan",
    tol: float = 1e-4,
    seed: int = 0,
    **options: Any,
) -> LocalBasis:
    """:func:`local_basis` for an operator at hand; same arguments, errors and warnings."""
    return _warn(_decompose(jacobian, rank, share, solver, tol, seed, options))


def energy(jacobian: JacobianOperator, *, probes: int = PROBES, seed: int = 0) -> float:
    r"""‖J‖²_F = trace JᵀJ = E‖J ω‖², ω of random signs (Hutchinson 1990), from the smaller side.

    Args:
        jacobian: J.
        probes: passes to spend; where they would do for the dense J, the value is exact. The relative standard
            error is about √(2 / (probes · r)), r = (Σ s²)² / Σ s⁴ the spectrum's effective dimension.
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


def _decompose(
    jacobian: JacobianOperator,
    rank: int | None,
    share: float | None,
    solver: str,
    tol: float,
    seed: int,
    options: dict[str, Any],
) -> LocalBasis:
    _check(jacobian, rank, share, solver, tol, options)
    rank = min(jacobian.shape) if rank is None else rank
    before = jacobian.passes
    if share is None:
        basis = _solve(jacobian, rank, solver, tol, seed, options)
    else:
        basis = _solve_share(jacobian, rank, share, solver, tol, seed, options)
    return replace(basis, certificate=replace(basis.certificate, passes=jacobian.passes - before))


def _check(
    jacobian: JacobianOperator,
    rank: int | None,
    share: float | None,
    solver: str,
    tol: float,
    options: dict[str, Any],
) -> None:
    """Raise what :func:`local_basis` says."""
    smaller = min(jacobian.shape)
    if solver not in SOLVERS:
        raise ConfigError(f"svd.solver is {solver!r}; known are {', '.join(SOLVERS)}")
    unknown = sorted(set(options) - set(inspect.signature(SOLVERS[solver]).parameters))
    if unknown:
        raise ConfigError(f"solver {solver} takes no option {unknown[0]}; leave it out, or choose another solver")
    if share is not None and not 0 < share < 1:
        raise ValueRangeError(f"svd.share is {share}; allowed is 0 < share < 1")
    if rank is not None and not 1 <= rank <= smaller:
        raise ValueRangeError(
            f"svd.rank is {rank}, but the Jacobian is {jacobian.shape[0]} x {jacobian.shape[1]}: "
            f"its rank is at most {smaller}; lower svd.rank, or choose a wider feature.block or feature.pool=null"
        )
    if not tol > 0:
        raise ValueRangeError(f"svd.tol is {tol}; it must be positive")
    refuse_overflow(jacobian.h)


def _measured(rough: LocalBasis, jacobian: JacobianOperator, tol: float) -> LocalBasis:
    """The Ritz triplets of J on span V (J v_i = s_i u_i by construction), and their residuals; 2 n passes."""
    v = torch.linalg.qr(rough.V.double()).Q
    u, s, zh = thin_svd(jacobian.mv(v).double())
    v = v @ zh.T
    right = (jacobian.rmv(u).double() - v * s).norm(dim=0)
    c = rough.certificate
    basis = finish(
        jacobian.x.dtype,
        u,
        s,
        v,
        left=torch.zeros_like(right),
        right=right,
        tol=tol,
        passes=c.passes + jacobian.passes,
        solver=c.solver,
        gap=c.gap,
    )
    return replace(basis, certificate=replace(basis.certificate, share=c.share))


def _warn(basis: LocalBasis, *, rough: bool = False) -> LocalBasis:
    """Warn, in the name of the public function's caller, when the tolerance was not reached."""
    certificate = basis.certificate
    if not certificate.converged:
        setting = "the precision" if rough else _SETTING_TO_RAISE.get(certificate.solver, "svd.max_passes")
        warnings.warn(
            f"{certificate.solver}: residual {certificate.residual:.1e} after {certificate.passes} passes, above "
            f"svd.tol={certificate.tol:g}; raise {setting}, or svd.tol if that accuracy is enough",
            ConvergenceWarning,
            stacklevel=3,
        )
    return basis


def _solve(
    jacobian: JacobianOperator, rank: int, solver: str, tol: float, seed: int, options: dict[str, Any]
) -> LocalBasis:
    if forms_whole(jacobian.shape, rank, solver):
        return dense(jacobian, rank, tol=tol)
    return SOLVERS[solver](jacobian, rank, tol=tol, seed=seed, **options)


def _solve_share(
    jacobian: JacobianOperator,
    most: int,
    share: float,
    solver: str,
    tol: float,
    seed: int,
    options: dict[str, Any],
) -> LocalBasis:
    """Double n until the share is reached, then cut."""
    total = energy(jacobian, seed=seed)
    rank = min(16, most)
    while True:
        basis = _solve(jacobian, rank, solver, tol, seed, options)
        shares = basis.s.double().square().cumsum(0) / total
        if shares[-1] >= share or rank == most:
            break
        rank = min(2 * rank, most)
    n = min(int((shares < share).sum()) + 1, rank)
    if shares[-1] < share:
        warnings.warn(
            f"svd.rank={most} directions hold {shares[-1]:.0%} of the spectrum, below "
            f"svd.share={share:g}; raise svd.rank",
            ConvergenceWarning,
            stacklevel=4,
        )
    cut = basis.truncated(n)
    return replace(cut, certificate=replace(cut.certificate, share=shares[n - 1].item()))

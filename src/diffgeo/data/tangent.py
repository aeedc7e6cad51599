r"""The exact tangent space of the data at a portrait, and the portrait nearest to a picture.

A FactorFaces portrait is a differentiable function of its factors, x0 = render(z), so the data are a manifold that is
known in closed form. With J_r = ∂render/∂z (d × k, a column per factor that varies continuously), its tangent space
at x0 is spanned by the unit columns

    τ_j = ∂render/∂z_j / ‖∂render/∂z_j‖.

A factor that nothing shows of (another layer covers it) has a zero column and no tangent. Glasses are there or not, so
they have none either. The numerical rank is that of the matrix of unit columns; its leading left singular vectors are
an orthonormal basis B.

The portrait nearest to a picture x is a bounded least-squares problem for each of the two values of glasses,

    min_z ‖x − render(z)‖²,    z_j ∈ [−1, 1],

solved by Levenberg and Marquardt's method with an active set of bounds (Kanzow, Yamashita & Fukushima 2004), several
pictures at a time. It has local minima, so it is started from several z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render
from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.jacobian import JacobianOperator

__all__ = ["RANK_TOL", "Fit", "TangentSpace", "continuous_factors", "fit_factors", "tangent_space", "tangents"]

RANK_TOL = 1e-6
"""A column shorter than this share of the longest one is hidden; a singular value of the unit columns below this share
of the largest one does not count for the rank."""
_ROUNDED_TOL = 1e-5
"""The same for tangents that were computed in float32."""
_GLASSES = FACTOR_NAMES.index("glasses")
_STEP = 3e-3
"""Of the one-sided differences that stand for the Jacobian in the fit: well below a pixel for every factor."""
_ROUNDS = 30
_GAIN = 1e-3
"""Relative fall of the squared residual in one step below which a fit has converged."""
_EXACT = 1e-5
"""Residual, per pixel value, below which a fit has converged whatever it gains."""
_TRIAL = 4
"""Rounds after which only the best start of every picture goes on."""
_JITTER = 0.4
"""Standard deviation by which further starts differ from the first."""
_SCAN = (-0.8, -0.4, 0.0, 0.4, 0.8)
"""Values at which every factor is tried before the fit: colours go around a circle, and have minima apart."""
_AT_ONCE = 16
"""Pictures that are fitted together."""


@dataclass(frozen=True, slots=True)
class TangentSpace:
    """The tangent space of the data at one portrait.

    Attributes:
        names: of the k factors that show, in the order of the columns.
        hidden: of the factors that vary, those of which nothing shows.
        tau: unit tangents τ_j, shape (d, k).
        lengths: ‖∂render/∂z_j‖, shape (k,).
        basis: B, orthonormal, shape (d, rank).
    """

    names: tuple[str, ...]
    hidden: tuple[str, ...]
    tau: Tensor
    lengths: Tensor
    basis: Tensor

    @property
    def rank(self) -> int:
        """Dimension of the tangent space."""
        return self.basis.shape[1]

    def pushed(self, f: Callable[[Tensor], Tensor], x0: Tensor) -> TangentSpace:
        """The tangent space at f(x0) of the data's image under f, such as an autoencoder's encoder.

        Args:
            f: differentiable map of one picture, shape of ``x0``.
            x0: the portrait, d numbers; its dtype is computed in.

        Returns:
            Tangents in float64 on the CPU; a factor whose change f does not show counts as hidden.

        Raises:
            ShapeError: x0 has other than d numbers.
            ValueRangeError: f shows none of the factors.
        """
        columns = JacobianOperator(f, x0) @ (self.tau * self.lengths).to(x0)
        found = tangent_space(columns.double().cpu(), self.names, tol=_ROUNDED_TOL)
        return replace(found, hidden=self.hidden + found.hidden)


@dataclass(frozen=True, slots=True)
class Fit:
    """The portraits nearest to pictures.

    Attributes:
        z: their factors, shape (n, 14).
        residual: ‖x − render(z)‖ / √d, the root mean square over the d pixel values, shape (n,).
    """

    z: Tensor
    residual: Tensor


def continuous_factors(varying: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names of the factors with a tangent, in the order of :data:`~diffgeo.data.factor_faces.FACTORS`.

    Args:
        varying: factors that vary in the data; all of them if None.

    Raises:
        ValueRangeError: a name in ``varying`` is no factor.
    """
    unknown = sorted(set(varying or ()) - set(FACTOR_NAMES))
    if unknown:
        raise ValueRangeError(f"no factor is called {', '.join(unknown)}", f"factors are {', '.join(FACTOR_NAMES)}")
    varies = FACTOR_NAMES if varying is None else varying
    return tuple(one.name for one in FACTORS if one.kind == "continuous" and one.name in varies)


def tangents(z: Tensor, size: int = 32, varying: Sequence[str] | None = None) -> TangentSpace:
    """The tangent space of the data at a portrait, by forward-mode derivatives of the renderer.

    Args:
        z: factors of one portrait, shape (14,), in [−1, 1]; float64 gives the derivatives to rounding.
        size: side of the portrait in pixels, at least 8; d = 3·size².
        varying: factors that vary in the data; all of them if None.

    Returns:
        Tangents with dtype and device of ``z``.

    Raises:
        ShapeError: z is not (14,).
        ValueRangeError: a factor is out of range, size is below 8, a name is no factor, or no factor shows.
    """
    if z.shape != (len(FACTORS),):
        raise ShapeError(f"factors have shape {tuple(z.shape)}", f"expected ({len(FACTORS)},)")
    names = continuous_factors(varying)
    if not names:
        return tangent_space(z.new_zeros(3 * size * size, 0), names)
    columns = torch.tensor([FACTOR_NAMES.index(name) for name in names], device=z.device)

    def painted(values: Tensor) -> Tensor:
        return render(z.index_copy(0, columns, values)[None], size)[0].flatten()

    jacobian: Tensor = torch.func.jacfwd(painted)(z[columns])
    return tangent_space(jacobian, names)


def tangent_space(jacobian: Tensor, names: Sequence[str], *, tol: float = RANK_TOL) -> TangentSpace:
    """The tangent space that the columns of a Jacobian span.

    Args:
        jacobian: ∂render/∂z, shape (d, k).
        names: of the k factors.
        tol: relative; see :data:`RANK_TOL`.

    Raises:
        ShapeError: not one name a column.
        ValueRangeError: every column is 0.
    """
    if jacobian.ndim != 2 or jacobian.shape[1] != len(names):
        raise ShapeError(f"a Jacobian has shape {tuple(jacobian.shape)}", f"expected (d, {len(names)})")
    lengths = jacobian.norm(dim=0)
    shows = lengths > tol * lengths.amax() if len(names) else lengths > 0
    if not bool(shows.any()):
        raise ValueRangeError("no factor changes the picture", "let a factor vary that shows")
    tau = jacobian[:, shows] / lengths[shows]
    u, s, _ = torch.linalg.svd(tau, full_matrices=False)
    seen = dict(zip(names, shows.tolist(), strict=True))
    return TangentSpace(
        tuple(name for name, there in seen.items() if there),
        tuple(name for name, there in seen.items() if not there),
        tau,
        lengths[shows],
        u[:, s > tol * s[0]],
    )


def fit_factors(
    pictures: Tensor, start: Tensor, *, varying: Sequence[str] | None = None, starts: int = 1, seed: int = 0
) -> Fit:
    """The portraits nearest to pictures.

    Both values of glasses are tried from every start. After a few rounds only the start that fits best goes on.

    Args:
        pictures: x, shape (n, 3, size, size), about [−1, 1], of floating point; its dtype is computed in.
        start: first guess of the factors, shape (n, 14), such as an attribute predictor's; cut to [−1, 1].
        varying: factors that vary in the data; the others rest at 0 (glasses at −1). All of them if None.
        starts: first guesses per picture: ``start`` itself, and others that differ from it by normal noise.
        seed: of that noise. It does not depend on the batch, so neither do the fits.

    Returns:
        Factors and residuals, with dtype and device of the pictures.

    Raises:
        ShapeError: pictures are not square RGB, or there is not one start a picture.
        ValueRangeError: ``starts`` is below 1, or a name in ``varying`` is no factor.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}", "expected (n, 3, size, size)")
    if start.shape != (len(pictures), len(FACTORS)):
        raise ShapeError(f"starts have shape {tuple(start.shape)}", f"expected ({len(pictures)}, {len(FACTORS)})")
    if starts < 1:
        raise ValueRangeError(f"starts is {starts}", "a fit needs at least 1")
    if not len(pictures):
        return Fit(start.to(pictures), pictures.new_zeros(0))
    free = torch.tensor([FACTOR_NAMES.index(name) for name in continuous_factors(varying)], device=pictures.device)
    rest = torch.zeros(len(FACTORS)).to(pictures)
    noise = torch.randn(starts, len(FACTORS), generator=torch.Generator().manual_seed(seed)).to(pictures) * _JITTER
    noise[0] = 0
    glasses = (-1.0, 1.0) if varying is None or "glasses" in varying else (-1.0,)
    found = []
    for x, guess in zip(pictures.split(_AT_ONCE), start.to(pictures).split(_AT_ONCE), strict=True):
        z = rest.expand(len(x), starts, -1).clone()
        z[..., free] = (guess[:, None] + noise)[..., free].clamp(-1, 1)
        z[..., _GLASSES] = torch.where((guess[:, None, _GLASSES] > 0) & (len(glasses) > 1), 1.0, -1.0)
        z = _scanned(x, z, free)[:, :, None].repeat(1, 1, len(glasses), 1)
        z[..., _GLASSES] = torch.tensor(glasses).to(z)
        found.append(_fitted(x, z.flatten(1, 2), free))
    z, residual = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Fit(z, residual)


def _scanned(pictures: Tensor, starts: Tensor, free: Tensor) -> Tensor:
    """Starts (n, s, 14) with each free factor in turn at the best of its value and :data:`_SCAN`: out of far minima."""
    n, each, _ = starts.shape
    size, z = pictures.shape[-1], starts.flatten(0, 1).clone()
    x = pictures.flatten(1).repeat_interleave(each, dim=0)
    scan, rows = torch.tensor(_SCAN).to(z), torch.arange(n * each)
    lost = (_painted(z, size) - x).square().sum(dim=1)
    for j in free.tolist():
        tried = z[:, None].repeat(1, len(scan), 1)
        tried[:, :, j] = scan
        losses = (_painted(tried.flatten(0, 1), size).reshape(n * each, len(scan), -1) - x[:, None]).square().sum(dim=2)
        losses, tried = torch.cat([lost[:, None], losses], dim=1), torch.cat([z[:, None], tried], dim=1)
        best = losses.argmin(dim=1)
        z, lost = tried[rows, best], losses[rows, best]
    return z.reshape(starts.shape)


def _fitted(pictures: Tensor, starts: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """(z, residual) of every picture (n, 3, H, W) from its starts (n, s, 14), by the factors of index ``free``."""
    size, each = pictures.shape[-1], starts.shape[1]
    x = pictures.flatten(1).repeat_interleave(each, dim=0)
    z = starts.flatten(0, 1).clone()
    shown = _painted(z, size)
    loss = (x - shown).square().sum(dim=1)
    damping = torch.full_like(loss, 1e-3)
    normal = x.new_zeros(len(x), len(free), len(free))
    slope = x.new_zeros(len(x), len(free))
    stale = torch.ones(len(x), dtype=torch.bool, device=x.device)
    live = torch.arange(len(x), device=x.device)
    for turn in range(_ROUNDS):
        if turn == _TRIAL and each > 1:
            best = loss.reshape(-1, each).argmin(dim=1) + torch.arange(len(pictures), device=x.device) * each
            live = live[torch.isin(live, best)]
        if not len(live):
            break
        moved = live[stale[live]]
        if len(moved):
            jacobian = _differences(z[moved], shown[moved], size, free)
            normal[moved] = jacobian @ jacobian.mT
            slope[moved] = (jacobian @ (x[moved] - shown[moved])[:, :, None])[:, :, 0]
            stale[moved] = False
        tried = z[live].clone()
        tried[:, free] = _step(tried[:, free], normal[live], slope[live], damping[live])
        shown_there = _painted(tried, size)
        loss_there = (x[live] - shown_there).square().sum(dim=1)
        better = loss_there < loss[live]
        gain = (loss[live] - loss_there) / loss[live].clamp_min(torch.finfo(x.dtype).tiny)
        taken = live[better]
        z[taken], shown[taken], loss[taken], stale[taken] = tried[better], shown_there[better], loss_there[better], True
        damping[taken] = (damping[taken] / 5).clamp_min(1e-6)
        damping[live[~better]] *= 6
        done = (better & (gain < _GAIN)) | (damping[live] > 1e4) | (loss[live] < _EXACT**2 * x.shape[1])
        live = live[~done]
    residual = (loss / x.shape[1]).sqrt().reshape(-1, each)
    best = residual.argmin(dim=1, keepdim=True)
    return z.reshape(starts.shape).take_along_dim(best[:, :, None], dim=1)[:, 0], residual.take_along_dim(best, 1)[:, 0]


def _step(z: Tensor, normal: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Where a damped Gauss–Newton step leads, within the bounds.

    Args:
        z: free factors, shape (n, k).
        normal: JᵀJ, shape (n, k, k).
        slope: Jᵀ(x − render(z)), the direction of descent, shape (n, k).
        damping: relative to the diagonal of JᵀJ, shape (n,).
    """
    held = ((z >= 1) & (slope > 0)) | ((z <= -1) & (slope < 0))  # at a bound, and pushed outwards
    free = (~held).to(z)
    normal = normal * free[:, :, None] * free[:, None, :]
    diagonal = normal.diagonal(dim1=1, dim2=2)
    # a factor that does not show stays where it is, and so does one that is held
    damped = damping[:, None] * diagonal + 1e-8 * diagonal.amax(dim=1, keepdim=True) + held.to(z)
    floor = (diagonal.amax(dim=1, keepdim=True) == 0).to(z)
    step: Tensor = torch.linalg.solve(normal + torch.diag_embed(damped + floor), slope * free)
    return (z + step).clamp(-1, 1)


def _painted(z: Tensor, size: int) -> Tensor:
    """Portraits as vectors, shape (n, d)."""
    return torch.cat([render(part, size).flatten(1) for part in z.split(64)])


def _differences(z: Tensor, shown: Tensor, size: int, free: Tensor) -> Tensor:
    """∂render/∂z by one-sided differences into the bounds, a row a free factor: shape (n, k, d)."""
    step = torch.where(z[:, free] > 0, -_STEP, _STEP)
    moved = z[:, None].repeat(1, len(free), 1)
    moved[:, torch.arange(len(free)), free] += step
    changed = _painted(moved.flatten(0, 1), size).reshape(len(z), len(free), -1)
    return (changed - shown[:, None]) / step[:, :, None]

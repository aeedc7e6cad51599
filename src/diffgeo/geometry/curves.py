r"""Curves in the latent space, and how far they bend.

- ``lerp``, ``slerp``: between two points, through the chord or along the sphere on which noise lies.
- Geodesic shooting (P23a, algorithm 1): walk x ← x + δ v, transporting the direction to every new tangent space. On a
  curved space this follows the surface where a straight line leaves it.
- Boundary-value geodesic: the discrete curve with fixed ends of least pullback energy Σ_l ‖f(x⁽ˡ⁺¹⁾) − f(x⁽ˡ⁾)‖².
- Shooting between two points: P23a compares it with lerp and slerp without saying how it is aimed. Here, with
  g = f(b) − f(a) and δ = ‖g‖ / L, the walk starts along u = P_{T_h(a)} g / ‖·‖ and takes L pieces

      Δx = δ V Λ⁻¹ Uᵀ u,                    each of first-order length δ in H,

  u transported (``fixed``) or aimed anew at f(b) (``pursuit``) at every point. It need not land on b.
- Flatness ratio of a path, R = L Σ_l ‖f(x⁽ˡ⁺¹⁾) − f(x⁽ˡ⁾)‖² / ‖f(x⁽ᴸ⁾) − f(x⁽⁰⁾)‖²: its energy over that of the
  straight line between its ends' images. R ≥ 1 by Cauchy–Schwarz, and R = 1 if its image is straight and evenly paced.
- Curvedness of a segment, D_geo of the tangent spaces at its ends; its sum is the semantic path length (P23a, eq. 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry.grassmann import grassmann_distance, soft_distance
from diffgeo.geometry.transport import Convention, transport
from diffgeo.svd import LocalBasis

__all__ = [
    "GeodesicPath",
    "ShotPath",
    "boundary_value_geodesic",
    "chord_deviation",
    "curvedness",
    "flatness_ratio",
    "geodesic_shooting",
    "lerp",
    "semantic_path_length",
    "shoot_between",
    "slerp",
]


def lerp(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Along the chord: (1 − w) a + w b for each w.

    Args:
        a: start, any shape.
        b: end, same shape.
        weights: w in [0, 1], shape (k,).

    Returns:
        shape (k, *a.shape).
    """
    w = weights.to(a).reshape(-1, *[1] * a.ndim)
    return (1 - w) * a + w * b


def slerp(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Along the great circle from a to b, the length going linearly from ‖a‖ to ‖b‖ (Shoemake 1985).

    Args:
        a: start, any shape, not 0.
        b: end, same shape.
        weights: w in [0, 1], shape (k,).

    Returns:
        shape (k, *a.shape), in the dtype of a; equal lengths are kept to rounding.

    Raises:
        ShapeError: shapes differ.
        ValueRangeError: an end is 0, or the ends are opposite (no shortest arc).
    """
    if a.shape != b.shape:
        raise ShapeError(f"ends have shapes {tuple(a.shape)} and {tuple(b.shape)}", "they must be equal")
    x, y, w = a.double().flatten(), b.double().flatten(), weights.double().to(a.device)[:, None]
    nx, ny = x.norm(), y.norm()
    if nx == 0 or ny == 0:
        raise ValueRangeError("slerp has an end at 0", "give ends of positive length")
    x, y = x / nx, y / ny
    # the angle by atan2 keeps its digits near 0 and near π
    omega = 2 * torch.atan2((x - y).norm(), (x + y).norm())
    if math.pi - omega < 1e-9:
        raise ValueRangeError("slerp between opposite points has no shortest arc", "choose another end")
    arc: Tensor = ((1 - w) * omega).sin() * x + (w * omega).sin() * y
    if omega < 1e-12:  # the same point: sin ω = 0
        arc = x.expand(len(w), -1)
    points: Tensor = arc / arc.norm(dim=1, keepdim=True) * ((1 - w) * nx + w * ny)
    return points.reshape(-1, *a.shape).to(a.dtype)


def geodesic_shooting(
    basis_at: Callable[[Tensor], LocalBasis],
    x: Tensor,
    u: Tensor,
    v: Tensor,
    *,
    length: float,
    steps: int,
    convention: Convention = "isometric",
    retract: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Walk a curve from x in direction v, transporting the direction through H.

    Args:
        basis_at: x → its local basis; called at every point but the first and the last.
        x: the start, shape (C, H, W).
        u: direction in H at x, shape (m,), unit.
        v: the same direction in X, shape (d,), unit.
        length: total length in X; negative walks the other way.
        steps: number of straight pieces, at least 1.
        convention: of the transport.
        retract: (x, x + δv) → the next point, such as the distortion normalisation; x + δv itself when None.

    Returns:
        ``steps`` + 1 points from x on, each shaped as x.

    Raises:
        ValueRangeError: steps < 1, or the direction left the tangent space.
    """
    if steps < 1:
        raise ValueRangeError(f"edit.steps is {steps}", "shooting needs at least 1")
    delta = length / steps
    points = [x]
    for index in range(steps):
        if index:
            u, v = transport(u, basis_at(points[-1]), convention)
        moved = points[-1] + delta * v.reshape(x.shape)
        points.append(moved if retract is None else retract(points[-1], moved))
    return points


@dataclass(frozen=True, slots=True)
class ShotPath:
    """A walk aimed at another point.

    Attributes:
        points: shape (segments + 1, *x.shape), the first as given.
        bases: the local bases at all points.
        miss: ‖f(end) − f(b)‖ / ‖f(b) − f(a)‖, 0 for a hit.
    """

    points: Tensor
    bases: list[LocalBasis]
    miss: float


def shoot_between(
    f: Callable[[Tensor], Tensor],
    basis_at: Callable[[Tensor], LocalBasis],
    a: Tensor,
    b: Tensor,
    *,
    segments: int,
    aim: Literal["fixed", "pursuit"] = "fixed",
    x_length: float | None = None,
) -> ShotPath:
    """Shoot from a towards b by the rule of the module's docstring.

    Args:
        f: feature map, x → h.
        basis_at: x → its local basis; called at every point.
        a: start, any shape that f takes.
        b: what is aimed at, same shape.
        segments: L, at least 1.
        aim: ``fixed`` or ``pursuit``.
        x_length: instead of δ in H, pieces of equal length in **X** that add up to this (a control).

    Returns:
        The walk; where h comes nowhere nearer to f(b), ``miss`` says so.

    Raises:
        ValueRangeError: segments < 1, no such aim, f(a) = f(b), g orthogonal to the tangent space, or some s_i is 0.
    """
    if segments < 1 or aim not in ("fixed", "pursuit"):
        raise ValueRangeError(f"shooting with {segments} segments and aim {aim!r}", "need 1 or more, fixed or pursuit")
    target = f(b).flatten()
    aimed_at = target - f(a).flatten()
    distance = aimed_at.norm()
    if not distance > 0:
        raise ValueRangeError("both ends of a path have the same h", "choose two samples that differ")
    points, bases = [a], [basis_at(a)]
    for _ in range(segments):
        aimed_at, v = transport(aimed_at, bases[-1], "pullback")
        if x_length is None:
            # v is V Λ⁻¹ Uᵀ u made unit; its image has length ‖J v‖, so that this much of it is δ in H
            image = (bases[-1].s * (bases[-1].V.T @ v)).norm()
            step = distance / segments / image
        else:
            step = v.new_tensor(x_length / segments)
        points.append(points[-1] + step * v.reshape(a.shape))
        bases.append(basis_at(points[-1]))
        if aim == "pursuit":
            left = target - f(points[-1]).flatten()
            # on the goal there is no new aim; the walk goes on as it was
            aimed_at = left if left.norm() > 1e-6 * distance else aimed_at
    miss = (target - f(points[-1]).flatten()).norm() / distance
    return ShotPath(torch.stack(points), bases, miss.item())


@dataclass(frozen=True, slots=True)
class GeodesicPath:
    """A boundary-value geodesic.

    Attributes:
        points: shape (segments + 1, *x.shape), both ends as given.
        energies: Σ_l ‖f(x⁽ˡ⁺¹⁾) − f(x⁽ˡ⁾)‖² before and after every step, falling.
        converged: whether the last step lowered the energy by less than ``tol`` of it.
    """

    points: Tensor
    energies: list[float]
    converged: bool


def boundary_value_geodesic(
    f: Callable[[Tensor], Tensor], start: Tensor, *, tol: float = 1e-4, max_steps: int = 100
) -> GeodesicPath:
    """Shorten a path in H with its ends fixed, by gradient descent with Barzilai–Borwein steps that never climb.

    Args:
        f: batched feature map, (k, *x.shape) → (k, …).
        start: the path to begin from (slerp's), shape (segments + 1, *x.shape), at least 3 points.
        tol: relative fall of the energy at which to stop.
        max_steps: most descent steps; each costs about two forward passes and one backward pass of the path.

    Returns:
        The path and its energies.

    Raises:
        ShapeError: fewer than 3 points.
    """
    if len(start) < 3:
        raise ShapeError(f"a path of {len(start)} points has nothing to move", "give at least 3")
    first, inner, last = start[:1], start[1:-1].clone(), start[-1:]

    def energy(middle: Tensor) -> Tensor:
        h = f(torch.cat([first, middle, last])).flatten(1)
        return (h[1:] - h[:-1]).square().sum()

    def energy_and_gradient(middle: Tensor) -> tuple[float, Tensor]:
        with torch.enable_grad():
            middle = middle.detach().requires_grad_(True)
            value = energy(middle)
            (gradient,) = torch.autograd.grad(value, middle)
        return value.item(), gradient

    value, gradient = energy_and_gradient(inner)
    energies, converged = [value], False
    # a first step that moves by a hundredth of the path's spacing
    spacing = (start[1:] - start[:-1]).norm() / max(gradient.norm().item(), 1e-30)
    rate = 0.01 * spacing.item()
    for _ in range(max_steps):
        while True:
            trial = inner - rate * gradient
            with torch.no_grad():
                lower = energy(trial).item()
            if lower <= value or rate < 1e-30:
                break
            rate /= 4
        if lower > value:
            break
        new_value, new_gradient = energy_and_gradient(trial)
        moved, change = (trial - inner).flatten(), (new_gradient - gradient).flatten()
        curvature = torch.dot(moved, change).item()
        rate = torch.dot(moved, moved).item() / curvature if curvature > 0 else 2 * rate
        fell = value - new_value
        inner, value, gradient = trial, new_value, new_gradient
        energies.append(value)
        if fell <= tol * value:
            converged = True
            break
    return GeodesicPath(torch.cat([first, inner.detach(), last]), energies, converged)


def curvedness(bases: Sequence[LocalBasis], *, soft: bool = False) -> Tensor:
    """D_geo of every segment of a path, from the local bases at its points (P23a, Fig. 7c).

    Args:
        bases: at the path's points, in order, at least two, of one shape.
        soft: with the soft cut of :mod:`diffgeo.geometry.grassmann`, which does not jump when singular values cross.

    Returns:
        shape (len(bases) − 1,), float64, in radians.

    Raises:
        ShapeError: fewer than two bases, or unequal shapes.
    """
    if len(bases) < 2:
        raise ShapeError(f"a path of {len(bases)} points has no segment", "give at least 2 bases")
    values = [soft_distance(a, b) if soft else grassmann_distance(a.U, b.U) for a, b in pairwise(bases)]
    return torch.tensor(values, dtype=torch.float64)


def semantic_path_length(bases: Sequence[LocalBasis], *, soft: bool = False) -> float:
    """Σ_l D_geo(T_h⁽ˡ⁾, T_h⁽ˡ⁺¹⁾) (P23a, Table 1).

    Args:
        bases: at the path's points, in order, at least two, of one shape.
        soft: with the soft cut.

    Returns:
        The length, in radians.

    Raises:
        ShapeError: as :func:`curvedness`.
    """
    return curvedness(bases, soft=soft).sum().item()


def flatness_ratio(images: Tensor) -> float:
    """R = L Σ_l ‖f(x⁽ˡ⁺¹⁾) − f(x⁽ˡ⁾)‖² / ‖f(x⁽ᴸ⁾) − f(x⁽⁰⁾)‖² of one path under a map f.

    A metric that is pulled back by f is trivial along a path with R = 1: its energy is that of a straight line. A map
    that is onto an open set (invertible and square, say) has a path with R = 1 between any two near points, so all its
    geodesics are straight lines of its image (arXiv 2505.17517).

    Args:
        images: f at the path's L + 1 points, in order, shape (L + 1, …), L ≥ 1.

    Returns:
        R, at least 1; infinity if the images of the ends are the same.

    Raises:
        ShapeError: fewer than two points.
    """
    if len(images) < 2:
        raise ShapeError(f"a path of {len(images)} points has no segment", "give at least 2 points")
    values = images.double().flatten(1)
    steps, chord = values.diff(dim=0).square().sum(), (values[-1] - values[0]).square().sum()
    return math.inf if chord == 0 else ((len(values) - 1) * steps / chord).item()


def chord_deviation(values: Tensor) -> float:
    """How far a path strays from the straight line between its ends.

    Args:
        values: at the path's points, in order, such as the factors of its pictures, shape (L + 1, k), L ≥ 2.

    Returns:
        The root mean square, over the inner points, of the distance to the line segment between the ends, relative to
        its length: 0 for a straight path, whatever its pace. Infinity if the ends are the same.

    Raises:
        ShapeError: fewer than three points.
    """
    if len(values) < 3:
        raise ShapeError(f"a path of {len(values)} points has no inner point", "give at least 3 points")
    points = values.double()
    start, chord = points[0], points[-1] - points[0]
    squared = chord.square().sum()
    if squared == 0:
        return math.inf
    inner = points[1:-1] - start
    nearest = (inner @ chord / squared).clamp(0, 1)[:, None] * chord
    return ((inner - nearest).square().sum(dim=1).mean() / squared).sqrt().item()

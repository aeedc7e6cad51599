r"""Subspaces as points: principal angles, distances and means on the Grassmannian.

Two tangent spaces of dimension n with orthonormal bases U₁, U₂ have principal angles θ_k = arccos σ_k(U₁ᵀU₂) and the
geodesic distance D_geo = √Σ θ_k², at most √n·π/2 (P23a, section 3.4). arccos loses half of all digits near 0, so
small angles are taken by arcsin from the part of U₂ outside span U₁ (Björck & Golub 1973; Knyazev & Argentati 2002).
Everything is computed in float64.

**Soft cut.** A fixed n cuts through nearly equal singular values; along a path the n-th vector then swaps for the next
one and a single segment jumps to about π/2. Weighting each pair of principal vectors by w = ‖·‖²_pb − s_n² (what it
carries of the pullback metric above the cut) makes a vector leave the distance continuously, whatever crosses the cut.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from diffgeo.errors import ConvergenceWarning, ShapeError, ValueRangeError
from diffgeo.svd import LocalBasis

__all__ = [
    "choose_rank",
    "frechet_mean",
    "grassmann_distance",
    "principal_angles",
    "soft_distance",
]


def principal_angles(U1: Tensor, U2: Tensor) -> Tensor:
    """Principal angles between two subspaces.

    The same algorithm as ``scipy.linalg.subspace_angles``, on the tensors' own device; last digits differ.

    Args:
        U1: basis as columns, shape (m, p), linearly independent; orthonormalised here in float64.
        U2: shape (m, q).

    Returns:
        min(p, q) angles in [0, π/2], rising, float64, in radians.

    Raises:
        ShapeError: not two matrices with equally many rows, or more columns than rows.
    """
    q1, q2 = _orthonormal(U1, U2)
    return _angles(q1, q2)


def grassmann_distance(U1: Tensor, U2: Tensor, normalized: bool = False) -> float:
    """Geodesic distance of two subspaces of equal dimension n, D_geo = √Σ θ_k² (P23a, section 3.4).

    Args:
        U1: shape (m, n).
        U2: shape (m, n).
        normalized: divide by the largest possible value √n·π/2.

    Returns:
        Radians in [0, √n·π/2], or, normalised, a number in [0, 1].

    Raises:
        ShapeError: the dimensions differ.
    """
    if U1.shape != U2.shape:
        raise ShapeError(
            f"subspaces have shapes {tuple(U1.shape)} and {tuple(U2.shape)}", "a distance needs equal ones"
        )
    distance = float(principal_angles(U1, U2).norm())
    return distance / (math.sqrt(U1.shape[1]) * math.pi / 2) if normalized else float(distance)


def soft_distance(first: LocalBasis, second: LocalBasis) -> float:
    """Distance of two tangent spaces with the soft cut of the module's docstring.

    √(n Σ w_k θ_k² / Σ w_k), w_k the geometric mean of both bases' ‖u‖²_pb − s_n² at the k-th principal vectors. Equal
    to D_geo when all weights are equal.

    Args:
        first: local basis of rank n ≥ 2.
        second: local basis of the same rank in the same H.

    Returns:
        Radians in [0, √n·π/2].

    Raises:
        ShapeError: ranks or spaces differ.
    """
    if first.U.shape != second.U.shape:
        raise ShapeError(f"bases have shapes {tuple(first.U.shape)} and {tuple(second.U.shape)}", "they must be equal")
    u1, u2 = first.U.double(), second.U.double()
    a, _, bh = torch.linalg.svd(u1.T @ u2)
    energies = []
    for basis, rotation in ((first, a), (second, bh.T)):
        squared = basis.s.double().square()
        energies.append(rotation.square().T @ (squared - squared[-1]))
    weights = (energies[0] * energies[1]).clamp_min(0).sqrt()
    if weights.sum() <= 0:  # a flat spectrum has nothing above its own cut
        return grassmann_distance(first.U, second.U)
    theta = principal_angles(u1, u2)
    return math.sqrt(len(theta) * (weights * theta.square()).sum().item() / weights.sum().item())


def choose_rank(s: Tensor, target: int, *, rule: str = "fixed") -> int:
    """How many directions to keep.

    Args:
        s: singular values, falling, shape (k,).
        target: the wanted n.
        rule: ``fixed`` keeps target; ``share`` the smallest n whose Σ s² reaches half of the given values'; ``gap``
            the n within ± 30 % of target behind which (s_n − s_{n+1}) / s_n is largest.

    Returns:
        n, 1 … k.

    Raises:
        ValueRangeError: target outside 1 … k, or no such rule.
    """
    k = len(s)
    if not 1 <= target <= k:
        raise ValueRangeError(
            f"target rank {target} is not possible", f"allowed are 1 to {k}, the number of singular values"
        )
    if rule == "fixed":
        return target
    if rule == "share":
        cumulative = s.double().square().cumsum(0)
        return min(int((cumulative < cumulative[-1] / 2).sum()) + 1, k)
    if rule == "gap":
        low = max(1, round(target * 0.7))
        high = min(k - 1, round(target * 1.3))
        if high < low:
            return target
        gaps = (s[low - 1 : high] - s[low : high + 1]) / s[low - 1 : high]
        return low + int(gaps.argmax())
    raise ValueRangeError(f"rank rule {rule!r} is unknown", "allowed are fixed, share and gap")


def frechet_mean(
    subspaces: Sequence[Tensor], *, tol: float = 1e-10, max_steps: int = 200
) -> tuple[Tensor, list[float]]:
    r"""The subspace that minimises Σ D_geo² to the given ones, by Karcher flow.

    From the extrinsic mean (leading left singular vectors of all bases side by side) it walks the mean of the
    logarithms, Y ← Exp_Y(mean_k Log_Y(U_k)), until that mean is shorter than ``tol``.

    Args:
        subspaces: at least one, each (m, n) with orthonormal columns.
        tol: length of the mean logarithm at which to stop, in radians.
        max_steps: most iterations.

    Returns:
        (mean (m, n), float64, orthonormal; Σ D_geo² at every step, falling).

    Raises:
        ShapeError: no subspace, or unequal shapes.

    Warns:
        ConvergenceWarning: ``max_steps`` ended the flow (the subspaces may be too far apart to have one mean).
    """
    if not subspaces or any(u.shape != subspaces[0].shape for u in subspaces):
        raise ShapeError(
            f"a mean of subspaces of shapes {[tuple(u.shape) for u in subspaces]} is not defined",
            "give one or more, all of one shape",
        )
    bases = [torch.linalg.qr(u.double()).Q for u in subspaces]
    n = bases[0].shape[1]
    mean: Tensor = torch.linalg.svd(torch.cat(bases, dim=1), full_matrices=False).U[:, :n]
    spread: list[float] = []
    for _ in range(max_steps):
        logs = [_log(mean, u) for u in bases]
        spread.append(sum(log.square().sum().item() for log in logs))
        step = torch.stack(logs).mean(dim=0)
        if step.norm() <= tol:
            break
        mean = _exp(mean, step)
    else:
        warnings.warn(
            f"Karcher flow: {step.norm():.1e} rad from stationary after {max_steps} steps; raise max_steps",
            ConvergenceWarning,
            stacklevel=2,
        )
    return mean, spread


def _log(y: Tensor, u: Tensor) -> Tensor:
    """The tangent vector at span Y that points to span U, its Frobenius norm their distance."""
    a, cos, bh = torch.linalg.svd(y.T @ u)
    outside = u @ bh.T - (y @ a) * cos
    sin = outside.norm(dim=0)
    theta = torch.atan2(sin, cos)
    scale = torch.where(sin > 0, theta / sin.clamp_min(torch.finfo(sin.dtype).tiny), torch.ones_like(sin))
    tangent: Tensor = (outside * scale) @ a.T
    return tangent


def _exp(y: Tensor, step: Tensor) -> Tensor:
    """The subspace reached from span Y along the tangent vector ``step``, orthonormal."""
    q, sigma, vh = torch.linalg.svd(step, full_matrices=False)
    moved = (y @ vh.T) * sigma.cos() + q * sigma.sin()
    result: Tensor = torch.linalg.qr(moved @ vh).Q
    return result


def _orthonormal(U1: Tensor, U2: Tensor) -> tuple[Tensor, Tensor]:
    if U1.ndim != 2 or U2.ndim != 2 or len(U1) != len(U2) or U1.shape[1] > len(U1) or U2.shape[1] > len(U2):
        raise ShapeError(
            f"subspaces have shapes {tuple(U1.shape)} and {tuple(U2.shape)}", "expected columns of (m, p) and (m, q)"
        )
    return torch.linalg.qr(U1.double()).Q, torch.linalg.qr(U2.double()).Q


def _angles(q1: Tensor, q2: Tensor) -> Tensor:
    if q1.shape[1] < q2.shape[1]:
        q1, q2 = q2, q1
    overlap = q1.T @ q2
    cos = torch.linalg.svdvals(overlap).clamp(max=1)  # falling: angles rise
    sin = torch.linalg.svdvals(q2 - q1 @ overlap).clamp(max=1).flip(0)[: len(cos)]
    return torch.where(cos.square() >= 0.5, sin.asin(), cos.acos())

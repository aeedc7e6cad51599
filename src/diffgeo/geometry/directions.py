r"""Directions that serve every sample.

For each direction u_i of a reference sample, every other sample gives the one that matches it best; with signs aligned
their mean, made unit, is the global direction ū_i (P23a, section 3.5). Who matches whom:

    ``nearest``    the u_j of largest |cos|, which may serve several u_i (P23a),
    ``hungarian``  one to one, the assignment of least Σ (1 − |cos|),
    ``frechet``    no matching: the Fréchet mean of the tangent spaces on the Grassmannian, its axes those in which
                   the samples' mean pullback metric is diagonal.

PCA of h over samples (GANSpace) and random directions have the same interface, to compare with.

Directions that act in one part of a picture (LOCO Edit, arXiv 2409.02374) come from two bases at one point, that of the
map's rows inside a mask and that of the rows outside:

    v = (I − V_Ω̄ V_Ω̄ᵀ) v_Ω,    made unit.

Supervised directions, which others are measured against: the difference between the means of points with and without an
attribute, less its part in the span of the other attributes' differences (as InterFaceGAN's conditional manipulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry.grassmann import frechet_mean
from diffgeo.svd import LocalBasis, signs

__all__ = [
    "GlobalDirections",
    "best_match",
    "global_directions",
    "loco_directions",
    "mean_differences",
    "pca_directions",
    "project_to_tangent",
    "random_directions",
    "random_overlaps",
]

Method = Literal["nearest", "hungarian", "frechet"]


@dataclass(frozen=True, slots=True, repr=False)
class GlobalDirections:
    """Directions in H that are meant for every sample.

    Attributes:
        U: unit columns, shape (m, k), not orthogonal in general.
        score: shape (k,): the mean |cos| of ū_i's members with it (for matched ones), its mean share of squared
            length within the samples' tangent spaces (frechet), its share of the variance (PCA), or NaN (random).
        method: how they were found.
    """

    U: Tensor
    score: Tensor
    method: str

    def __repr__(self) -> str:
        return f"GlobalDirections({self.U.shape[1]} of length {self.U.shape[0]}, method={self.method!r})"


def global_directions(bases: Sequence[LocalBasis], method: Method = "nearest") -> GlobalDirections:
    """Average the local bases of several samples at one timestep.

    Args:
        bases: at least two, of one shape; ``nearest`` and ``hungarian`` keep the order of the first one's directions.
        method: see the module's docstring.

    Returns:
        As many directions as the bases have.

    Raises:
        ShapeError: fewer than two bases, or unequal shapes.
        ValueRangeError: no such method.
    """
    if len(bases) < 2 or any(b.U.shape != bases[0].U.shape for b in bases):
        raise ShapeError(
            f"no global directions come of bases of shapes {[tuple(b.U.shape) for b in bases]}",
            "give two or more, all of one shape",
        )
    if method == "frechet":
        return _frechet(bases)
    if method not in ("nearest", "hungarian"):
        raise ValueRangeError(f"method {method!r} is unknown", "allowed are nearest, hungarian and frechet")
    base = bases[0].U.double()
    members = [base]
    for other in bases[1:]:
        cosines = base.T @ other.U.double()
        if method == "nearest":
            chosen = cosines.abs().argmax(dim=1)
        else:
            chosen = torch.as_tensor(linear_sum_assignment(1 - cosines.abs().cpu().numpy())[1], device=base.device)
        members.append(other.U.double()[:, chosen] * signs(cosines.gather(1, chosen[:, None]).squeeze(1)))
    stack = torch.stack(members)
    mean = stack.mean(dim=0)
    unit = mean / mean.norm(dim=0).clamp_min(torch.finfo(mean.dtype).tiny)
    score = (stack * unit).sum(dim=1).abs().mean(dim=0)
    return GlobalDirections(unit.to(bases[0].U.dtype), score, method)


def _frechet(bases: Sequence[LocalBasis]) -> GlobalDirections:
    mean, _ = frechet_mean([b.U for b in bases])
    metric = mean.new_zeros(mean.shape[1], mean.shape[1])
    for b in bases:
        scaled = (mean.T @ b.U.double()) * b.s.double()
        metric += scaled @ scaled.T / len(bases)
    axes = torch.linalg.eigh(metric).eigenvectors.flip(1)
    u = mean @ axes
    score = torch.stack([(b.U.double().T @ u).square().sum(dim=0) for b in bases]).mean(dim=0)
    return GlobalDirections(u.to(bases[0].U.dtype), score, "frechet")


def signed_as(u: Tensor, reference: LocalBasis) -> Tensor:
    """Directions of H, each turned so that it points with its best match among the reference's directions.

    Args:
        u: directions, shape (m, k).
        reference: a sample's basis, whose signs are kept.

    Returns:
        shape (m, k): each column or its negative; a column orthogonal to the reference stays as it is.
    """
    overlap = reference.U.T @ u
    return u * signs(overlap.gather(0, overlap.abs().argmax(dim=0, keepdim=True)))


def best_match(first: LocalBasis, second: LocalBasis) -> Tensor:
    """The largest |cos| of each u_i of the first basis with any u_j of the second (P23a, Fig. 3a), shape (n,)."""
    return (first.U.double().T @ second.U.double()).abs().amax(dim=1)


def project_to_tangent(u: Tensor, basis: LocalBasis) -> tuple[Tensor, Tensor]:
    """The unit vector of the basis's tangent space nearest to u, and the share of u's length that it keeps.

    Args:
        u: directions in H, shape (m,) or (m, k).
        basis: the sample's local basis.

    Returns:
        (unit vectors, shape of u; shares in [0, 1], shape () or (k,)).

    Raises:
        ShapeError: u has other than m rows.
        ValueRangeError: a direction is orthogonal to the tangent space.
    """
    if u.shape[:1] != basis.U.shape[:1]:
        raise ShapeError(f"u has shape {tuple(u.shape)}", f"the tangent space lives in ({basis.U.shape[0]},)")
    projected = basis.U @ (basis.U.T @ u)
    share = projected.norm(dim=0) / u.norm(dim=0)
    if bool((share <= 8 * torch.finfo(u.dtype).eps * math.sqrt(len(u))).any()):
        raise ValueRangeError("a direction is orthogonal to the tangent space", "raise svd.rank")
    return projected / projected.norm(dim=0), share


def loco_directions(inside: LocalBasis, outside: LocalBasis) -> Tensor:
    """Directions that change what is inside a mask, less what changes the rest most (LOCO Edit, arXiv 2409.02374).

    Args:
        inside: basis of the rows inside the mask, whose V (d, n) are v_Ω.
        outside: basis of the rows outside at the same point; its V (d, r) span what is taken away.

    Returns:
        Unit columns (I − V_Ω̄V_Ω̄ᵀ) v_Ω, shape (d, n), in the order and with the signs of v_Ω.

    Raises:
        ShapeError: the bases belong to different spaces.
        ValueRangeError: a direction lies in the span that is taken away.
    """
    if len(inside.V) != len(outside.V):
        raise ShapeError(f"directions have {len(inside.V)} and {len(outside.V)} numbers", "take one point's bases")
    left = _without(inside.V.double(), outside.V.double())
    return _unit(left, "a direction of the mask acts outside only", "lower the rank of the complement").to(inside.V)


def mean_differences(points: Tensor, attributes: Tensor) -> Tensor:
    """Directions from the mean of the points without an attribute to the mean of those with it.

    Each is taken less its part in the span of the other attributes' directions.

    Args:
        points: h or x_t of N pictures, shape (N, m).
        attributes: of the same pictures, shape (N, k); a picture has an attribute if it is positive.

    Returns:
        Unit columns, shape (m, k), in the dtype of the points.

    Raises:
        ShapeError: not one row of attributes a point.
        ValueRangeError: all or none of the pictures have an attribute, or the others' span holds a direction whole.
    """
    if points.ndim != 2 or attributes.ndim != 2 or len(points) != len(attributes):
        raise ShapeError(
            f"points have shape {tuple(points.shape)}, attributes {tuple(attributes.shape)}", "expected (N, m), (N, k)"
        )
    has = (attributes > 0).to(points.device, torch.float64)
    count = has.sum(dim=0)
    if bool(((count == 0) | (count == len(points))).any()):
        raise ValueRangeError("all pictures agree in an attribute", "give more pictures, or leave the attribute out")
    h = points.double()
    difference = h.T @ (has / count - (1 - has) / (len(points) - count))
    difference = difference / difference.norm(dim=0).clamp_min(torch.finfo(h.dtype).tiny)
    if has.shape[1] > 1:
        k = range(has.shape[1])
        others = [torch.linalg.qr(difference[:, [i for i in k if i != j]]).Q for j in k]
        difference = torch.stack([_without(difference[:, j], others[j]) for j in k], dim=1)
    return _unit(difference, "a direction lies in the span of the others", "give more pictures").to(points)


def _without(v: Tensor, q: Tensor) -> Tensor:
    """Vectors v less their part in the span of the orthonormal columns of q."""
    return v - q @ (q.T @ v)


def _unit(v: Tensor, what: str, advice: str) -> Tensor:
    """Unit columns.

    Raises:
        ValueRangeError: of a column only rounding is left of its unit length.
    """
    lengths = v.norm(dim=0)
    if bool((lengths <= _LEFT).any()):
        raise ValueRangeError(what, advice)
    unit: Tensor = v / lengths
    return unit


_LEFT = 1e-5
"""Length of what is left of a unit direction below which it is rounding, in float32."""


def pca_directions(h: Tensor, k: int) -> GlobalDirections:
    """Principal components of h over samples (GANSpace; P23a, Fig. 11).

    Args:
        h: features, one sample per row, shape (N, m).
        k: how many, 1 … min(N − 1, m).

    Raises:
        ValueRangeError: k out of range.
    """
    most = min(len(h) - 1, h.shape[1])
    if not 1 <= k <= most:
        raise ValueRangeError(f"{k} principal components of {len(h)} samples", f"allowed are 1 to {most}")
    centred = h.double() - h.double().mean(dim=0)
    _, s, vh = torch.linalg.svd(centred, full_matrices=False)
    share = s.square() / s.square().sum()
    return GlobalDirections(vh[:k].T.to(h.dtype), share[:k], "pca")


def random_directions(m: int, k: int, *, seed: int = 0) -> GlobalDirections:
    """As many as k orthonormal directions drawn uniformly in H (P23a, Fig. 9), k ≤ m."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(m, k, generator=generator, dtype=torch.float64)).Q
    return GlobalDirections(u.float(), torch.full((k,), float("nan"), dtype=torch.float64), "random")


def random_overlaps(m: int, n: int, k: int, *, draws: int, seed: int = 0) -> Tensor:
    r"""Inner products of k fixed orthonormal vectors of Rᵐ with a uniformly random orthonormal n-frame: the null.

    The (k, n) block of a Haar frame is G L⁻ᵀ with G standard normal (k, n), L Lᵀ = GᵀG + W and W ~ Wishart_n(m − k), so
    that no vector of length m is drawn (Eaton 1983, chapter 7).

    Args:
        m: dimension of H.
        n: of the random subspace.
        k: of the fixed ones; k + n ≤ m.
        draws: independent frames.
        seed: of the draws.

    Returns:
        shape (draws, k, n), float64. Each entry squared is Beta(1/2, (m − 1)/2); a row's sum of squares, the share of
        a vector inside the subspace, is Beta(n/2, (m − n)/2).

    Raises:
        ValueRangeError: k + n > m, or a count below 1.
    """
    if min(m, n, k, draws) < 1 or k + n > m:
        raise ValueRangeError(f"random overlaps of {k} vectors with {n}-frames in {m} dimensions", "need k + n <= m")
    source = np.random.default_rng(seed)
    g = source.standard_normal((draws, k, n))
    bartlett = np.tril(source.standard_normal((draws, n, n)), -1)
    bartlett[:, range(n), range(n)] = np.sqrt(source.chisquare(m - k - np.arange(n), (draws, n)))
    factor = np.linalg.cholesky(g.swapaxes(1, 2) @ g + bartlett @ bartlett.swapaxes(1, 2))
    return torch.from_numpy(np.linalg.solve(factor, g.swapaxes(1, 2)).swapaxes(1, 2).copy())

r"""What the denoiser's own Jacobian J = ∂x̂0/∂x_t tells about the data, for a noise process x_t = a x0 + b ε.

The exact denoiser is x̂0(x) = E[x0 | x_t = x], and its Jacobian is the posterior covariance up to a factor
(arXiv 2309.13598, eq. 4, in these terms)

    Cov[x0 | x_t] = (b² / a) J,      so J is symmetric (2310.02557), and its eigenvectors are the posterior's
                                     principal components.

A network's J is neither exactly. Here are measures of that, and of how many dimensions the data have around a point.
Whatever needs a sum over the whole of J is estimated by its products with random signs ω (Hutchinson 1990):

    tr J = E[ωᵀ J ω],   ‖J‖²_F = E‖J ω‖²,   ‖J − Jᵀ‖²_F = E‖J ω − Jᵀ ω‖².

With products J Q and Jᵀ Q at hand, Q an orthonormal basis of the leading left and right singular vectors together, only
the rest of J is estimated (Hutch++, arXiv 2010.09649): P = I − Q Qᵀ,

    tr J = tr(Qᵀ J Q) + tr(P J P),   ‖A‖²_F = ‖A Q‖²_F + ‖A P‖²_F for A = J and J − Jᵀ,   A P ω = A ω − (A Q) Qᵀ ω.

The leading ten make the standard error of the asymmetry 20 to 30 times smaller on the shipped model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import LocalBasis, signs

__all__ = [
    "Estimate",
    "LeadingPart",
    "PosteriorComponents",
    "Probes",
    "asymmetry",
    "flipd",
    "leading_part",
    "local_linearity",
    "normal_bundle_dimension",
    "numerical_rank",
    "posterior_components",
    "probe",
    "squared_norm",
    "trace",
]

NUMERICAL = 0.99
"""Share of ‖J‖_F that the leading directions must pass to count as the numerical rank (2409.02426)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that random probes estimated.

    Attributes:
        value: the estimate.
        error: its standard error; 0 if it is exact, NaN from a single probe.
    """

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Probes:
    """A square J's products with random signs, of variance 1 each; float64.

    Attributes:
        omega: ω as columns, shape (d, k).
        image: J ω, shape (d, k).
        pulled: Jᵀ ω, shape (d, k); None if it was not asked for.
        exact: whether ω is √d times the identity, so that means over its columns are no estimates.
    """

    omega: Tensor
    image: Tensor
    pulled: Tensor | None
    exact: bool

    def mean(self, values: Tensor) -> Estimate:
        """The mean of one value per probe, shape (k,), with its standard error."""
        error = 0.0 if self.exact else (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else math.nan
        return Estimate(values.mean().item(), error)


def probe(jacobian: JacobianOperator, count: int, *, seed: int = 0, transposed: bool = True) -> Probes:
    """Multiply J, and its transpose, with random signs.

    Args:
        jacobian: J, shape (d, d).
        count: k, how many; from d on the identity takes their place, and all that follows is exact.
        seed: of the signs.
        transposed: whether Jᵀ ω is needed, which costs as many passes again.

    Returns:
        The products.

    Raises:
        ShapeError: J is not square.
        ValueRangeError: count < 1.
    """
    m, d = jacobian.shape
    if m != d:
        raise ShapeError(f"J has shape {(m, d)}", "a denoiser's Jacobian is square")
    if count < 1:
        raise ValueRangeError(f"{count} probes", "take at least 1")
    exact = count >= d
    if exact:
        omega = math.sqrt(d) * torch.eye(d, dtype=torch.float64)
    else:
        generator = torch.Generator().manual_seed(seed)
        omega = torch.randint(0, 2, (d, count), generator=generator).double() * 2 - 1
    omega = omega.to(jacobian.x.device)
    pulled = jacobian.rmv(omega).double() if transposed else None
    return Probes(omega, jacobian.mv(omega).double(), pulled, exact)


@dataclass(frozen=True, slots=True)
class LeadingPart:
    """What a square J does to the span of its leading left and right singular vectors; float64.

    Attributes:
        span: Q, orthonormal columns, shape (d, q).
        image: J Q, shape (d, q).
        pulled: Jᵀ Q, shape (d, q).
    """

    span: Tensor
    image: Tensor
    pulled: Tensor


_SAME = 1e-3
"""A direction of the span of U and V counts if it has more than this share in one of them: U and V of a symmetric J
are the same but for their signs, and rounding."""


def leading_part(jacobian: JacobianOperator, basis: LocalBasis) -> LeadingPart:
    """Products of J and Jᵀ with the span of leading singular vectors of both sides.

    Args:
        jacobian: J, shape (d, d).
        basis: leading n singular triplets of J.

    Returns:
        The products, with q ≤ 2 n columns; each column costs two passes.
    """
    both = torch.cat([basis.V.double(), basis.U.double()], dim=1)
    span, sizes, _ = torch.linalg.svd(both, full_matrices=False)
    span = span[:, sizes > _SAME]
    return LeadingPart(span, jacobian.mv(span).double(), jacobian.rmv(span).double())


def trace(probes: Probes, leading: LeadingPart | None = None) -> Estimate:
    """The trace of J, the part within the leading directions exactly if they are known.

    Args:
        probes: of J.
        leading: of the same J.

    Returns:
        The trace, dimensionless, with its standard error.
    """
    omega, image = probes.omega, probes.image
    if leading is None:
        return probes.mean((omega * image).sum(dim=0))
    inside = leading.span.T @ omega
    found = probes.mean(((omega - leading.span @ inside) * (image - leading.image @ inside)).sum(dim=0))
    return Estimate((leading.span * leading.image).sum().item() + found.value, found.error)


def squared_norm(probes: Probes, leading: LeadingPart | None = None) -> Estimate:
    """‖J‖²_F, the part of the leading directions exactly if they are known.

    Args:
        probes: of J.
        leading: of the same J.

    Returns:
        The squared norm with its standard error.
    """
    return probes.mean(_squares(probes, leading, probes.image, None if leading is None else leading.image))


def asymmetry(probes: Probes, leading: LeadingPart | None = None) -> Estimate:
    """‖J − Jᵀ‖_F / ‖J‖_F: 0 for an exact denoiser, about √2 for a J without any symmetry, 2 at most.

    Args:
        probes: of J, with Jᵀ ω.
        leading: of the same J, which makes the estimate far better.

    Returns:
        The ratio; its standard error is that of the ratio of two means over the same probes, to first order. 0 if J is.

    Raises:
        ValueRangeError: the probes lack Jᵀ ω.
    """
    if probes.pulled is None:
        raise ValueRangeError("the probes lack products with Jᵀ", "make them with transposed=True")
    image, pulled = (None, None) if leading is None else (leading.image, leading.pulled)
    skewed = None if image is None or pulled is None else image - pulled
    skew = _squares(probes, leading, probes.image - probes.pulled, skewed)
    # ‖J‖ and ‖Jᵀ‖ are the same; the average of both estimates varies less
    size = (_squares(probes, leading, probes.image, image) + _squares(probes, leading, probes.pulled, pulled)) / 2
    total = size.mean()
    if total == 0:
        return Estimate(0.0, 0.0)
    ratio = (skew.mean() / total).sqrt().item()
    spread = probes.mean((skew - ratio**2 * size) / total).error
    return Estimate(ratio, spread / (2 * ratio) if ratio > 0 else spread)


def _squares(probes: Probes, leading: LeadingPart | None, products: Tensor, known: Tensor | None) -> Tensor:
    """A value per probe whose mean estimates ‖A‖²_F: ‖A ω‖², or ‖A Q‖²_F + ‖A P ω‖² if A Q is known; shape (k,)."""
    if leading is None or known is None:
        return products.square().sum(dim=0)
    return known.square().sum() + (products - known @ (leading.span.T @ probes.omega)).square().sum(dim=0)


def numerical_rank(s: Tensor, energy: float) -> float:
    """The least r with √(Σ_{i≤r} s²) > 0.99 · ‖J‖_F (arXiv 2409.02426, its code's definition).

    Args:
        s: leading singular values, falling, shape (n,), not all 0.
        energy: ‖J‖²_F of the whole J, which is taken to be at least Σ s².

    Returns:
        r in 1 … n; NaN if the n directions do not reach that share.
    """
    sums = s.double().square().cumsum(0)
    reached = (sums / max(energy, sums[-1].item())).sqrt() > NUMERICAL
    return float(reached.int().argmax()) + 1 if bool(reached[-1]) else math.nan


@dataclass(frozen=True, slots=True)
class PosteriorComponents:
    """Principal components of the posterior p(x0 | x_t).

    Attributes:
        directions: unit vectors of x0's space, orthonormal columns, shape (d, k).
        variances: of x0 along them, falling, in squared units of x0, shape (k,). A network's may be negative.
        residuals: ‖S q − λ q‖ / λ_1 for each, S = (J + Jᵀ) / 2, shape (k,).
    """

    directions: Tensor
    variances: Tensor
    residuals: Tensor


def posterior_components(leading: LeadingPart, count: int, *, a: float, b: float) -> PosteriorComponents:
    """Leading eigenvectors of the symmetric part of J, and the posterior's variances (b²/a) λ (arXiv 2309.13598).

    They are sought within the span of the leading singular vectors of both sides (Rayleigh–Ritz), which holds them
    exactly if J is symmetric; the residuals tell how well it does otherwise.

    Args:
        leading: of J = ∂x̂0/∂x_t, with twice as many directions as components or more.
        count: how many components, at most the columns of ``leading``.
        a: factor of x0 in x_t, positive.
        b: factor of ε in x_t.

    Returns:
        ``count`` components; each has its sign by its entry of largest magnitude, which is positive.

    Raises:
        ValueRangeError: a is 0 (x_t is noise alone), or there are fewer directions than components.
    """
    if not a > 0:
        raise ValueRangeError(f"a = {a:g}, so x_t holds nothing of x0", "take a timestep below T")
    known = leading.span.shape[1]
    if not 1 <= count <= known:
        raise ValueRangeError(f"{count} components within {known} directions", "raise the rank")
    image = (leading.image + leading.pulled) / 2
    small = leading.span.T @ image
    values, vectors = torch.linalg.eigh((small + small.T) / 2)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    directions = leading.span @ vectors
    residuals = (image @ vectors - directions * values).norm(dim=0)
    residuals = residuals / values[0].abs().clamp_min(torch.finfo(values.dtype).tiny)
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    return PosteriorComponents(directions * signs(largest), b**2 / a * values, residuals)


def flipd(trace: float, noise: Tensor, a: float) -> float:
    """The data's dimension around x0 by the Fokker–Planck equation (FLIPD, arXiv 2406.03537): a tr J + ‖ε‖².

    Equal to D − b tr ∂ε/∂x + ‖ε‖², since b ε = x − a x̂0.

    Args:
        trace: of J = ∂x̂0/∂x at the **clean** point x = a x0.
        noise: ε(a x0, t) of the network, any shape.
        a: factor of x0 in x_t.

    Returns:
        The dimension; right in the limit b → 0, for data on a manifold that the noise does not blur.
    """
    return a * trace + noise.double().square().sum().item()


def normal_bundle_dimension(noises: Tensor) -> tuple[int, float]:
    """The data's dimension by the scores around one point, which span the normal space (arXiv 2212.12611, alg. 1).

    Args:
        noises: one predicted ε (or score, which is −ε/b) per row, at points a x0 + b ε_i, shape (K, D), K ≥ D ≥ 2 (the
            paper takes 4 D). Coordinates within a subspace that holds the tangent space do as well.

    Returns:
        The dimension, D minus the place of the largest fall s_i − s_{i+1} of the singular values, in 1 … D − 1; and
        that fall relative to s_1.

    Raises:
        ShapeError: fewer rows than columns, or a single column.
    """
    k, d = noises.shape
    if k < d or d < 2:
        raise ShapeError(f"{k} scores in {d} dimensions", "give at least as many scores as dimensions, and 2 of these")
    s = torch.linalg.svdvals(noises.double())
    falls = s[:-1] - s[1:]
    place = int(falls.argmax())
    return d - (place + 1), (falls[place] / s[0]).item()


def local_linearity(origin: Tensor, moved: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How linear the denoiser is along steps λ v (LOCO Edit, arXiv 2409.02374, Fig. 2), and a stricter measure.

    Args:
        origin: x̂0(x), any shape.
        moved: x̂0(x + λ v), one per step, shape (k, *origin.shape).
        step: λ J v for each, the same shape.

    Returns:
        Three tensors of shape (k,): the norm ratio ‖x̂0(x + λv)‖ / ‖x̂0(x) + λ J v‖ and the cosine of the two, which are
        1 if x̂0 is linear, but also if the step is small beside x̂0(x); and the error of the change alone,
        ‖x̂0(x + λv) − x̂0(x) − λ J v‖ / ‖λ J v‖, which is 0 if it is linear.
    """
    start, there, change = origin.double().flatten(), moved.double().flatten(1), step.double().flatten(1)
    expected = start + change
    cosine = torch.nn.functional.cosine_similarity(there, expected, dim=1)
    return there.norm(dim=1) / expected.norm(dim=1), cosine, (there - expected).norm(dim=1) / change.norm(dim=1)

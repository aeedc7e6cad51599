r"""The result that every solver returns: a local basis with a certificate of its accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from diffgeo.errors import ValueRangeError

__all__ = ["Certificate", "LocalBasis"]


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """How accurate a local basis is, measured with products of J itself.

    Attributes:
        left: ‖J v_i − s_i u_i‖ / s_1, shape (n,), float64.
        right: ‖Jᵀ u_i − s_i v_i‖ / s_1, shape (n,), float64.
        tol: the tolerance that both were to reach.
        passes: products with one column that were spent, all stages together.
        solver: which solver ran.
        gap: (s_n − s_{n+1}) / s_n as far as the solver saw s_{n+1}, else NaN. A small gap means that the n-th
            direction is barely defined: a change of J by that much swaps it for the next one.
        share: Σ_{i≤n} s_i² / ‖J‖²_F, NaN if ‖J‖_F was not asked for.
    """

    left: Tensor
    right: Tensor
    tol: float
    passes: int
    solver: str
    gap: float = float("nan")
    share: float = float("nan")

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        spent = f"passes={self.passes}, {self.solver}"
        return f"Certificate({state}, residual={self.residual:.2g}, tol={self.tol:g}, {spent})"

    @property
    def residual(self) -> float:
        """The largest of all relative residuals."""
        return max(self.left.max().item(), self.right.max().item())

    @property
    def converged(self) -> bool:
        """Whether every residual is within ``tol``."""
        return self.residual <= self.tol


@dataclass(frozen=True, slots=True, repr=False)
class LocalBasis:
    """J ≈ U diag(s) Vᵀ, truncated at rank n (P23a, section 3.1; P23b, eq. 3).

    Attributes:
        U: left singular vectors, shape (m, n), orthonormal columns: the tangent space of H at h.
        s: singular values, shape (n,), falling, in units of h per unit of x.
        V: right singular vectors, shape (d, n), orthonormal columns: the latent directions.
        certificate: residuals and cost.

    The sign of each pair (u_i, v_i) is that in which v_i's entry of largest magnitude is positive.
    """

    U: Tensor
    s: Tensor
    V: Tensor
    certificate: Certificate

    def __repr__(self) -> str:
        (m, n), d = self.U.shape, len(self.V)
        return f"LocalBasis({n} directions, m={m}, d={d}, s={self.s[0]:.4g} to {self.s[-1]:.4g}, {self.certificate!r})"

    @property
    def rank(self) -> int:
        """Number of directions n."""
        return len(self.s)

    def truncated(self, n: int) -> LocalBasis:
        """The leading n directions; the certificate keeps the cost and tells the gap behind the new last one.

        Args:
            n: how many, 1 … rank.

        Returns:
            U of shape (m, n), s of shape (n,), V of shape (d, n); the same object if n is the rank.

        Raises:
            ValueRangeError: n is not 1 … rank.
        """
        if not 1 <= n <= self.rank:
            raise ValueRangeError(f"a basis of {self.rank} directions cannot be cut to {n}", "raise svd.rank")
        if n == self.rank:
            return self
        gap = ((self.s[n - 1] - self.s[n]) / self.s[n - 1]).item()
        energy = self.s.double().square()
        share = self.certificate.share * (energy[:n].sum() / energy.sum()).item()
        c = self.certificate
        c = replace(c, left=c.left[:n], right=c.right[:n], gap=gap, share=share)
        return LocalBasis(self.U[:, :n], self.s[:n], self.V[:, :n], c)

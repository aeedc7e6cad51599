r"""Other axes of the same subspace.

Singular vectors are the axes in which the pullback metric is diagonal; nothing says that meaning lies along them. Two
rotations that are chosen without labels either:

    varimax   the orthogonal rotation of the loadings L (rows: pixels or channels) that makes each column's squares vary
              most, so that a direction lives on few rows (Kaiser 1958),
    ICA       the axes along which samples' coordinates are independent (FastICA, scikit-learn).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = ["independent_axes", "varimax"]


def varimax(loadings: Tensor, *, max_steps: int = 200, tol: float = 1e-8) -> Tensor:
    """The varimax rotation.

    Args:
        loadings: L, shape (p, n).
        max_steps: of the iteration.
        tol: relative growth of the criterion at which it stops.

    Returns:
        R, orthogonal, shape (n, n), float64: L R are the rotated loadings.

    Raises:
        ShapeError: L is no matrix.
        ValueRangeError: NaN or infinity.
    """
    if loadings.ndim != 2 or loadings.numel() == 0:
        raise ShapeError(f"loadings have shape {tuple(loadings.shape)}", "expected (p, n)")
    if not bool(torch.isfinite(loadings).all()):
        raise ValueRangeError("loadings hold NaN or infinity", "leave out the samples that gave them")
    a = loadings.double()
    rotation, before = torch.eye(a.shape[1], dtype=a.dtype, device=a.device), 0.0
    for _ in range(max_steps):
        b = a @ rotation
        u, s, vh = torch.linalg.svd(a.T @ (b**3 - b * b.square().mean(dim=0)))
        rotation = u @ vh
        criterion = s.sum().item()
        if criterion <= before * (1 + tol):
            break
        before = criterion
    return rotation


def independent_axes(coordinates: Tensor, *, seed: int = 0) -> Tensor:
    """Axes of independent coordinates.

    Args:
        coordinates: of N samples in a basis of n directions, shape (N, n), N > n.
        seed: of FastICA's start.

    Returns:
        Unit columns, shape (n, n), float64: the axes in the basis, not orthogonal in general. FastICA that has not
        converged (few samples, Gaussian coordinates) gives its last axes.

    Raises:
        ShapeError: no matrix, or not more samples than directions.
        ValueRangeError: NaN, infinity, or coordinates that do not vary.
    """
    from sklearn.decomposition import FastICA  # takes a second; most runs ask for no such axes
    from sklearn.exceptions import ConvergenceWarning

    if coordinates.ndim != 2 or len(coordinates) <= coordinates.shape[1]:
        raise ShapeError(f"coordinates have shape {tuple(coordinates.shape)}", "expected (N, n) with N > n")
    x = coordinates.detach().cpu().double()
    if not bool(torch.isfinite(x).all()) or bool((x.std(dim=0) == 0).any()):
        raise ValueRangeError("coordinates are not finite, or one never varies", "each must be finite and vary")
    ica = FastICA(whiten="unit-variance", random_state=seed, max_iter=400, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit(x.numpy())
    mixing = torch.from_numpy(ica.mixing_.copy())
    axes: Tensor = mixing / mixing.norm(dim=0)
    return axes.to(coordinates.device)

r"""What an edit costs besides what it changes: colours driven to their limits.

Saturation has two numbers per picture: the share of values at the limits of the range (a clean latent beyond ±1 before
it is clipped, see :func:`clipped_share`), and the mean chroma √(α² + β²), the length of the opponent components
α = R − (G + B)/2 and β = (√3/2)(G − B) (Hanbury 2008), R, G, B in [0, 1]. Contrast is the standard deviation of the
luminance.

Where a picture's factors can be read off and painted again, the collateral is visible by itself: the perceptual
distance between the edit as its factors tell it and the same edit with all but the target put back
(:func:`off_target_distance`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.functional import rgb_to_grayscale

from diffgeo.data.factor_faces import FACTORS, render
from diffgeo.errors import ShapeError
from diffgeo.metrics.perceptual import PerceptualDistance

__all__ = ["chroma", "clipped_share", "contrast", "off_target_distance"]


def clipped_share(pictures: Tensor, *, limit: float = 0.999) -> Tensor:
    """Share of values of magnitude ``limit`` or more.

    Args:
        pictures: shape (B, C, H, W), in [−1, 1] or, before clipping, beyond.
        limit: what counts as the end of the range.

    Returns:
        shape (B,), in [0, 1].

    Raises:
        ShapeError: pictures are not (B, C, H, W).
    """
    if pictures.ndim != 4:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}", "expected (B, C, H, W)")
    return (pictures.abs() >= limit).float().mean(dim=(1, 2, 3))


def chroma(pictures: Tensor) -> Tensor:
    """Mean chroma of pictures, by the module's docstring.

    Args:
        pictures: shape (B, 3, H, W), RGB in [−1, 1].

    Returns:
        shape (B,), in [0, 1].

    Raises:
        ShapeError: pictures are not (B, 3, H, W).
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}", "expected (B, 3, H, W)")
    r, g, b = ((pictures.float() + 1) / 2).unbind(dim=1)
    alpha, beta = r - (g + b) / 2, math.sqrt(3) / 2 * (g - b)
    return (alpha.square() + beta.square()).sqrt().mean(dim=(1, 2))


def contrast(pictures: Tensor) -> Tensor:
    """Root-mean-square contrast: the standard deviation of the luminance over a picture (Peli 1990).

    Args:
        pictures: shape (B, 3, H, W), RGB in [−1, 1].

    Returns:
        shape (B,), in [0, 1/2].

    Raises:
        ShapeError: pictures are not (B, 3, H, W).
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}", "expected (B, 3, H, W)")
    luminance: Tensor = rgb_to_grayscale((pictures.float() + 1) / 2)
    return luminance.flatten(1).std(dim=1, unbiased=False)


def off_target_distance(
    before: Tensor, after: Tensor, target: Tensor, measure: PerceptualDistance, *, size: int = 32
) -> Tensor:
    """How different two FactorFaces look by what changed besides the target.

    Args:
        before: factors of the unedited picture as predicted, shape (14,) or (B, 14).
        after: factors of the edited pictures, shape (B, 14).
        target: index of each edit's target, shape (B,).
        measure: perceptual distance.
        size: side of the painted faces in pixels.

    Returns:
        shape (B,): d(render(after), render(before with the target from after)); 0 where only the target changed.

    Raises:
        ShapeError: other than 14 factors, or not one target an edit.
    """
    if after.ndim != 2 or after.shape[1] != len(FACTORS) or target.shape != after.shape[:1]:
        raise ShapeError(
            f"factors have shape {tuple(after.shape)}, targets {tuple(target.shape)}",
            f"expected (B, {len(FACTORS)}) and (B,)",
        )
    binary = torch.tensor([factor.kind == "binary" for factor in FACTORS])
    z = before.expand_as(after)
    alone = z.scatter(1, target[:, None], after.gather(1, target[:, None]))
    faces = [torch.where(binary, torch.where(x < 0, -1.0, 1.0), x).clamp(-1, 1) for x in (after, alone)]
    return measure(render(faces[0], size), render(faces[1], size))

r"""How coarse or fine a direction is: its radial power spectral density (P23a, Fig. 5b).

For a direction v with shape (C, H, W) and its two-dimensional DFT v̂, the power at radius ρ is the sum of |v̂|² over
channels and over frequencies within half a bin of ρ, ρ in cycles per picture. A unit direction's powers add up to 1.

A picture's share of high frequencies (:func:`high_frequency_share`) tells its noise level: clean pictures are smooth,
and white noise has most of its power there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = ["band_share", "high_frequency_share", "radial_power"]

_STILL = 1e-6
"""Pictures that differ from their mean by less are constant: far less than a level of colour, more than rounding."""


def radial_power(directions: Tensor) -> Tensor:
    """Share of each direction's power at every radial frequency.

    Args:
        directions: shape (n, C, H, W), none of them 0.

    Returns:
        shape (n, R + 1), float64, rows add up to 1: entry r is the share at radius r ± 1/2 cycles per picture, up to
        the corner of the frequency plane.

    Raises:
        ShapeError: directions are not (n, C, H, W).
        ValueRangeError: a direction is 0 or not finite.
    """
    if directions.ndim != 4:
        raise ShapeError(f"directions have shape {tuple(directions.shape)}", "expected (n, C, H, W)")
    power = torch.fft.fft2(directions.double(), norm="ortho").abs().square().sum(dim=1)
    total = power.sum(dim=(1, 2))
    if not bool((total > 0).all() and torch.isfinite(total).all()):
        raise ValueRangeError("a direction is 0 or not finite", "it has no spectrum")
    h, w = directions.shape[-2:]
    fy, fx = torch.fft.fftfreq(h) * h, torch.fft.fftfreq(w) * w
    radius = (fy[:, None].square() + fx[None, :].square()).sqrt().round().long().flatten().to(directions.device)
    shares: Tensor = power.new_zeros(len(power), int(radius.max()) + 1)
    shares.index_add_(1, radius, power.flatten(1))
    return shares.div(total.unsqueeze(1))


def band_share(power: Tensor, low: float, high: float, side: int) -> Tensor:
    """Share of power between two radii, given as fractions of the Nyquist frequency side / 2.

    Args:
        power: from :func:`radial_power`, shape (n, R + 1).
        low: lower radius, included, as a fraction of Nyquist, 0 or more.
        high: upper radius, excluded; above √2 for everything.
        side: picture side in pixels.

    Returns:
        shape (n,), in [0, 1].

    Raises:
        ValueRangeError: low is negative or not below high.
    """
    if not 0 <= low < high:
        raise ValueRangeError(f"band {low} to {high} is empty", "need 0 <= low < high")
    fraction = torch.arange(power.shape[1], device=power.device) / (side / 2)
    return power[:, (fraction >= low) & (fraction < high)].sum(dim=1)


def high_frequency_share(pictures: Tensor, *, cut: float = 0.5) -> Tensor:
    """Share of each picture's power at high frequencies, powers averaged over channels, each without its mean.

    Args:
        pictures: shape (B, C, H, W), finite.
        cut: where they begin, as a fraction of the Nyquist frequency of the shorter side; above 0, below √2.

    Returns:
        shape (B,), float64, in [0, 1]: 0 for a constant picture, about 0.81 for white noise and half of Nyquist.

    Raises:
        ShapeError: pictures are not (B, C, H, W).
        ValueRangeError: a picture is not finite, or the cut is out of its range.
    """
    if pictures.ndim != 4:
        raise ShapeError(f"pictures have shape {tuple(pictures.shape)}", "expected (B, C, H, W)")
    if not 0 < cut < math.sqrt(2):
        raise ValueRangeError(f"cut {cut} is out of range", "need 0 < cut < √2")
    varying = pictures.double()
    varying = varying - varying.mean(dim=(2, 3), keepdim=True)
    moves = ~(varying.abs().amax(dim=(1, 2, 3)) < _STILL)  # NaN is refused below
    found = varying.new_zeros(len(varying))
    if bool(moves.any()):
        found[moves] = band_share(radial_power(varying[moves]), cut, math.inf, min(pictures.shape[-2:]))
    return found

"""Metrics that users add: one number for every edited picture, beside the picture that it was made from.

A run builds them from ``metric.extra``; their values become columns of the tables of edits. Nothing here knows which
they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from diffgeo.errors import ConfigError, DiffgeoError, ShapeError, ValueRangeError

__all__ = ["PictureMetric", "measured", "try_out"]


class PictureMetric(Protocol):
    """What a metric of one's own looks like: a function, or an object with ``__call__``."""

    def __call__(self, edited: Tensor, original: Tensor) -> Tensor:
        """One number a picture.

        Args:
            edited: pictures, shape (B, 3, H, W), in [−1, 1], on the model's device.
            original: the picture that they were made from, shape (1, 3, H, W).

        Returns:
            Finite numbers, shape (B,).
        """


def measured(metrics: Mapping[str, PictureMetric], edited: Tensor, original: Tensor) -> dict[str, Tensor]:
    """Every metric's values.

    Args:
        metrics: by name.
        edited: pictures, shape (B, 3, H, W); clipped to [−1, 1], as pictures are stored.
        original: shape (1, 3, H, W), likewise.

    Returns:
        Shape (B,) on the CPU, by name.

    Raises:
        ConfigError: a metric failed; the message names it, repeats its error and says what it was given.
        ShapeError: a metric returned anything but a tensor of shape (B,).
        ValueRangeError: it returned NaN or infinity.
    """
    edited, original = edited.clamp(-1, 1), original.clamp(-1, 1)
    found = {}
    for name, metric in metrics.items():
        values = _called(name, metric, edited, original)
        shape = tuple(values.shape) if isinstance(values, Tensor) else f"no tensor but a {type(values).__name__}"
        if shape != (len(edited),):
            raise ShapeError(f"{_key(name)} returned {shape}", f"return one number per picture, ({len(edited)},)")
        if not bool(values.isfinite().all()):
            bad = int((~values.isfinite()).sum())
            raise ValueRangeError(
                f"{_key(name)} returned NaN or infinity for {bad} of {len(edited)} pictures",
                "return a finite number for every picture",
            )
        found[name] = values.detach().cpu()
    return found


def _key(name: str) -> str:
    return name if "." in name else f"metric.extra.{name}"


def _called(name: str, metric: PictureMetric, edited: Tensor, original: Tensor) -> Tensor:
    """A metric's values, whatever their type; its errors are worded, but for memory, which others mend."""
    try:
        with torch.no_grad():
            return metric(edited, original)
    except (DiffgeoError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        low, high = edited.min().item(), edited.max().item()
        raise ConfigError(
            f"{_key(name)} failed on edited {tuple(edited.shape)}, values {low:.2f} to {high:.2f}, and original "
            f"{tuple(original.shape)} ({type(error).__name__}: {reason})",
            f"mend it so that it returns one number per picture, ({len(edited)},)",
        ) from error


def try_out(metrics: Mapping[str, PictureMetric], size: int, device: torch.device) -> None:
    """Call every metric on noise, so that one which cannot work fails before the run has computed anything.

    Args:
        metrics: by name, or by the key of the setting that names them.
        size: side of the model's pictures in pixels.
        device: where they will be.

    Raises:
        DiffgeoError: as :func:`measured`.
    """
    noise = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    measured(metrics, noise[1:], noise[:1])

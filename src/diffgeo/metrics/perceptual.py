r"""How different two pictures look, by a measure that always says its name.

``factor_features``: distances in the shipped factor predictor, built like LPIPS (Zhang et al. 2018, eq. 1) without its
learnt weights: with y_l the activations of stage l made unit over channels at every pixel,

    d(a, b) = Σ_l mean_{h,w} ‖y_l(a)_{hw} − y_l(b)_{hw}‖²  / L,        in [0, 4].

``rmse``: root mean squared difference of pixels, in [0, 2]; needs no network.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from diffgeo.errors import ConfigError, ShapeError
from diffgeo.metrics.attributes import AttributePredictor, FactorNet

__all__ = ["FeatureDistance", "PerceptualDistance", "PixelDistance", "perceptual_distance"]


class PerceptualDistance(Protocol):
    """(pictures, pictures) → distances.

    Attributes:
        name: of the measure, for tables.
    """

    name: str

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances, shape (B,), on the CPU, of pictures (B, 3, H, W) in [−1, 1]; either B may be 1."""


class PixelDistance:
    """Root mean squared difference of pixels."""

    name = "rmse"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """See the protocol.

        Raises:
            ShapeError: the pictures have unequal shapes.
        """
        _check(a, b)
        return (a - b).float().square().mean(dim=(1, 2, 3)).sqrt().cpu()


class FeatureDistance:
    """Distance in the features of a :class:`FactorNet`, after each of its non-linearities.

    Args:
        network: trained, in eval mode.
        size: side in pixels that it expects; other pictures are resized.
    """

    name = "factor_features"

    def __init__(self, network: FactorNet, size: int) -> None:
        self.network, self.size = network.eval().requires_grad_(False), size

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """See the protocol.

        Raises:
            ShapeError: the pictures have unequal shapes.
        """
        _check(a, b)
        parts = []
        with torch.no_grad():
            for y, z in zip(self._stages(a), self._stages(b), strict=True):
                parts.append((y - z).square().sum(dim=1).mean(dim=(1, 2)))
        return torch.stack(parts).mean(dim=0).cpu()

    def _stages(self, images: Tensor) -> list[Tensor]:
        images = images.to(next(self.network.parameters()).device, torch.float32)
        if images.shape[-2:] != (self.size, self.size):
            images = nn.functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        stages = []
        for layer in self.network.features:
            images = layer(images)
            if isinstance(layer, nn.SiLU):
                stages.append(nn.functional.normalize(images, dim=1))
        return stages


def perceptual_distance(name: str, predictor: AttributePredictor | None) -> PerceptualDistance:
    """The measure called ``name``; ``auto`` is ``factor_features`` where there is a factor predictor, else ``rmse``.

    Raises:
        ConfigError: no such measure, or one that the predictor cannot give.
    """
    network = None if predictor is None else predictor.network
    if name == "auto":
        name = "factor_features" if isinstance(network, FactorNet) else "rmse"
    if name == "rmse":
        return PixelDistance()
    if name != "factor_features":
        raise ConfigError(f"metric.perceptual is {name}; known are auto, factor_features and rmse")
    if not isinstance(network, FactorNet) or predictor is None:
        raise ConfigError("metric.perceptual=factor_features needs model.predictor=factor_predictor; use rmse")
    return FeatureDistance(network, predictor.size)


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 4 or a.shape[1:] != b.shape[1:] or (a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0])):
        raise ShapeError(f"pictures have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected equal (B, 3, H, W)")

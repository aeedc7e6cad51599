r"""How different two pictures look, by a measure that always says its name.

``factor_features``: distances in the shipped factor predictor, built like LPIPS (Zhang et al. 2018, eq. 1) without its
learnt weights: with y_l the activations of stage l made unit over channels at every pixel,

    d(a, b) = Σ_l mean_{h,w} ‖y_l(a)_{hw} − y_l(b)_{hw}‖²  / L,        in [0, 4].

``lpips``: LPIPS proper, AlexNet (package ``lpips``, which brings the linear weights); needs torchvision's AlexNet
weights in a local file, and pictures of 64 pixels or more a side to say much.

``rmse``: root mean squared difference of pixels, in [0, 2]; needs no network.

``metric=NAME`` chooses one by the ``_target_`` of ``conf/metric/NAME.yaml``, as solvers and edits are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from diffgeo.errors import ConfigError, ModelError, ShapeError, ValueRangeError
from diffgeo.geometry import slerp
from diffgeo.metrics.attributes import AttributePredictor, FactorNet, FactorPredictor, resized

__all__ = [
    "FeatureDistance",
    "LpipsDistance",
    "PerceptualDistance",
    "PixelDistance",
    "alexnet_file",
    "best_measure",
    "load_lpips",
    "own_features",
    "perceptual_path_length",
]

LPIPS_SIDE = 64
"""Smallest side in pixels at which ``metric=auto`` takes LPIPS: AlexNet leaves a 32-pixel picture a single position."""


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
        images = resized(images, self.size)
        stages = []
        for layer in self.network.features:
            images = layer(images)
            if isinstance(layer, nn.SiLU):
                stages.append(nn.functional.normalize(images, dim=1))
        return stages


class LpipsDistance:
    """LPIPS with AlexNet (Zhang et al. 2018).

    Args:
        weights: torchvision's AlexNet state dict, ``alexnet-owt-7be5be79.pth``; read without executing anything.
        device: where to run it.

    Raises:
        ModelError: the file is missing, damaged, or holds another network.
    """

    name = "lpips"

    def __init__(self, weights: str | Path, device: str | torch.device = "cpu") -> None:
        import lpips

        try:
            state = torch.load(Path(weights).expanduser(), map_location="cpu", weights_only=True)
            self.network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
            for piece in [getattr(self.network.net, f"slice{i}") for i in range(1, 6)]:
                for index, layer in piece.named_children():
                    own = {k: state[f"features.{index}.{k}"] for k in layer.state_dict()}
                    layer.load_state_dict(own)
        except Exception as error:
            raise ModelError(
                f"{weights} holds no AlexNet ({type(error).__name__})", "LPIPS needs alexnet-owt-7be5be79.pth"
            ) from error
        self.network = self.network.to(device).eval().requires_grad_(False)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """See the protocol.

        Raises:
            ShapeError: the pictures have unequal shapes.
        """
        _check(a, b)
        device = next(self.network.parameters()).device
        with torch.no_grad():
            distance: Tensor = self.network(a.to(device, torch.float32), b.to(device, torch.float32))
        return distance.flatten().cpu()


def alexnet_file(path: str | None = None) -> Path:
    """Where LPIPS' AlexNet weights lie, or should: ``path``, else torch hub's cache (where torchvision puts them).

    Raises:
        ConfigError: there is no such ``path``.
    """
    if path is None:
        return Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"metric.lpips_weights={path} does not exist", "it names alexnet-owt-7be5be79.pth")
    return file


def load_lpips(lpips_weights: str | None = None, device: str | torch.device = "cpu") -> LpipsDistance:
    """``metric=lpips``.

    Args:
        lpips_weights: see :func:`alexnet_file`.
        device: where to run it.

    Raises:
        ConfigError: the weights are not there.
        ModelError: they are not LPIPS'.
    """
    file = alexnet_file(lpips_weights)
    if not file.is_file():
        raise ConfigError(f"metric=lpips needs {file.name}", "give its path: metric.lpips_weights=…")
    return LpipsDistance(file, device)


def own_features(predictor: AttributePredictor | None) -> FeatureDistance:
    """``metric=factor_features``.

    Args:
        predictor: the model's own.

    Raises:
        ConfigError: it is no factor predictor.
    """
    if not isinstance(predictor, FactorPredictor) or not isinstance(predictor.network, FactorNet):
        raise ConfigError("metric=factor_features needs model.predictor=factor_predictor", "use metric=rmse")
    return FeatureDistance(predictor.network, predictor.size)


def best_measure(
    predictor: AttributePredictor | None,
    side: int,
    lpips_weights: str | None = None,
    device: str | torch.device = "cpu",
) -> PerceptualDistance:
    """``metric=auto``: LPIPS if its weights are found and pictures are large enough, else features, else pixels.

    Args:
        predictor: the model's own.
        side: of the pictures, in pixels; LPIPS needs 64.
        lpips_weights: see :func:`alexnet_file`.
        device: where LPIPS runs.

    Raises:
        ConfigError: a ``lpips_weights`` that does not exist.
        ModelError: the weights are not LPIPS'.
    """
    if alexnet_file(lpips_weights).is_file() and side >= LPIPS_SIDE:
        return load_lpips(lpips_weights, device)
    try:
        return own_features(predictor)
    except ConfigError:
        return PixelDistance()


def perceptual_path_length(
    decode: Callable[[Tensor], Tensor],
    first: Tensor,
    second: Tensor,
    measure: PerceptualDistance,
    *,
    eps: float = 1e-2,
    seed: int = 0,
) -> Tensor:
    """StyleGAN's perceptual path length: d(G(slerp(a, b; τ)), G(slerp(a, b; τ + ε))) / ε² at a random τ.

    Args:
        decode: latents (B, C, H, W) → pictures (B, 3, H', W') in [−1, 1].
        first: latents a, shape (B, C, H, W).
        second: latents b, same shape.
        measure: one that grows with the square of small differences (``lpips``, ``factor_features``).
        eps: ε in (0, 1). StyleGAN's 1e-4 is below float32's resolution through many denoising steps.
        seed: of τ.

    Returns:
        shape (B,), 0 or more, in units of the measure; their mean is the PPL.

    Raises:
        ShapeError: unequal shapes.
        ValueRangeError: ε out of range, or a measure that is linear in small differences.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ShapeError(
            f"latents have shapes {tuple(first.shape)} and {tuple(second.shape)}", "expected equal 4-d ones"
        )
    if not 0 < eps < 1:
        raise ValueRangeError(f"eps is {eps}", "it must lie between 0 and 1")
    if measure.name == PixelDistance.name:
        raise ValueRangeError("path lengths divide by eps^2 and need a squared measure", "rmse is linear")
    tau = torch.rand(len(first), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * (1 - eps)
    near, far = (
        torch.cat([slerp(a, b, w[None]) for a, b, w in zip(first, second, tau + shift, strict=True)])
        for shift in (0.0, eps)
    )
    return measure(decode(near), decode(far)) / eps**2


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 4 or a.shape[1:] != b.shape[1:] or (a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0])):
        raise ShapeError(f"pictures have shapes {tuple(a.shape)} and {tuple(b.shape)}", "expected equal (B, 3, H, W)")

r"""Attribute predictors: what a picture shows, as numbers.

One interface, :class:`AttributePredictor`: names, and a map from pictures to scores in about [−1, 1], 0 the decision
boundary of what is either there or not. Behind it:

    :class:`FactorPredictor`     the shipped CNN that regresses every FactorFaces factor,
    ``metrics.clip``             CLIP zero-shot, from pairs of prompts,
    ``metrics.classifiers``      any network by path: TorchScript, ONNX, an exported program, torchvision weights.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diffgeo.data.factor_faces import FACTORS
from diffgeo.diffusion.models import shipped_folder, verify_digests
from diffgeo.errors import ModelError, ShapeError, ValueRangeError

__all__ = [
    "AttributePredictor",
    "FactorNet",
    "FactorPredictor",
    "SHIPPED_PREDICTORS",
    "label_change",
    "label_direction",
    "load_predictor",
    "no_predictor",
    "own_predictor",
]


SHIPPED_PREDICTORS = ("factor_predictor", "factor_predictor_64")
"""Predictors that come with the package, for pictures of 32×32 and of 64×64 pixels."""


class FactorNet(nn.Module):
    """Convolutional regressor: 3 → widths with stride-2 stages, then one linear layer on the flattened map.

    Args:
        size: side of the pictures in pixels, a multiple of 8.
        width: channels of the first stage; doubled twice.
        outputs: number of attributes.
    """

    def __init__(self, size: int = 32, width: int = 32, outputs: int = len(FACTORS)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in range(3):
            wide = width * 2**stage
            for stride in (1, 2):
                layers += [nn.Conv2d(channels, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU()]
                channels = wide
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(channels * (size // 8) ** 2, 128), nn.SiLU(), nn.Linear(128, outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs (B, outputs): values of continuous factors, logits of binary ones."""
        out: Tensor = self.head(self.features(images).flatten(1))
        return out


class AttributePredictor(ABC):
    """Maps pictures to attribute scores.

    Attributes:
        names: the k attributes, in the order of the scores.
        differentiable: whether :meth:`scores` has gradients.
    """

    names: tuple[str, ...]
    differentiable: bool = True

    @abstractmethod
    def scores(self, images: Tensor) -> Tensor:
        """Scores (B, k) of pictures (B, 3, H, W) in [−1, 1]; on the predictor's device, with any gradients it has."""

    def __call__(self, images: Tensor) -> Tensor:
        """Predict.

        Args:
            images: shape (B, 3, H, W), in [−1, 1], on any device.

        Returns:
            shape (B, k) on the CPU, about [−1, 1].

        Raises:
            ShapeError: images are not (B, 3, H, W).
            ValueRangeError: a score is NaN or infinite.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(f"pictures have shape {tuple(images.shape)}", "expected (B, 3, H, W)")
        with torch.no_grad():
            scores = self.scores(images).float().cpu()
        if not bool(torch.isfinite(scores).all()):
            raise ValueRangeError("the attribute predictor gave NaN or infinity", "do the pictures hold NaN?")
        return scores


class FactorPredictor(AttributePredictor):
    """A regressor of factors; binary ones come out as tanh(logit / 2) = 2 p − 1.

    Args:
        network: gives raw outputs (B, k).
        names: the k attributes.
        binary: which of them are logits.
        size: side in pixels that the network expects; other pictures are resized (bilinear, anti-aliased).
    """

    def __init__(self, network: nn.Module, names: Sequence[str], binary: Sequence[bool], size: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.names, self.size = tuple(names), size
        self._device = next((p.device for p in network.parameters()), torch.device("cpu"))
        self._binary = torch.tensor(list(binary), device=self._device)

    def scores(self, images: Tensor) -> Tensor:
        """See :class:`AttributePredictor`."""
        raw = self.network(resized(images.to(self._device, torch.float32), self.size))
        return torch.where(self._binary, (raw / 2).tanh(), raw)


def resized(images: Tensor, size: int) -> Tensor:
    """Pictures (B, C, H, W) at size × size pixels, bilinear and anti-aliased; untouched if they have that size."""
    if images.shape[-2:] == (size, size):
        return images
    return nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)


def own_predictor(own: AttributePredictor | None) -> AttributePredictor | None:
    """``predictor=model``: the model's own."""
    return own


def no_predictor() -> None:
    """``predictor=none``."""


def load_predictor(
    name_or_path: str | Path = "factor_predictor", *, device: str | torch.device = "cpu"
) -> FactorPredictor:
    """Load a predictor folder: ``config.json`` (names, binary, size, width) and ``model.safetensors``.

    Args:
        name_or_path: a shipped name (:data:`SHIPPED_PREDICTORS`) or a folder.
        device: where to run it.

    Raises:
        ModelError: the folder or a file is missing, damaged, or does not fit its config.
    """
    shipped = str(name_or_path) in SHIPPED_PREDICTORS
    folder = shipped_folder(str(name_or_path)) if shipped else Path(name_or_path).expanduser()
    verify_digests(folder, required=shipped)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if len(config["names"]) != len(config["binary"]):
            raise ValueError(f"{len(config['names'])} names, but {len(config['binary'])} entries of binary")
        network = FactorNet(config["size"], config["width"], len(config["names"]))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{folder} is no attribute predictor ({type(error).__name__}: {reason})",
            "it needs config.json and model.safetensors as tools/train.py writes them",
        ) from error
    return FactorPredictor(network.to(device), config["names"], config["binary"], config["size"])


def label_change(names: Sequence[str], change: Tensor, *, threshold: float = 0.15) -> str:
    """A short label of an attribute change, strongest first: ``"hair_lightness +, skin_tone −"``.

    Args:
        names: k attributes.
        change: shape (k,), in the predictor's units (the whole range is 2).
        threshold: smallest change worth naming; at most three are named.

    Returns:
        The label, or ``"no attribute"`` when nothing moved by the threshold.
    """
    order = change.abs().argsort(descending=True)[:3]
    parts = [f"{names[i]} {'+' if change[i] > 0 else '−'}" for i in order.tolist() if abs(change[i]) >= threshold]
    return ", ".join(parts) or "no attribute"


def label_direction(
    names: Sequence[str], changes: Tensor, *, threshold: float = 0.5, most: int = 3
) -> tuple[str, float]:
    """A label of what a direction does to samples, and how sure it is.

    Args:
        names: A attributes.
        changes: Δa of N samples in standard deviations, shape (N, A).
        threshold: smallest mean change worth naming.
        most: attributes named at most, strongest first.

    Returns:
        (label, confidence): ``"hair_lightness + (1.00), skin_tone − (0.83)"``, each attribute with the share of samples
        on which the label that the *others* give comes true (they name the attribute, and it moves their way by at
        least half the threshold), and the first one's share; (``"no attribute"``, NaN) when nothing moves by the
        threshold on average. The shares are NaN, and not written, for a single sample.

    Raises:
        ShapeError: changes are not (N ≥ 1, A).
    """
    if changes.ndim != 2 or len(changes) == 0 or changes.shape[1] != len(names):
        raise ShapeError(f"changes have shape {tuple(changes.shape)}", f"expected (N >= 1, {len(names)})")
    mean = changes.mean(dim=0)
    named = [j for j in mean.abs().argsort(descending=True)[:most].tolist() if abs(mean[j]) >= threshold]
    if len(changes) < 2:
        label = ", ".join(f"{names[j]} {'+' if mean[j] > 0 else '−'}" for j in named)
        return label or "no attribute", float("nan")
    others = (changes.sum(dim=0) - changes) / (len(changes) - 1)
    true = (others.abs() >= threshold) & (changes * others.sign() >= threshold / 2)
    shares = [true[:, j].double().mean().item() for j in named]
    parts = [f"{names[j]} {'+' if mean[j] > 0 else '−'} ({share:.2f})" for j, share in zip(named, shares, strict=True)]
    return (", ".join(parts), shares[0]) if parts else ("no attribute", float("nan"))

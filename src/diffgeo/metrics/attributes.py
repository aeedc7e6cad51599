r"""Attribute predictors: what a picture shows, as numbers.

The shipped predictor is a small CNN that regresses every FactorFaces factor; binary factors come out as logits'
tanh(·/2), so that all outputs lie in about [−1, 1] and 0 is the decision boundary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diffgeo.data.factor_faces import FACTORS
from diffgeo.errors import ModelError, ShapeError
from diffgeo.models import shipped_folder, verify_digests

__all__ = ["SHIPPED_PREDICTORS", "AttributePredictor", "FactorNet", "label_change", "load_predictor"]


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


class AttributePredictor:
    """Maps pictures to attribute values.

    Args:
        network: gives raw outputs (B, k).
        names: the k attributes.
        binary: which of them are logits.
        size: side in pixels that the network expects; other pictures are resized (bilinear, anti-aliased).

    Attributes:
        names: the attributes, in the order of the outputs.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], binary: Sequence[bool], size: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.names, self.size = tuple(names), size
        self._binary = torch.tensor(list(binary))
        self._device = next((p.device for p in network.parameters()), torch.device("cpu"))

    def __call__(self, images: Tensor) -> Tensor:
        """Predict.

        Args:
            images: shape (B, 3, H, W), in [−1, 1], on any device.

        Returns:
            shape (B, k) on the CPU, about [−1, 1]; binary attributes as tanh(logit / 2) = 2 p − 1.

        Raises:
            ShapeError: images are not (B, 3, H, W).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(f"pictures have shape {tuple(images.shape)}; expected (B, 3, H, W)")
        if images.shape[-2:] != (self.size, self.size):
            images = nn.functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        with torch.no_grad():
            raw = self.network(images.to(self._device, torch.float32)).cpu()
        return torch.where(self._binary, (raw / 2).tanh(), raw)


def load_predictor(
    name_or_path: str | Path = "factor_predictor", *, device: str | torch.device = "cpu"
) -> AttributePredictor:
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
        config = json.loads((folder / "config.json").read_text())
        if len(config["names"]) != len(config["binary"]):
            raise ValueError(f"{len(config['names'])} names, but {len(config['binary'])} entries of binary")
        network = FactorNet(config["size"], config["width"], len(config["names"]))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).replace(";", ",").split())[:300]
        raise ModelError(
            f"{folder} is no attribute predictor ({type(error).__name__}: {reason}); "
            "it needs config.json and model.safetensors as scripts/train.py writes them"
        ) from error
    return AttributePredictor(network.to(device), config["names"], config["binary"], config["size"])


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

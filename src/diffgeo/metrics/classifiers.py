"""Any network as an attribute predictor, or as an embedding of identity, by the path of its file.

    ``NAME.pt``, ``.ts``, ``.torchscript``   TorchScript
    ``NAME.pt2``                             a program of ``torch.export``
    ``NAME.onnx``                            ONNX (package onnxruntime, the extra ``onnx``)
    ``NAME.safetensors``, ``.pth``           weights of the torchvision classifier that ``arch`` names

Weights are read without executing anything (safetensors, or torch's weights-only reader); a TorchScript or ONNX file
*is* a program, run by its own interpreter, and should come from someone you trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diffgeo.errors import ConfigError, ModelError, ShapeError, ValueRangeError
from diffgeo.metrics.attributes import AttributePredictor, resized
from diffgeo.ranges import Rule

__all__ = ["Activation", "ClassifierPredictor", "Identity", "load_classifier", "load_network"]

Activation = Literal["sigmoid", "softmax", "probability", "none"]


class ClassifierPredictor(AttributePredictor):
    """Attributes from a network's outputs.

    Args:
        network: pictures (B, 3, size, size), normalised → (B, k).
        names: of its k outputs, in order.
        size: side in pixels that the network expects.
        mean: subtracted from pictures in [0, 1], by channel.
        std: divided by.
        activation: ``sigmoid`` or ``softmax`` of logits, or ``probability`` for outputs that are probabilities already,
            all given as 2 p − 1; ``none`` takes outputs as they are.

    Raises:
        ConfigError: no names, or an unknown activation.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        *,
        size: int,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        activation: Activation = "sigmoid",
    ) -> None:
        if not names:
            raise ConfigError("predictor.names is empty", "name the classifier's outputs, in order")
        if activation not in get_args(Activation):
            raise ConfigError(f"predictor.activation is {activation}", f"known are {', '.join(get_args(Activation))}")
        self.names, self._activation = tuple(names), activation
        self._pictures = _Normalised(network, size, mean, std)
        self.differentiable = not isinstance(network, _Onnx)

    def scores(self, images: Tensor) -> Tensor:
        """See :class:`AttributePredictor`.

        Raises:
            ShapeError: the network has not as many outputs as there are names.
            ValueRangeError: a ``probability`` outside [0, 1].
        """
        raw = self._pictures(images)
        if raw.shape != (len(images), len(self.names)):
            raise ShapeError(
                f"the classifier gave shape {tuple(raw.shape)} for {len(images)} pictures",
                f"predictor.names has {len(self.names)}",
            )
        match self._activation:
            case "sigmoid":
                return (raw / 2).tanh()
            case "softmax":
                return 2 * raw.softmax(dim=1) - 1
            case "probability":
                if not bool(((raw >= 0) & (raw <= 1)).all()):
                    low, high = raw.min().item(), raw.max().item()
                    raise ValueRangeError(
                        f"the classifier gave {low:g} to {high:g} for a probability", "are they logits?"
                    )
                return 2 * raw - 1
        return raw


class Identity:
    """Cosine of two pictures in a network's embedding: of faces, say, whether it is still the same person.

    Args:
        network: pictures (B, 3, size, size), normalised → (B, e).
        size: side in pixels that the network expects.
        mean: subtracted from pictures in [0, 1], by channel; 0.5 gives [−1, 1], as face networks want.
        std: divided by.
    """

    def __init__(self, network: nn.Module, *, size: int, mean: float = 0.5, std: float = 0.5) -> None:
        self._pictures = _Normalised(network, size, [mean] * 3, [std] * 3)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosines (B,), in [−1, 1], on the CPU, of pictures (B, 3, H, W) in [−1, 1]; either B may be 1."""
        with torch.no_grad():
            cosine: Tensor = nn.functional.cosine_similarity(self._pictures(a), self._pictures(b), dim=1)
        if not bool(torch.isfinite(cosine).all()):
            raise ValueRangeError("the identity network gave NaN or infinity", "do the pictures hold NaN?")
        return cosine.clamp(-1, 1).cpu()


def _three(values: Sequence[float]) -> bool:
    return len(values) == 3


def load_classifier(
    path: str,
    names: Annotated[list[str], Rule(items=1, distinct=True, allowed="each name once")],
    *,
    arch: str | None = None,
    size: Annotated[int, Rule(ge=8)] = 224,
    mean: Annotated[Sequence[float], Rule(fits=_three, allowed="three numbers")] = (0.485, 0.456, 0.406),
    std: Annotated[Sequence[float], Rule(gt=0, fits=_three, allowed="three positive numbers")] = (0.229, 0.224, 0.225),
    activation: Activation = "sigmoid",
    device: str | torch.device = "cpu",
) -> ClassifierPredictor:
    """Attributes from a network in a file (``predictor=classifier``).

    Args:
        path: the file, as for :func:`load_network`.
        names: attributes, in the order of the network's outputs.
        arch: torchvision's name of the architecture, for a file that holds weights alone.
        size: side of its pictures in pixels.
        mean: subtracted from pictures in [0, 1], by channel.
        std: divided by.
        activation: ``sigmoid`` or ``softmax`` (of logits), ``probability``, or ``none``; all but the last give 2 p − 1.
        device: where to run it.

    Raises:
        ConfigError, ModelError: as :func:`load_network` and :class:`ClassifierPredictor`.
    """
    network = load_network(path, arch=arch, outputs=len(names), device=device)
    return ClassifierPredictor(network, names, size=size, mean=mean, std=std, activation=activation)


def load_network(
    path: str, *, arch: str | None = None, outputs: int = 0, device: str | torch.device = "cpu"
) -> nn.Module:
    """A network in eval mode, without gradients of its own.

    Args:
        path: the file, see the module's docstring.
        arch: a torchvision classifier (``resnet18``), for files that hold weights alone.
        outputs: how many outputs it has.
        device: where to run it.

    Raises:
        ConfigError: unknown suffix, no such architecture, or onnxruntime is not installed.
        ModelError: the file is missing, damaged, or does not fit the architecture.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ModelError(f"{path} does not exist", "give a TorchScript, ONNX, exported or weights file")
    suffix = file.suffix.lower()
    try:
        if suffix in (".safetensors", ".pth"):
            network = _torchvision(file, arch, outputs)
        elif suffix in (".pt", ".ts", ".torchscript"):
            network = torch.jit.load(str(file), map_location="cpu")
        elif suffix == ".pt2":
            network = torch.export.load(str(file)).module()
        elif suffix == ".onnx":
            network = _Onnx(file)
        else:
            raise ConfigError(
                f"{path} ends in {suffix or 'nothing'}", "known are .pt, .ts, .pt2, .onnx, .safetensors, .pth"
            )
    except ConfigError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} is no usable network ({type(error).__name__}: {reason})",
            "give one that fits predictor.arch and predictor.names",
        ) from error
    if not isinstance(network, _Onnx):
        network = network.to(device)
    if suffix != ".pt2":  # an exported program has one mode
        network = network.eval()
    for parameter in network.parameters():  # a script module has no requires_grad_ of its own
        parameter.requires_grad_(False)
    return network


def _torchvision(file: Path, arch: str | None, outputs: int) -> nn.Module:
    from torchvision.models import get_model, list_models

    if arch not in list_models():
        raise ConfigError(
            f"predictor.arch is {arch}", "weights alone need a torchvision model's name, resnet18 for instance"
        )
    state = (
        load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    )
    network: nn.Module = get_model(arch, weights=None, num_classes=outputs)
    network.load_state_dict(state)
    return network


class _Onnx(nn.Module):
    """An ONNX program as a module without gradients; runs on the CPU."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(f"{file.name} needs onnxruntime", "install diffgeo[onnx]") from error
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def forward(self, images: Tensor) -> Tensor:
        name = self.session.get_inputs()[0].name
        outputs = self.session.run(None, {name: images.detach().cpu().numpy()})
        return torch.from_numpy(outputs[0])


class _Normalised:
    """Pictures in [−1, 1], resized and normalised for a network."""

    def __init__(self, network: nn.Module, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.network, self._size = network, size
        tensors = [*network.parameters(), *network.buffers()]
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._mean = torch.tensor(list(mean), device=self._device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(list(std), device=self._device).reshape(1, 3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        pictures = (resized(images.to(self._device, torch.float32), self._size) + 1) / 2
        output: Tensor = self.network((pictures - self._mean) / self._std)
        return output

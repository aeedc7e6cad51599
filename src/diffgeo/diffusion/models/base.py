"""What the rest of the package asks of a diffusion model: noise, features, and a codec."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffgeo.diffusion.feature_map import FeatureMap, Pool, Tap, block_names
from diffgeo.diffusion.noise_schedule import NoiseProcess

__all__ = ["DiffusionModel", "network_state", "part_digest", "weights_digest"]


class DiffusionModel(ABC):
    """A pretrained diffusion model with its conditioning bound.

    A prompt, if there is one, is part of the object: a prompted model is another object with this interface, so
    that sampling, Jacobians and studies need not know of prompts.

    Attributes:
        name: what ``load_model`` was asked for.
        source: the folder that the weights came from, or the hub id and commit as ``owner/name@commit``.
        schedule: arithmetic of the noise process.
        unet: the network, in eval mode, without gradients.
        latent_shape: shape (C, H, W) of x.
    """

    def __init__(
        self, unet: nn.Module, schedule: NoiseProcess, latent_shape: tuple[int, int, int], *, name: str, source: str
    ) -> None:
        self.schedule, self.latent_shape, self.name, self.source = schedule, latent_shape, name, source
        self._take(unet)

    def _take(self, unet: nn.Module) -> None:
        self.unet = unet.eval().requires_grad_(False)
        self._digests: dict[str, tuple[str, str]] = {}  # shared with copies that share the weights
        for module in unet.modules():
            if isinstance(module, nn.GroupNorm):
                module.register_forward_pre_hook(_contiguous)

    def untrained(self, seed: int = 0) -> Self:
        """The same model with random weights in its network: the null of what training has to do with its geometry.

        Args:
            seed: of the weights, drawn as diffusers initialises them.

        Returns:
            Another object, whose digest is another one.
        """
        config, kind = self.unet.config, type(self.unet)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: nn.Module = kind.from_config(config)  # type: ignore[attr-defined]
        other = copy.copy(self)
        other._take(nn.Module.to(network, self.device, self.dtype))  # without a warning of diffusers
        return other

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of x."""
        return next(self.unet.parameters()).dtype

    @property
    def bounded(self) -> bool:
        """Whether x̂0 of generated samples is clipped unless ``schedule.clip`` says otherwise: as the scheduler does."""
        return self.schedule.clipping is not None

    @property
    def parts(self) -> dict[str, object]:
        """Everything that has weights or a config of its own, by name: what :attr:`digest` covers."""
        return {"unet": self.unet}

    @property
    def digest(self) -> str:
        """Which model this is, whatever it is called: SHA-256 over all that shapes its numbers.

        That is weights and config of every part, the noise process as the scheduler says, and the versions of diffusers
        and transformers, whose code the networks are. Store, saved directions and ``run.json`` use it. It follows
        weights that are changed in place, adapters that are loaded, switched or fused, and modules that are set
        otherwise: :func:`network_state` tells whether it has to be computed again.
        """
        known = self._digests.get("all")
        if known is not None and "held" in self._digests:
            return known[1]
        state = "".join(network_state(part) for part in self.parts.values() if isinstance(part, nn.Module))
        if known is None or known[0] != state:
            facts = {
                "parts": {name: part_digest(part) for name, part in self.parts.items()},
                "schedule": {
                    key: value.tolist() if isinstance(value, Tensor) else value
                    for key, value in self.schedule.determinants.items()
                },
                "versions": {name: version(name) for name in ("diffusers", "transformers")},
            }
            self._digests["all"] = (state, _digest_of(facts))
        return self._digests["all"][1]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block the digest is that of its begin: a study asks for it at every latent and basis.

        Weights must not be changed within the block.

        Returns:
            A context manager; blocks may lie within one another.
        """
        if outermost := "held" not in self._digests:
            _ = self.digest
            self._digests["held"] = self._digests["all"]
        try:
            yield
        finally:
            if outermost:
                del self._digests["held"]

    @property
    def fingerprint(self) -> dict[str, object]:
        """What ``predict_noise``, ``encode`` and ``decode`` depend on: the digest, arithmetic, prompts.

        What inversion and features depend on is the fingerprint of ``inverter`` and ``editor``.
        """
        return {
            "digest": self.digest,
            "dtype": str(self.dtype),
            "device": self.device.type,
            "torch": torch.__version__,
        }

    @property
    def blocks(self) -> list[str]:
        """Blocks of the network in the order of the forward pass; ``feature_map`` takes modules within them, too."""
        return block_names(self.unet)

    @property
    def patch(self) -> int | None:
        """Side of x that an image token of a transformer covers; None for a U-Net."""
        found: int | None = getattr(self.unet, "config", {}).get("patch_size")
        return found

    @property
    def text_tokens(self) -> int:
        """Tokens of the text that reach the blocks of a transformer."""
        return 0

    @property
    def inverter(self) -> DiffusionModel:
        """The model as DDIM inversion runs it; another one if guidance differs."""
        return self

    @property
    def editor(self) -> DiffusionModel:
        """The model whose features and noise edits are made with; another one if prompts differ."""
        return self

    @property
    def conditioning(self) -> dict[str, str | float]:
        """What is bound to the model beside its weights, for the record; empty if nothing is."""
        return {}

    @abstractmethod
    def forward(self, x: Tensor, t: int) -> Tensor:
        """The network's raw output at (x, t), its conditioning bound.

        Args:
            x: latents, shape (B, C, H, W).
            t: timestep, 0 … T.

        Returns:
            Shape (B, C, H, W), in the network's own parametrisation, or (B, 2C, H, W) with a learned variance.
        """

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor:
        """Pictures from clean latents.

        Args:
            x0: clean latents, shape (B, C, H, W).

        Returns:
            Shape (B, 3, H', W'), in [−1, 1].
        """

    @property
    def latent_size(self) -> int:
        """d, the numbers in x."""
        c, h, w = self.latent_shape
        return c * h * w

    @property
    def picture_shape(self) -> tuple[int, int]:
        """Height and width of its pictures in pixels; those of x if nothing says otherwise."""
        return self.latent_shape[1:]

    @property
    def picture_size(self) -> int:
        """Longer side of its pictures in pixels."""
        return max(self.picture_shape)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Clean latents from pictures.

        Args:
            images: shape (B, 3, H', W'), in [−1, 1].

        Returns:
            Shape (B, C, H, W), on the model's device, in its dtype.
        """

    def output(self, x: Tensor, t: int) -> Tensor:
        """What sampling takes for the network's output: :meth:`forward` without a learned variance.

        Args:
            x: latents, shape (B, C, H, W).
            t: timestep, 0 … T.

        Returns:
            Shape (B, C, H, W), in the network's own parametrisation.
        """
        return self.forward(x, t)[:, : x.shape[1]]

    def predict_noise(self, x: Tensor, t: int) -> Tensor:
        """ε(x, t), whatever the network's own parametrisation.

        Args:
            x: latents, shape (B, C, H, W).
            t: timestep, 0 … T.

        Returns:
            shape (B, C, H, W); a learned variance (2C output channels) is dropped.

        Raises:
            ValueRangeError: t is outside the schedule.
        """
        self.schedule.b(t)
        return self.schedule.to_noise(self.output(x, t), x, t)

    def predict(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """x̂0(x, t) and ε(x, t) from one evaluation; at zero SNR x̂0 is the network's own.

        Args:
            x: latents, shape (B, C, H, W).
            t: timestep, 0 … T.

        Returns:
            Two tensors of shape (B, C, H, W).

        Raises:
            ValueRangeError: t is outside the schedule.
        """
        self.schedule.b(t)
        output = self.output(x, t)
        return self.schedule.to_clean(output, x, t), self.schedule.to_noise(output, x, t)

    def predict_x0(self, x: Tensor, t: int) -> Tensor:
        """x̂0(x, t), from ε or, if that tells none (noise alone, and flows), the network's own.

        Args:
            x: latents, shape (B, C, H, W).
            t: timestep, 0 … T.

        Returns:
            shape (B, C, H, W).

        Raises:
            ValueRangeError: t is outside the schedule.
        """
        if self.schedule.noise_tells_x0(t):
            return self.schedule.predict_x0(x, self.predict_noise(x, t), t)
        return self.predict(x, t)[0]

    def feature_map(self, t: int, block: str = "mid", pool: Pool = None, tap: Tap = "output") -> FeatureMap:
        """f: x → h at timestep t, under ``editor``'s conditioning, running only what is needed to reach the block.

        Args:
            t: timestep, 0 … T.
            block: one of :attr:`blocks`, or the path of a module within one.
            pool: ``"sum"`` over space (P23a) or None (P23b).
            tap: what of the block is h: its ``output``, the ``update`` that it adds, or the output ``normalised``.

        Returns:
            A callable: (B, C, H, W) → (B, C', H', W') or, pooled, (B, C').

        Raises:
            ValueRangeError: t is outside the schedule.
            ConfigError: no such block, pooling or tap.
        """
        self.schedule.b(t)
        model = self.editor
        layout: dict[str, Any] = {"patch": model.patch, "text": model.text_tokens}
        return FeatureMap(lambda x: model.forward(x, t), model.unet, block, pool, tap, **layout)


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of a network's weights: names, dtypes, shapes, values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def network_state(network: nn.Module) -> str:
    """A checksum of a network as it is now, much quicker than its digest: it differs if anything was changed.

    ``Tensor._version`` would not do: PEFT fuses adapters by ``weight.data += …``, which it does not count. Here every
    tensor's bytes are summed as integers, weighted by their places, on their device.

    Args:
        network: with its weights.
    """
    small: dict[torch.device, list[Tensor]] = {}
    sums: dict[torch.device, list[Tensor]] = {}
    facts = []
    for name, tensor in _tensors(network):
        data = tensor.detach().contiguous().flatten().view(torch.uint8)
        if len(data) < _SMALL:
            small.setdefault(tensor.device, []).append(data)
        else:
            sums.setdefault(tensor.device, []).append(_checksum(data))
        facts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}")
    for device, parts in small.items():
        sums.setdefault(device, []).append(_checksum(torch.cat(parts)))
    facts += [str(torch.stack(found).tolist()) for found in sums.values()]
    return _digest_of([*facts, _settings(network)])


_SMALL = 2**18
"""Bytes below which tensors are summed in one: for each alone, calls would take longer than sums."""


def _checksum(data: Tensor, width: int = 1024) -> Tensor:
    """A sum over bytes, as integers modulo 2⁶⁴, that tells permutations apart."""
    words, rest = data[: len(data) // 8 * 8].view(torch.int64), data[len(data) // 8 * 8 :]
    rows = words[: len(words) // width * width].view(-1, width)
    tail = words[rows.numel() :]
    place = torch.arange(1, max(width, len(rows)) + 1, device=data.device)
    parts = [tail * place[: len(tail)], rest.long() * place[: len(rest)]]
    parts += [rows.sum(1) * place[: len(rows)], rows.sum(0) * place[:width]]
    factors = (1, 3, 0x1E3779B97F4A7C15, 7)  # no few rows and columns weigh the same
    return torch.stack([part.sum() * factor for part, factor in zip(parts, factors, strict=True)]).sum()


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers by name, those that no file holds included."""
    return [*network.named_parameters(), *network.named_buffers()]


def _settings(network: nn.Module) -> dict[str, object]:
    """Plain attributes of modules, by name: adapters' scales, FreeU's factors, ``training``, attention processors."""
    found: dict[str, object] = {}
    for name, module in network.named_modules():
        held = {key: value for key, value in vars(module).items() if key not in _NOTES and _is_setting(key)}
        found[name] = {"class": type(module).__name__} | {key: _plain(value) for key, value in held.items()}
    return found


def _is_setting(key: str) -> bool:
    return not key.startswith("_") or key in ("_active_adapter", "_disable_adapters")  # by which PEFT switches


def _plain(value: Any) -> Any:
    """A value as JSON; of what is no number, text or collection only the name of its class."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return type(value).__name__


def _digest_of(facts: Any) -> str:
    """SHA-256 of plain JSON; other things count by their text."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def part_digest(part: Any) -> str:
    """SHA-256 of a part of a pipeline: class, config, and weights and modules (a network) or words (a tokenizer).

    Left out of a config are notes of paths and versions: two copies of a model in two folders are one.
    """
    config = getattr(part, "config", None) or getattr(part, "init_kwargs", {})
    config = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    facts: dict[str, object] = {
        "class": type(part).__name__,
        "config": {key: value for key, value in config.items() if not key.startswith("_") and key not in _NOTES},
    }
    if isinstance(part, nn.Module):
        facts |= {"weights": weights_digest(part), "modules": _settings(part)}
    elif hasattr(part, "backend_tokenizer"):
        facts["words"] = part.backend_tokenizer.to_str()
    elif hasattr(part, "get_vocab"):
        facts["words"] = part.get_vocab()
    return _digest_of(facts)


_NOTES = {
    *("name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "local_files_only"),
    *("tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "added_tokens_file"),
}
"""Of a config, what tells where and by whom it was written."""


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # GroupNorm's forward-mode derivative fails on the channels-last strides that attention leaves behind
    return (inputs[0].contiguous(), *inputs[1:])

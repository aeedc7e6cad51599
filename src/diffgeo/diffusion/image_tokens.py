"""Finds the image in the tensors that a block of a network takes or returns, and replaces it.

In a U-Net the image is a map. In a transformer it is a sequence of tokens, to which some blocks add the text's; they
are told apart by how many the image has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor

from diffgeo.errors import ConfigError

__all__ = ["ImageLayout"]

_ADVICE = "choose another feature.block; diffgeo --blocks lists those of a model"


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How the image is laid out in the tensors of a network.

    Attributes:
        grids: rows and columns that the image may have: one pair in a transformer, one per level in a U-Net.
        text: tokens of the text that reach a transformer's blocks, 0 if they see none. A stream that joins both has the
            text first, as Flux has.
        maps: whether any tensor of four dimensions is a map (C, rows, columns), as in a U-Net.
    """

    grids: tuple[tuple[int, int], ...]
    text: int = 0
    maps: bool = False

    @classmethod
    def of(cls, size: tuple[int, int], patch: int | None, levels: int, text: int) -> ImageLayout:
        """The layout of a network for latents of one size.

        Args:
            size: height and width of x.
            patch: side of x that an image token covers, of a transformer; None for a U-Net.
            levels: of a U-Net, each of which halves the map, rounding up or down.
            text: tokens of the text in a transformer's blocks.
        """
        if patch is not None:
            return cls(((size[0] // patch, size[1] // patch),), text)
        up = [(-(-size[0] // 2**level), -(-size[1] // 2**level)) for level in range(max(1, levels))]
        down = [(size[0] // 2**level, size[1] // 2**level) for level in range(max(1, levels))]
        return cls(tuple(dict.fromkeys(up + down)), text, maps=True)

    def image_in(self, value: object, what: str) -> Tensor:
        """The image as a map.

        Joint blocks return the tokens of text and of image; the image's are selected by their number.

        Args:
            value: a tensor, or a tuple or dataclass in which tensors occur: maps (B, C, rows, columns), or tokens
                (B, N, C). What lies deeper, such as a U-Net's skip connections, is left out.
            what: begins the message, ``block 'mid' returns``.

        Returns:
            shape (B, C, rows, columns).

        Raises:
            ConfigError: no tensor is an image, or more than one may be.
        """
        return self._as_map(self._found(value, what))

    def with_image(self, value: object, change: Callable[[Tensor], Tensor], what: str) -> object:
        """The value with another image in its place; text, skip connections and all else stay.

        Args:
            value: as for :meth:`image_in`; a tensor or a tuple.
            change: the image as a map (B, C, rows, columns) → another one of that shape.
            what: begins the message.

        Raises:
            ConfigError: as :meth:`image_in`.
        """
        image = self._found(value, what)
        changed = change(self._as_map(image))
        if image.ndim == 3:
            tokens = changed.flatten(2).transpose(1, 2)
            changed = torch.cat([image[:, : -tokens.shape[1]], tokens], dim=1)
        if isinstance(value, tuple):
            return tuple(changed if one is image else one for one in value)
        return changed

    def _as_map(self, image: Tensor) -> Tensor:
        if image.ndim == 4:
            return image
        rows, columns = self._grid(image) or (0, 0)
        tokens: Tensor = image[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        return tokens

    def _found(self, value: object, what: str) -> Tensor:
        """The tensor that holds the image."""
        tensors = [one for one in _members(value) if isinstance(one, Tensor)]
        images = [one for one in tensors if self._grid(one) is not None]
        counts = [one.shape[1] for one in tensors if one.ndim == 3]
        if not images:
            texts = " (the text's)" if self.text in counts else ""
            shapes = ", ".join(str(tuple(one.shape)) for one in tensors) or "no tensor"
            held = f"{', '.join(map(str, counts))} tokens{texts}" if counts else shapes
            grid = " or ".join(f"{rows}·{columns}" for rows, columns in self.grids)
            raise ConfigError(f"{what} {held}, and the image has {grid}: it holds no image tokens", _ADVICE)
        image = images[0]
        if self.maps and image.ndim == 4:  # a U-Net's block may return skip connections behind its h
            return image
        if len(images) > 1 or (image.ndim == 3 and image.shape[1] == self.text):
            raise ConfigError(
                f"{what} {', '.join(map(str, counts)) or len(images)} tokens, as many as the image has: its own cannot "
                "be told from those of the text",
                "choose another model.size, or another feature.block",
            )
        return image

    def _grid(self, tensor: Tensor) -> tuple[int, int] | None:
        """Rows and columns of the image in a tensor; None if it holds none."""
        size = tuple(tensor.shape)
        if tensor.ndim == 4:
            return (size[2], size[3]) if self.maps or size[2:] in self.grids else None
        joined = 0 if self.maps else self.text
        counts = {count: grid for grid in self.grids for count in (grid[0] * grid[1], joined + grid[0] * grid[1])}
        return counts.get(size[1]) if tensor.ndim == 3 else None


def _members(value: object) -> Iterable[object]:
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, Mapping):  # diffusers' outputs are mappings, beside being dataclasses
        return value.values()
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, one.name) for one in fields(value)]
    return value if isinstance(value, tuple | list) else ()

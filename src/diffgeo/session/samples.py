"""What is edited: seeds, or pictures that are inverted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from diffgeo.config import DataConfig
from diffgeo.data.images import list_images, load_image, picture_names
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.errors import DataError


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing that is edited.

    Attributes:
        index: 0, 1, …
        name: ``seed N`` or the picture's file name, for tables and figures.
        x0: the inverted picture's clean latent, shape (C, H, W); None for generated samples.
        seed: of the initial noise, for generated samples.
    """

    index: int
    name: str
    x0: Tensor | None
    seed: int | None


class Samples:
    """The samples of a run; pictures are read when they are asked for.

    Args:
        model: encodes pictures.
        cfg: which and how many.
        seed: of sample 0; the others follow.
        found: samples so far, by index; shared by contexts whose samples are the same.
    """

    def __init__(self, model: DiffusionModel, cfg: DataConfig, seed: int, found: dict[int, Sample]) -> None:
        self._model, self._cfg, self._seed, self._found = model, cfg, seed, found

    def chosen(self) -> list[Sample]:
        """The samples that ``data`` chooses; a list of pictures whole.

        Raises:
            DataError: pictures are missing, broken, or fewer in the folder than ``data.samples``.
        """
        wanted, where = self._cfg.samples, self._cfg.images
        found = self.first(len(where) if isinstance(where, list) else wanted)
        if len(found) < wanted and isinstance(where, str) and Path(where).expanduser().is_dir():
            raise DataError(f"data.images={where} holds {len(found)} pictures", f"lower data.samples={wanted}")
        return found

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.chosen())

    def __len__(self) -> int:
        return len(self.chosen())

    def __getitem__(self, index: int) -> Sample:
        return self.chosen()[index]

    def first(self, n: int) -> list[Sample]:
        """The first n samples, or as many pictures as there are, for studies with a number of their own.

        Raises:
            DataError: pictures are missing or broken.
        """
        last = n if self._files is None else min(n, len(self._files))
        for index in range(last):
            if index not in self._found:
                x0 = None if self._files is None else self._load(self._files[index])
                seed = self._seed + index if x0 is None else None
                self._found[index] = Sample(index, self.name(index), x0, seed)
        return [self._found[index] for index in range(last)]

    def name(self, index: int) -> str:
        """What results call sample ``index``, in use or not: ``seed N``, or the picture's file name."""
        return f"seed {self._seed + index}" if self._files is None else picture_names(self._files)[index]

    @cached_property
    def _files(self) -> list[Path] | None:
        """Every picture of ``data.images``, in order; None for generated samples."""
        return None if self._cfg.images is None else list_images(self._cfg.images)

    def _load(self, path: Path) -> Tensor:
        return self._model.encode(load_image(path, *self._model.picture_shape)[None])[0]

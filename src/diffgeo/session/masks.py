"""Where local edits should act in each sample's picture, as ``data.masks`` says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.data.images import list_images
from diffgeo.data.masks import factor_mask, load_mask, rectangle
from diffgeo.data.tangent import Fit
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.errors import ConfigError, DataError, UnsuitableModelError
from diffgeo.session.samples import Sample

log = logging.getLogger(__name__)

FAR = 0.06
"""Distance from every portrait above which a factor's mask is only that of a picture like this one."""


class Masks:
    """The samples' masks, each made once.

    Args:
        model: whose pictures they belong to.
        where: a picture, a folder of them, the edges of a rectangle, a factor, or None for no masks.
        portrait: the portrait nearest to a sample's picture; None if the factors are not known.
        setting: that ``where`` comes from, for messages.
    """

    def __init__(
        self,
        model: DiffusionModel,
        where: str | list[float] | None,
        portrait: Callable[[Sample], Fit] | None,
        *,
        setting: str = "data.masks",
    ) -> None:
        self._model, self._where, self._portrait, self._setting = model, where, portrait, setting
        self._found: dict[int, Tensor] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._where is not None

    def of(self, sample: Sample) -> Tensor:
        """Where edits of a sample should act: boolean, shape (H, W), that of its picture, on the model's device.

        Raises:
            ConfigError: there are none.
            UnsuitableModelError: they are those of a factor, and the model's data are not known.
            DataError: there is no such file, it does not fit the picture, or all of it or nothing of it is inside.
            ValueRangeError: the edges of a rectangle are not in order.
        """
        if sample.index not in self._found:
            self._found[sample.index] = self._made(sample).to(self._model.device)
        return self._found[sample.index]

    def _made(self, sample: Sample) -> Tensor:
        where, size = self._where, self._model.picture_shape
        if where is None:
            raise ConfigError(
                f"{self._setting} is null, and this needs a mask", "give a picture, a rectangle or a factor"
            )
        if isinstance(where, list):
            return rectangle(where, *size)
        return self._of_factor(sample, where) if where in FACTOR_NAMES else load_mask(self._file(sample, where), *size)

    def _of_factor(self, sample: Sample, factor: str) -> Tensor:
        """The pixels that a factor changes in the portrait nearest to the sample's picture."""
        if self._portrait is None:
            raise UnsuitableModelError(
                f"{self._setting}={factor} is a factor of FactorFaces, and this model's factors are not known",
                f"give a picture or a rectangle, or ./{factor} for a folder of this name",
            )
        fit = self._portrait(sample)
        if fit.residual.item() > FAR:
            log.warning(
                "%s lies %.2g from every portrait; its mask of %s is that of the nearest one",
                sample.name,
                fit.residual.item(),
                factor,
            )
        try:
            return factor_mask(fit.z[0].cpu(), factor, self._model.picture_size)
        except DataError as error:
            raise DataError(f"{sample.name}: {error.what}", error.advice) from error

    def _file(self, sample: Sample, where: str) -> Path:
        """The sample's mask: the one file, or that of a folder with the picture's name; by number for seeds."""
        files = list_images(where, setting=self._setting)
        if not Path(where).expanduser().is_dir():
            return files[0]
        own = [file for file in files if file.stem == Path(sample.name).stem]
        own = own if sample.x0 is not None else files[sample.index : sample.index + 1]
        if len(own) != 1:
            raise DataError(
                f"{self._setting}={where} holds {len(own)} masks for {sample.name}",
                "give one for each picture, with its name" if sample.x0 is not None else "give one for each seed",
            )
        return own[0]

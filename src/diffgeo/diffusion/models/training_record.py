"""Which data a model was trained on, by ``evaluation.json`` in its folder, as ``tools/train.py`` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.diffusion.models.locating import shipped_folder
from diffgeo.errors import ModelError

__all__ = ["trained_factors"]

_SHIPPED = "shipped:"


def trained_factors(source: str) -> tuple[str, ...]:
    """Factors that vary in the portraits of FactorFaces that a model was trained on.

    Args:
        source: of the model, as :attr:`DiffusionModel.source` has it.

    Returns:
        Their names, in the order of :data:`~diffgeo.data.factor_faces.FACTORS`: all of them if no record says
        otherwise; none if the record names other data.

    Raises:
        ModelError: the record cannot be read.
    """
    shipped = source.startswith(_SHIPPED)
    folder = shipped_folder(source.removeprefix(_SHIPPED)) if shipped else Path(source)
    path = folder / "evaluation.json"
    if not path.is_file():  # a hub id, or a folder that was made elsewhere
        return FACTOR_NAMES
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["training"]["config"]
        varying = record.get("varying")
        # the text-to-image model's record names no data: they are portraits with captions
        if record.get("data", "factor_faces") != "factor_faces":
            return ()
        return FACTOR_NAMES if varying is None else tuple(name for name in FACTOR_NAMES if name in varying)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is no record of a training ({type(error).__name__})", "restore or remove it"
        ) from None

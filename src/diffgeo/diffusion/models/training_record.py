"""Which data a model was trained on, by ``evaluation.json`` in its folder, as ``tools/train.py`` writes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.diffusion.models.locating import shipped_folder
from diffgeo.errors import ModelError

__all__ = ["Training", "trained_factors", "training_of"]

_SHIPPED = "shipped:"
_SILENT = {"seed", "keep", "checkpoint_minutes", "sample_every", "path"}
"""Settings of a training that its weights do not depend on, and the seed."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the record of a training says.

    Attributes:
        data: what the pictures are, in words: ``14 factors``, ``fashion_mnist``.
        factors: of FactorFaces that vary in them, in the order of :data:`~diffgeo.data.factor_faces.FACTORS`; none if
            they are other pictures.
        images: pictures seen.
        seed: of weights and batches.
        settings: a digest of all others that shape the weights, the length of the training among them: trainings that
            share it differ by their seed alone, and networks that share both are moments of one training.
    """

    data: str
    factors: tuple[str, ...]
    images: int
    seed: int
    settings: str


def training_of(source: str) -> Training | None:
    """The training of a model, or None if its folder has no record.

    Args:
        source: of the model, as :attr:`DiffusionModel.source` has it.

    Raises:
        ModelError: the record cannot be read.
    """
    shipped = source.startswith(_SHIPPED)
    folder = shipped_folder(source.removeprefix(_SHIPPED)) if shipped else Path(source)
    path = folder / "evaluation.json"
    if not path.is_file():  # a hub id, or a folder that was made elsewhere
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["training"]
        record, varying = facts["config"], facts["config"].get("varying")
        # the text-to-image model's record names no data: they are portraits with captions
        data = str(record.get("data", "factor_faces"))
        if data != "factor_faces":
            factors: tuple[str, ...] = ()
        else:
            factors = FACTOR_NAMES if varying is None else tuple(name for name in FACTOR_NAMES if name in varying)
            data = f"{len(factors)} factors"
        others = json.dumps({key: value for key, value in record.items() if key not in _SILENT}, sort_keys=True)
        settings = hashlib.sha256(others.encode()).hexdigest()[:8]
        return Training(data, factors, int(facts.get("images_seen", 0)), int(record.get("seed", 0)), settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is no record of a training ({type(error).__name__})", "restore or remove it"
        ) from None


def trained_factors(source: str) -> tuple[str, ...]:
    """Factors that vary in the portraits of FactorFaces that a model was trained on.

    Args:
        source: of the model, as :attr:`DiffusionModel.source` has it.

    Returns:
        Their names: all of them if no record says otherwise; none if the record names other data.

    Raises:
        ModelError: the record cannot be read.
    """
    record = training_of(source)
    return FACTOR_NAMES if record is None else record.factors

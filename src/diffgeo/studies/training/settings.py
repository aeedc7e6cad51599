"""Settings of the study ``training``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import II

from diffgeo.config.fields import setting
from diffgeo.errors import ConfigError, ModelError


def networks_in(given: str) -> list[str]:
    """What one entry of ``study.training.networks`` stands for.

    Args:
        given: a model, or a folder that holds networks which ``tools/train.py`` has kept, at any depth.

    Raises:
        ConfigError: it is a folder without a network.
    """
    folder = Path(given).expanduser()
    if not folder.is_dir() or (folder / "model_index.json").is_file():
        return [given]
    found = sorted(str(index.parent) for index in folder.rglob("model_index.json") if index.parts[-3] == "kept")
    if not found:
        raise ConfigError(
            f"study.training.networks: {given} holds no network that was kept in training",
            "train with training.keep=[0.5,1.0], say",
        )
    return found


@dataclass
class TrainingConfig:
    """Study ``training``: several trainings of one network, and several moments of one training.

    Attributes:
        networks: as ``model.path``, each with a record of its training, or folders in which ``tools/train.py`` has kept
            such; the run's own model is not used. The two by default are of unlike settings, so that they make neither
            a series of moments nor trainings that differ by their seed alone.
        samples: of each network, from the same seeds.
        rank: n, directions of a local basis.
        portraits: of known factors, with noise, at which directions are compared with the true tangent space.
        pairs: of samples (0, 1), (2, 3), …, between which paths run at the run's largest t.
        segments: of every path.
        path_rank: n, directions of a tangent space on a path.
    """

    networks: list[str] = setting(
        ["factor_faces_4", "factor_faces"],
        items=1,
        path="perhaps",
        absent=ModelError,
        allowed="one or more models or folders",
    )
    samples: int = setting(II("scale.samples"), ge=2)
    rank: int = setting(II("scale.rank"), ge=2)
    portraits: int = setting(II("scale.samples"), ge=0)
    pairs: int = setting(II("scale.pairs"), ge=0)
    segments: int = setting(II("scale.segments"), ge=2)
    path_rank: int = setting(II("scale.path_rank"), ge=2)

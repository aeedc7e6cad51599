"""What the study ``training`` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

__all__ = ["TrainingConfig"]


@dataclass
class TrainingConfig:
    """Study ``training``: several trainings of one network, and several moments of one training.

    Attributes:
        models: as ``model.path``, each with a record of its training, or folders in which ``tools/train.py`` has kept
            such networks; the run's own model is not used.
        samples: of each network, from the same seeds.
        rank: n, directions of a local basis.
        portraits: of known factors, with noise, at which directions are compared with the true tangent space.
        pairs: of samples (0, 1), (2, 3), …, between which paths run at the run's largest t.
        segments: of every path.
        path_rank: n, directions of a tangent space on a path.
    """

    models: list[str] = setting(["factor_faces_4", "factor_faces"], items=1, allowed="one or more models or folders")
    samples: int = setting(II("scale.samples"), ge=2)
    rank: int = setting(II("scale.rank"), ge=2)
    portraits: int = setting(II("scale.samples"), ge=0)
    pairs: int = setting(II("scale.pairs"), ge=0)
    segments: int = setting(II("scale.segments"), ge=2)
    path_rank: int = setting(II("scale.path_rank"), ge=2)

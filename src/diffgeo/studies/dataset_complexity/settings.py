"""Settings of the study ``dataset_complexity``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting
from diffgeo.errors import ModelError


@dataclass
class DatasetComplexityConfig:
    """Study ``dataset_complexity``: models that differ only in how complex their data are (P23b).

    Attributes:
        models: as ``model.path``, the simplest data first; several of the same data are trainings of theirs. The run's
            own model is not used.
        samples: compared, of each model, from the same seeds.
        rank: n, directions of a tangent space.
        rule: as in ``curvedness``.
    """

    models: list[str] = setting(
        ["factor_faces_4", "factor_faces"], items=2, path="perhaps", absent=ModelError, allowed="two or more models"
    )
    samples: int = setting(II("scale.samples"), ge=2)
    rank: int = setting(II("scale.path_rank"), ge=1)
    rule: str = setting("fixed", choices=("fixed", "share", "gap"))

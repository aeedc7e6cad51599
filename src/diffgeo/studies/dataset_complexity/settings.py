"""What the study ``dataset_complexity`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DatasetComplexityConfig"]


@dataclass
class DatasetComplexityConfig:
    """Study ``dataset_complexity``: models that differ only in how complex their data are (P23b).

    Attributes:
        models: as ``model.path``, the simplest data first; the run's own model is not used.
        samples: compared, of each model, from the same seeds.
        rank: n, directions of a tangent space.
        rule: as in ``curvedness``.
    """

    models: list[str] = field(default_factory=lambda: ["factor_faces_4", "factor_faces"])
    samples: int = 4
    rank: int = 10
    rule: str = "fixed"

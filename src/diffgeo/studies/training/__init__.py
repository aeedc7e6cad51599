"""How does the geometry of a network come about while it is trained, and does another training give the same?"""

from diffgeo.studies.study import Study
from diffgeo.studies.training.settings import TrainingConfig

__all__ = ["STUDY"]

STUDY = Study(
    name="training",
    title="Trainings",
    question="How does the geometry come about in training, and does another training give the same?",
    settings=TrainingConfig,
    package=__name__,
    place=85,
    rows=("network", "sample", "t_frac"),
)

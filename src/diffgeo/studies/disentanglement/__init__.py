"""What does each direction change, what else changes, and how does that compare?"""

from diffgeo.studies.disentanglement.settings import DisentanglementConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="disentanglement",
    title="Scorecard",
    question="What does each direction change, what else changes, and how does that compare?",
    settings=DisentanglementConfig,
    package=__name__,
    place=100,
)

"""Are directions coarse near noise and fine near the picture?"""

from diffgeo.studies.frequency.settings import FrequencyConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="frequency",
    title="Frequencies",
    question="Are directions coarse near noise and fine near the picture?",
    settings=FrequencyConfig,
    package=__name__,
    place=40,
    seconds=1,
    rows=("sample", "t_frac", "radius"),
)

"""Does one direction do the same to samples it was not made from?"""

from diffgeo.studies.global_consistency.settings import GlobalConsistencyConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="global_consistency",
    title="Shared directions",
    question="Does one direction do the same to samples it was not made from?",
    settings=GlobalConsistencyConfig,
    package=__name__,
    place=20,
    seconds=18,
    rows=("t_frac", "method", "direction", "held_out"),
)

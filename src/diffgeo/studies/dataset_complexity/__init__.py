"""Do simpler data give more consistent tangent spaces?"""

from diffgeo.studies.dataset_complexity.settings import DatasetComplexityConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="dataset_complexity",
    title="Data sets",
    question="Do simpler data give more consistent tangent spaces?",
    settings=DatasetComplexityConfig,
    package=__name__,
    place=80,
    rows=("data_model", "t_frac", "sample_a", "sample_b"),
)

"""How much does the tangent space turn on the way from one sample to another?"""

from diffgeo.studies.curvedness.settings import CurvednessConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="curvedness",
    title="Curved paths",
    question="How much does the tangent space turn on the way from one sample to another?",
    settings=CurvednessConfig,
    package=__name__,
    place=50,
    seconds=29,
    rows=("pair", "pool", "path"),
)

"""Which map's directions lie in the true tangent space of the data, and at which noise?"""

from diffgeo.studies.study import Study
from diffgeo.studies.tangent_truth.settings import TangentTruthConfig

__all__ = ["STUDY"]

STUDY = Study(
    name="tangent_truth",
    title="The true tangent space",
    question="Which map's directions lie in the true tangent space of the data, and at which noise?",
    settings=TangentTruthConfig,
    package=__name__,
    place=35,
    seconds=11,
    rows=("kind", "sample", "t_frac", "map", "n", "factor", "scale"),
)

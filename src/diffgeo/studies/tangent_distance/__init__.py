"""How alike are the tangent spaces of samples and timesteps?"""

from diffgeo.studies.study import Study
from diffgeo.studies.tangent_distance.settings import TangentDistanceConfig

__all__ = ["STUDY"]

STUDY = Study(
    name="tangent_distance",
    title="Distances of tangent spaces",
    question="How alike are the tangent spaces of samples and timesteps?",
    settings=TangentDistanceConfig,
    package=__name__,
    place=60,
    seconds=4,
    rows=("kind", "sample_a", "sample_b", "t_frac_a", "t_frac_b"),
)

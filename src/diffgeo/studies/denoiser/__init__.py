"""What does the denoiser's own Jacobian tell about the data, and is it what theory says?"""

from diffgeo.studies.denoiser.settings import DenoiserConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="denoiser",
    title="The denoiser's Jacobian",
    question="What does the denoiser's own Jacobian tell about the data, and is it what theory says?",
    settings=DenoiserConfig,
    package=__name__,
    place=65,
    seconds=9,
    rows=("sample", "t_frac"),
)

"""Do directions change brightness or colour?"""

from diffgeo.studies import Study
from diffgeo_greyness.settings import GreynessConfig

__all__ = ["STUDY"]

STUDY = Study(
    name="greyness",
    title="Brightness or colour",
    question="Do directions change brightness or colour?",
    settings=GreynessConfig,
    package=__name__,
)

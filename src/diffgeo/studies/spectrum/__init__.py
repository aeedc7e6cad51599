"""How many directions matter, and does the spectrum flatten as the noise falls?"""

from diffgeo.studies.spectrum.settings import SpectrumConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="spectrum",
    title="Spectrum",
    question="How many directions matter, and does the spectrum flatten as the noise falls?",
    settings=SpectrumConfig,
    package=__name__,
    place=30,
    seconds=9,
    rows=("sample", "t_frac"),
)

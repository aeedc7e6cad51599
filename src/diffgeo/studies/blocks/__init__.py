"""Which block of a network plays the part of h?"""

from diffgeo.studies.blocks.settings import BlocksConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="blocks",
    title="Blocks",
    question="Which block of the network sees the data's directions, and at which noise?",
    settings=BlocksConfig,
    package=__name__,
    place=37,
    rows=("sample", "t_frac", "block", "map"),
)

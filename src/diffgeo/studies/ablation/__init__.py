"""What is lost when directions are found, or walked, in another way?"""

from diffgeo.studies.ablation.settings import AblationConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="ablation",
    title="Other directions and edits",
    question="What is lost when directions are found, or walked, in another way?",
    settings=AblationConfig,
    package=__name__,
    place=90,
    rows=("sample", "t_frac", "variant", "direction"),
)

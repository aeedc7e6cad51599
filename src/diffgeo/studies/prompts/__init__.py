"""Do similar prompts have similar tangent spaces?"""

from diffgeo.studies.prompts.settings import PromptsConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="prompts",
    title="Prompts",
    question="Do similar prompts have similar tangent spaces?",
    settings=PromptsConfig,
    package=__name__,
    place=70,
    rows=("sample", "t_frac", "kind", "guidance", "prompt_a", "prompt_b"),
)

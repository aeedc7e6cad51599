"""Settings of the study ``prompts``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting
from diffgeo.config.schemas import Config, TextToImageConfig
from diffgeo.errors import UnsuitableModelError


@dataclass
class PromptsConfig:
    """Study ``prompts``: tangent spaces of a text-to-image model under different prompts (P23b).

    Attributes:
        prompts: compared with one another, all at the same samples; some alike, some not.
        samples: compared.
        guidance: scales under which paths are denoised; null is 1 and ``model.guidance``.
        rank: n, directions of a tangent space; fewer if ``svd.rank`` is lower.
        rule: as in ``curvedness``.
        draws: orders of the prompts in the test of similarity against distance.
    """

    prompts: list[str] = setting(items=2, distinct=True, allowed="two or more, each once")
    samples: int = setting(II("scale.controls"), ge=1)
    guidance: list[float] | None = setting(None, ge=1, items=1, allowed="scales of 1 or more")
    rank: int = setting(II("scale.path_rank"), ge=1)
    rule: str = setting("fixed", choices=("fixed", "share", "gap"))
    draws: int = setting(999, ge=99, allowed="99 or more, for p-values down to 0.01")

    def check_run(self, cfg: Config) -> None:
        """The model takes prompts.

        Raises:
            UnsuitableModelError: it takes none.
        """
        if not isinstance(cfg.model, TextToImageConfig):
            raise UnsuitableModelError(
                f"study prompts compares prompts, and {cfg.model.path} takes none",
                "choose a text-to-image model, such as model=factor_faces_t2i",
            )

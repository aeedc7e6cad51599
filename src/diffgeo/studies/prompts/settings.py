"""What the study ``prompts`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PromptsConfig"]


@dataclass
class PromptsConfig:
    """Study ``prompts``: tangent spaces of a text-to-image model under different prompts (P23b).

    Attributes:
        prompts: compared with one another, all at the same samples; some alike, some not.
        samples: compared.
        guidance: scales under which paths are denoised; null is 1 and ``model.guidance``.
        rank: n, directions of a tangent space; fewer where ``svd.rank`` is lower.
        rule: as in ``curvedness``.
        draws: orders of the prompts in the test of similarity against distance.
    """

    prompts: list[str] = field(default_factory=list)
    samples: int = 2
    guidance: list[float] | None = None
    rank: int = 10
    rule: str = "fixed"
    draws: int = 999

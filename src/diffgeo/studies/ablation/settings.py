"""What the study ``ablation`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["AblationConfig", "VARIANTS"]

VARIANTS = (
    "local",
    "global",
    "random",
    "no_normalisation",
    "pca_h",
    "x0",
    "eps",
    "block",
    "pooling",
    "shooting_isometric",
    "shooting_pullback",
)
"""What the study ``ablation`` compares; see its module."""


@dataclass
class AblationConfig:
    """Study ``ablation``: other directions and other edits, at matched strength (P23a, Figs. 9 to 12).

    Attributes:
        variants: what to compare; the names are those of ``VARIANTS`` above.
        samples: edited samples.
        directions: leading directions of each variant; fewer where ``svd.rank`` is lower.
        t_frac: edit timestep, as a fraction of T.
        change: perceptual change that every edit is brought to; the unit is the measure's. null takes what the local
            basis reaches at ``edit.strength``, the median over samples and directions.
        limit: largest |γ| that is tried, as a multiple of ``edit.strength``.
        blocks: other blocks of the U-Net for the variant ``block``; those it lacks are left out.
        pca_samples: random latents for PCA of h.
    """

    variants: list[str] = field(default_factory=lambda: list(VARIANTS))
    samples: int = 1
    directions: int = 2
    t_frac: float = 1.0
    change: float | None = None
    limit: float = 8.0
    blocks: list[str] = field(default_factory=lambda: ["down.1", "up.1"])
    pca_samples: int = 64

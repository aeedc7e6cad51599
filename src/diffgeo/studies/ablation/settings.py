"""Settings of the study ``ablation``."""

from __future__ import annotations

from dataclasses import dataclass

from diffgeo.config.fields import refusal, setting

VARIANTS = (
    "local",
    "global",
    "random",
    "no_normalisation",
    "random_no_normalisation",
    "pca_h",
    "pca_h_gradient",
    "x0",
    "eps",
    "block",
    "pooling",
    "shooting_isometric",
    "shooting_pullback",
)
"""What the study compares; its module ``measure`` says what each is."""


@dataclass
class AblationConfig:
    """Study ``ablation``: other directions and other edits, at matched strength (P23a, Figs. 9 to 12).

    Attributes:
        variants: what to compare; its module ``measure`` says what each is. By default all but ``pca_h``, whose
            directions are made of local ones.
        samples: edited samples.
        directions: leading directions of each variant; fewer where ``svd.rank`` is lower.
        t_frac: edit timestep, as a fraction of T.
        t_fracs: edit timesteps, as fractions of T, of a table of its own, ``ablation_times``; null makes none.
        change: perceptual change that every edit is brought to; the unit is the measure's. null takes what the local
            basis reaches at ``edit.strength``, the median over samples and directions.
        limit: largest |γ| that is tried, as a multiple of ``edit.strength``.
        blocks: other blocks of the U-Net for the variant ``block``; those it lacks are left out.
        pca_samples: random latents for PCA of h.
    """

    variants: list[str] = setting([v for v in VARIANTS if v != "pca_h"], choices=VARIANTS, items=1, distinct=True)
    samples: int = setting(1, ge=1)
    directions: int = setting(2, ge=1)
    t_frac: float = setting(1.0, gt=0, le=1, scheduled=True, allowed="a fraction of T in (0, 1]")
    t_fracs: list[float] | None = setting(None, gt=0, le=1, items=1, scheduled=True, allowed="fractions of T in (0, 1]")
    change: float | None = setting(None, gt=0)
    limit: float = setting(8.0, ge=1)
    blocks: list[str] = setting(["down.1", "up.1"])
    pca_samples: int = setting(64, ge=2)

    def check(self) -> None:
        """PCA of h finds fewer directions than it has samples.

        Raises:
            ConfigError: more directions are asked for.
        """
        if self.pca_samples <= self.directions:
            raise refusal("study.ablation.pca_samples", self.pca_samples, "more than the directions")

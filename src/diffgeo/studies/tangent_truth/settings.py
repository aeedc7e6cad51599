"""Settings of the study ``tangent_truth``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

MAPS = ("h", "pooled_h", "x0", "eps", "pca_h", "random")
"""Maps that the study compares; its module ``measure`` says what each is."""
KINDS = ("render", "path")
"""Where x_t comes from: a known portrait with noise, or the sampler's own path."""


@dataclass
class TangentTruthConfig:
    """Study ``tangent_truth``: local bases against the exact tangent space of known-factor data.

    Attributes:
        maps: what to compare; its module ``measure`` says what each is.
        blocks: further blocks of the U-Net whose whole feature map is compared.
        kinds: where x_t comes from: ``render``, a known portrait with noise; ``path``, the sampler's own path.
        samples: portraits, and samples of the run.
        noise: fractions of T. Portraits get noise at exactly these; paths take the nearest timestep of the run's
            schedule, if one is within half a step.
        rank: the larger of the two n that are compared; the other one is the rank of ∂render/∂z.
        output_rank: the same for ``x0`` and ``eps``, whose bases cost several times as much.
        residual: largest distance from the data, as a root mean square over pixel values, of a sampled picture that
            counts as a portrait; others are left out.
        draws: random rotations, and random subspaces, that chance is told from.
        pca_portraits: portraits with noise for PCA of h.
    """

    maps: list[str] = setting([name for name in MAPS if name != "eps"], choices=MAPS, items=1, distinct=True)
    blocks: list[str] = setting([], distinct=True)
    kinds: list[str] = setting(["path"], choices=KINDS, items=1, distinct=True)
    samples: int = setting(2, ge=1)
    noise: list[float] = setting([1.0, 0.5, 0.25], gt=0, le=1, items=1, distinct=True)
    rank: int = setting(II("scale.rank"), ge=1)
    output_rank: int = setting(13, ge=1)
    residual: float = setting(0.06, gt=0)
    draws: int = setting(200, ge=20)
    pca_portraits: int = setting(64, ge=2)

"""Settings of the study ``blocks``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

MAPS = ("output", "update", "normalised", "trimmed")
"""What of a block is h; its module ``measure`` says what each is."""


@dataclass
class BlocksConfig:
    """Study ``blocks``: the local bases of every block of a network, compared.

    Attributes:
        blocks: to compare, as ``feature.block`` takes them; null for all that ``diffgeo --blocks`` lists.
        maps: what of each block is h: what ``feature.tap`` knows, and ``trimmed``, the output without the channels of
            massive activations.
        massive: a channel has massive activations if its root mean square is so many times the median one's.
        samples: of the run.
        t_fracs: fractions of T; null for those of ``schedule.edit``.
        rank: directions per basis, for the spectrum.
        directions: of every block that are edited, and random ones; 0 edits nothing.
        change: perceptual change that every edit is brought to; null for what the run's own block reaches at
            ``edit.strength``.
        limit: largest γ, as a multiple of ``edit.strength``.
        residual: largest distance from the data of a sampled picture whose tangent space is compared.
    """

    blocks: list[str] | None = setting(None, items=1, allowed="names of blocks, as diffgeo --blocks lists them")
    maps: list[str] = setting(["output"], choices=MAPS, items=1, distinct=True)
    massive: float = setting(10.0, gt=1)
    samples: int = setting(II("scale.samples"), ge=1)
    t_fracs: list[float] | None = setting(None, gt=0, le=1, items=1, scheduled=True, allowed="fractions of T in (0, 1]")
    rank: int = setting(II("scale.path_rank"), ge=2)
    directions: int = setting(II("scale.directions"), ge=0)
    change: float | None = setting(None, gt=0)
    limit: float = setting(8.0, ge=1)
    residual: float = setting(0.06, gt=0)

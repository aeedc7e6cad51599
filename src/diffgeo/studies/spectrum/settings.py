"""Settings of the study ``spectrum``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting

KINDS = {"path": "the sampler's own x_t", "noised": "known pictures with noise"}
"""Where x_t comes from → in words; the module ``measure`` says what each is."""


@dataclass
class SpectrumConfig:
    """Study ``spectrum``: how many directions matter, by timestep.

    Attributes:
        rank: n of the effective dimension, the same at every t; fewer if the bases have fewer.
        kinds: where x_t comes from: ``path``, the samples on their way; ``noised``, as many known pictures with noise.
    """

    rank: int = setting(II("scale.rank"), ge=1)
    kinds: list[str] = setting(["path"], choices=tuple(KINDS), items=1, distinct=True)

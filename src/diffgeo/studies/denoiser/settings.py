"""Settings of the study ``denoiser``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import setting


@dataclass
class DenoiserConfig:
    """Study ``denoiser``: rank, symmetry, linearity and posterior of ∂x̂0/∂x, and the data's dimension.

    Attributes:
        samples: how many of the run's; the first ones.
        t_fracs: where, as fractions of T.
        rank: n, leading singular directions of ∂x̂0/∂x; the numerical rank is not known beyond.
        probes: random probes of ∂x̂0/∂x, each a product with it and one with its transpose; more give smaller standard
            errors.
        directions: leading directions whose linearity is measured, and posterior components that are shown.
        lengths: of the steps λ along a direction, as shares of √d, which is about ‖x‖.
        dimension_t_fracs: noise at which the dimension is estimated, as fractions of T; any timestep serves, also those
            that the schedule of the run does not visit.
    """

    samples: int = setting(II("scale.controls"), ge=1)
    t_fracs: list[float] = setting(
        [0.5, 0.25], gt=0, le=1, items=1, distinct=True, scheduled=True, allowed="fractions of T in (0, 1], each once"
    )
    rank: int = setting(20, ge=2)
    probes: int = setting(8, ge=2)
    directions: int = setting(3, ge=1)
    lengths: list[float] = setting([0.02, 0.05, 0.1, 0.2], gt=0, items=1, distinct=True)
    dimension_t_fracs: list[float] = setting(
        [0.1], gt=0, le=1, items=1, distinct=True, allowed="fractions of T in (0, 1], each once"
    )

"""What the study ``disentanglement`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DisentanglementConfig", "METHODS"]

METHODS = ("local", "nearest", "hungarian", "frechet", "pca_h", "random", "x0", "eps")
"""What the study ``disentanglement`` compares; see its module."""


@dataclass
class DisentanglementConfig:
    """Study ``disentanglement``: a scorecard of directions by method, at matched strength.

    Attributes:
        methods: what to compare: any of ``local``, ``nearest``, ``hungarian``, ``frechet``, ``pca_h``, ``random``,
            ``x0``, ``eps``.
        files: further directions, saved by :func:`diffgeo.save_directions`; each scored at its own timestep.
        samples: some make the global directions, the others are edited and scored.
        training: how many make them; null takes the first two fifths, at least two.
        directions: K, leading directions of each method; fewer where ``svd.rank`` is lower.
        t_fracs: edit timesteps as fractions of T; null takes ``schedule.edit``.
        change: perceptual change that every edit is brought to; null takes what the local basis reaches at
            ``edit.strength``, once for every timestep.
        levels: strengths of the Pareto curve, as multiples of the matched one; 1 is always there.
        limit: largest |γ| that is tried, as a multiple of ``edit.strength``.
        codes: pictures whose codes ⟨h, ū_i⟩ are scored against their attributes, and over whose attributes Δa is
            standardised.
        renders: these pictures are rendered FactorFaces with their true factors, inverted (true), or generated ones
            with predicted attributes (false); null renders for the shipped model of all factors.
        regressor: of DCI, ``lasso`` or ``forest``.
        min_spread: smallest standard deviation, over unedited pictures and in the predictor's units (range −1 to 1), of
            an attribute that counts; one that hardly varies has no scale.
        moved: standard deviations that count as a change (local and transfer success).
        still: what the others must stay under, as a fraction of ``moved``.
        draws: bootstrap resamples.
        subspace: samples for the entanglement within the subspace; 0 leaves it out.
    """

    methods: list[str] = field(default_factory=lambda: ["local", "nearest", "random"])
    files: list[str] = field(default_factory=list)
    samples: int = 4
    training: int | None = None
    directions: int = 2
    t_fracs: list[float] | None = None
    change: float | None = None
    levels: list[float] = field(default_factory=lambda: [0.5])
    limit: float = 8.0
    codes: int = 48
    renders: bool | None = None
    regressor: str = "lasso"
    min_spread: float = 0.02
    moved: float = 1.0
    still: float = 0.5
    draws: int = 200
    subspace: int = 1

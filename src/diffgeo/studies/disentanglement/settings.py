"""Settings of the study ``disentanglement``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import refusal, setting
from diffgeo.errors import DirectionsError

METHODS = ("local", "nearest", "hungarian", "frechet", "pca_h", "random", "x0", "eps")
"""What the study compares; its module ``measure`` says what each is."""


@dataclass
class DisentanglementConfig:
    """Study ``disentanglement``: a scorecard of directions by method, at matched strength.

    Attributes:
        methods: what to compare: any of ``local``, ``nearest``, ``hungarian``, ``frechet``, ``pca_h``, ``random``,
            ``x0``, ``eps``.
        files: further directions, saved by :func:`diffgeo.save_directions`; each scored at its own timestep.
        samples: some make the global directions, the others are edited and scored.
        training: how many make them; null takes the first two fifths, at least two.
        directions: K, leading directions of each method; fewer if ``svd.rank`` is lower.
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

    methods: list[str] = setting(["local", "nearest", "random"], choices=METHODS, items=1, distinct=True)
    files: list[str] = setting([], path="always", absent=DirectionsError)
    samples: int = setting(II("scale.scored"), ge=3, allowed="3 or more: two make the global directions, one is edited")
    training: int | None = setting(None, ge=2)
    directions: int = setting(II("scale.directions"), ge=1)
    t_fracs: list[float] | None = setting(None, gt=0, le=1, items=1, scheduled=True, allowed="fractions of T in (0, 1]")
    change: float | None = setting(None, gt=0)
    levels: list[float] = setting(II("scale.levels"), gt=0, lt=1, allowed="numbers between 0 and 1")
    limit: float = setting(8.0, ge=1)
    codes: int = setting(II("scale.codes"), ge=12)
    renders: bool | None = setting(None)
    regressor: str = setting("lasso", choices=("lasso", "forest"))
    min_spread: float = setting(0.02, ge=0)
    moved: float = setting(1.0, gt=0)
    still: float = setting(0.5, gt=0, le=1)
    draws: int = setting(200, ge=2)
    subspace: int = setting(1, ge=0)

    def check(self) -> None:
        """Some samples make the global directions, and at least one is left to be edited.

        Raises:
            ConfigError: none is left.
        """
        if self.training is not None and self.training >= self.samples:
            raise refusal("study.disentanglement.training", self.training, "null, or 2 to one less than samples")

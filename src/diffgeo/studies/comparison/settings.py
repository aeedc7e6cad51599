"""Settings of the study ``comparison``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import II

from diffgeo.config.fields import refusal, setting

METHODS = (
    *("local", "global", "x0", "eps", "loco", "random", "supervised"),
    *("local_h", "pca_h", "eps_h", "asyrp", "random_h"),
)
"""What the study compares, first edits of x, then edits of h; its module ``methods`` says what each is."""


@dataclass
class ComparisonConfig:
    """Study ``comparison``: the field's methods of editing, at equal change of the picture.

    Attributes:
        methods: what to compare, null for all; its module ``methods`` says what each is. ``loco`` needs masks, and
            ``asyrp`` and ``supervised`` an attribute; without, they are left out.
        samples: edited samples; directions that are found at one are tried on the next.
        training: further samples, before these, which make the global directions; null is three for method ``global``,
            none without.
        directions: leading directions of each method; the supervised methods have one.
        t_frac: edit timestep, as a fraction of T.
        until: fraction of T at which edits of h end, which begin at ``t_frac``.
        null_rank: leading directions outside the mask; LOCO's directions lose their part in the span of these.
        attribute: what the supervised methods are told to change, and what all edits are brought to the same change
            of; null takes the factor that ``data.masks`` names, and without masks ``smile`` (or what varies) in
            FactorFaces. A factor of these gives the masks, too, if ``data.masks`` gives none.
        pictures: unedited pictures with attributes: for PCA, for the supervised methods, and over which changes are
            standardised.
        change: perceptual change that every edit is brought to; the unit is the measure's. null takes what the first
            sample's edits along its local basis (without ``local``, all of its edits) reach at ``edit.strength``.
        effect: change of the attribute that every edit is brought to as well, in standard deviations.
        limit: largest |γ| that is tried, as a multiple of ``edit.strength``; edits of h may go ten times as far.
        moved: standard deviations that count as a change (local and transfer success).
        still: what the others must stay under, as a fraction of ``moved``.
        compose: two masks or more, a factor or a file each, in which edits are made alone and at once, without the
            pixels that two of them share; null makes none.
    """

    methods: list[str] | None = setting(["local", "x0", "loco", "random"], choices=METHODS, items=1, distinct=True)
    samples: int = setting(2, ge=1)
    training: int | None = setting(None, ge=2)
    directions: int = setting(1, ge=1)
    t_frac: float = setting(0.5, gt=0, le=1, scheduled=True, allowed="a fraction of T in (0, 1]")
    until: float = setting(0.3, ge=0, le=1)
    null_rank: int = setting(5, ge=1)
    attribute: str | None = None
    pictures: int = setting(II("scale.codes"), ge=12)
    change: float | None = setting(None, gt=0)
    effect: float = setting(0.5, gt=0)
    limit: float = setting(8.0, ge=1)
    moved: float = setting(1.0, gt=0)
    still: float = setting(0.5, gt=0, le=1)
    compose: list[str] | None = setting(
        None, items=2, distinct=True, path="perhaps", allowed="two masks or more, each once"
    )

    def check(self) -> None:
        """Whether edits of h end after they begin."""
        if self.until > self.t_frac:
            raise refusal("study.comparison.until", self.until, f"0 to study.comparison.t_frac={self.t_frac:g}")

"""What each study can be told: one dataclass a study, and the names that its lists may hold."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "METHODS",
    "PATHS",
    "STUDY_SCHEMAS",
    "VARIANTS",
    "AblationConfig",
    "CurvednessConfig",
    "DatasetComplexityConfig",
    "DiscoveryConfig",
    "DisentanglementConfig",
    "FrequencyConfig",
    "GlobalConsistencyConfig",
    "PromptsConfig",
    "SpectrumConfig",
    "TangentDistanceConfig",
]

PATHS = ("lerp", "slerp", "shooting", "pursuit", "shooting_x", "geodesic")
"""Paths of the study ``curvedness``; its module says what each is."""

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


METHODS = ("local", "nearest", "hungarian", "frechet", "pca_h", "random", "x0", "eps")
"""What the study ``disentanglement`` compares; see its module."""


@dataclass
class DiscoveryConfig:
    """Study ``discovery``: local bases, spectra and traversals.

    Attributes:
        directions: leading directions that are traversed; fewer where ``svd.rank`` is lower.
    """

    directions: int = 3


@dataclass
class SpectrumConfig:
    """Study ``spectrum``: effective dimension and flatness by timestep; nothing to set."""


@dataclass
class FrequencyConfig:
    """Study ``frequency``: radial power spectra of the directions.

    Attributes:
        directions: leading directions that are averaged; fewer where ``svd.rank`` is lower.
        low: what counts as low frequency, as a fraction of Nyquist.
    """

    directions: int = 50
    low: float = 0.25


@dataclass
class GlobalConsistencyConfig:
    """Study ``global_consistency``: do directions of different samples agree, and do global ones serve every sample?

    Attributes:
        directions: leading directions that are averaged and edited; fewer where ``svd.rank`` is lower.
        methods: of :func:`diffgeo.geometry.global_directions`: any of ``nearest``, ``hungarian``, ``frechet``.
        draws: random subspaces in the null.
        edit: whether held-out samples are edited by the global directions of the first method.
    """

    directions: int = 3
    methods: list[str] = field(default_factory=lambda: ["nearest", "hungarian", "frechet"])
    draws: int = 999
    edit: bool = True


@dataclass
class CurvednessConfig:
    """Study ``curvedness``: tangent spaces along paths between samples (P23a, Table 1, Fig. 7).

    Attributes:
        pairs: of samples (0, 1), (2, 3), …
        segments: of every path.
        rank: n, directions of a tangent space.
        rule: how n is chosen: ``fixed``, ``share`` (half of the energy of rank directions) or ``gap`` (the largest gap
            within ± 30 % of rank), the last two by the spectra at the ends of the paths; one n serves all paths of a
            pooling.
        t_frac: where, as a fraction of T.
        pools: poolings of h: ``sum``, ``none`` or both.
        paths: any of ``lerp``, ``slerp``, ``shooting``, ``pursuit``, ``shooting_x``, ``geodesic``.
        perceptual: whether the points are decoded for the perceptual path length.
        tol: of the bases along paths.
    """

    pairs: int = 2
    segments: int = 5
    rank: int = 10
    rule: str = "fixed"
    t_frac: float = 1.0
    pools: list[str] = field(default_factory=lambda: ["none", "sum"])
    paths: list[str] = field(default_factory=lambda: list(PATHS))
    perceptual: bool = True
    tol: float = 1e-3


@dataclass
class TangentDistanceConfig:
    """Study ``tangent_distance``: between samples, between timesteps, and the controls that tell x from t (P23b).

    Attributes:
        rank: n, directions of a tangent space; fewer where ``svd.rank`` is lower.
        rule: as in ``curvedness``.
        controls: samples for the controls "x fixed, t varies" and "t fixed, x varies"; 0 leaves them out.
    """

    rank: int = 10
    rule: str = "fixed"
    controls: int = 2


@dataclass
class DatasetComplexityConfig:
    """Study ``dataset_complexity``: models that differ only in how complex their data are (P23b).

    Attributes:
        models: as ``model.path``, the simplest data first; the run's own model is not used.
        samples: compared, of each model, from the same seeds.
        rank: n, directions of a tangent space.
        rule: as in ``curvedness``.
    """

    models: list[str] = field(default_factory=lambda: ["factor_faces_4", "factor_faces"])
    samples: int = 4
    rank: int = 10
    rule: str = "fixed"


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


STUDY_SCHEMAS: dict[str, type] = {
    "discovery": DiscoveryConfig,
    "spectrum": SpectrumConfig,
    "frequency": FrequencyConfig,
    "global_consistency": GlobalConsistencyConfig,
    "curvedness": CurvednessConfig,
    "tangent_distance": TangentDistanceConfig,
    "ablation": AblationConfig,
    "disentanglement": DisentanglementConfig,
    "dataset_complexity": DatasetComplexityConfig,
    "prompts": PromptsConfig,
}
"""One entry per study; ``conf/study/NAME.yaml`` fills it and ``diffgeo.studies.NAME`` runs on it."""

"""Differential geometry of the latent space: pure functions on tensors and local bases."""

from diffgeo.geometry.curves import (
    GeodesicPath,
    ShotPath,
    boundary_value_geodesic,
    curvedness,
    geodesic_shooting,
    lerp,
    semantic_path_length,
    shoot_between,
    slerp,
)
from diffgeo.geometry.directions import (
    GlobalDirections,
    Method,
    best_match,
    global_directions,
    pca_directions,
    project_to_tangent,
    random_directions,
    random_overlaps,
    signed_as,
)
from diffgeo.geometry.grassmann import (
    choose_rank,
    frechet_mean,
    grassmann_distance,
    principal_angles,
    soft_distance,
)
from diffgeo.geometry.rotations import independent_axes, varimax
from diffgeo.geometry.transport import Convention, pull_back, transport

__all__ = [
    "Convention",
    "GeodesicPath",
    "GlobalDirections",
    "Method",
    "ShotPath",
    "best_match",
    "boundary_value_geodesic",
    "choose_rank",
    "curvedness",
    "frechet_mean",
    "geodesic_shooting",
    "global_directions",
    "grassmann_distance",
    "independent_axes",
    "lerp",
    "pca_directions",
    "principal_angles",
    "project_to_tangent",
    "pull_back",
    "random_directions",
    "random_overlaps",
    "semantic_path_length",
    "shoot_between",
    "signed_as",
    "slerp",
    "soft_distance",
    "transport",
    "varimax",
]

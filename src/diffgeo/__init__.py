"""diffgeo: the differential geometry of diffusion models' latent space.

The names below are imported on first use, so that ``import diffgeo`` and the command line's ``--help`` stay fast.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffgeo.api import Outcome, run, run_study, settings
    from diffgeo.diffusion.direction_files import Directions, load_directions, save_directions
    from diffgeo.diffusion.editing import normalise_distortion, single_step, x_space_guidance
    from diffgeo.diffusion.models import DiffusionModel, load_model
    from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
    from diffgeo.geometry import (
        boundary_value_geodesic,
        frechet_mean,
        geodesic_shooting,
        global_directions,
        grassmann_distance,
        lerp,
        principal_angles,
        semantic_path_length,
        slerp,
        transport,
    )
    from diffgeo.jacobian import JacobianOperator
    from diffgeo.svd import Certificate, Dense, GolubKahan, LocalBasis, Randomized, SolveSpec, Subspace, local_basis

__all__ = [
    "Certificate",
    "Dense",
    "DiffusionModel",
    "Directions",
    "GolubKahan",
    "JacobianOperator",
    "LocalBasis",
    "Outcome",
    "Randomized",
    "SolveSpec",
    "Subspace",
    "boundary_value_geodesic",
    "ddim_invert",
    "ddim_sample",
    "frechet_mean",
    "geodesic_shooting",
    "global_directions",
    "grassmann_distance",
    "initial_noise",
    "lerp",
    "load_directions",
    "load_model",
    "local_basis",
    "normalise_distortion",
    "principal_angles",
    "run",
    "run_study",
    "save_directions",
    "semantic_path_length",
    "settings",
    "single_step",
    "slerp",
    "transport",
    "x_space_guidance",
]

try:
    __version__ = version("diffgeo")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {
    "Certificate": "svd",
    "Dense": "svd",
    "DiffusionModel": "diffusion.models",
    "Directions": "diffusion.direction_files",
    "GolubKahan": "svd",
    "JacobianOperator": "jacobian",
    "LocalBasis": "svd",
    "Outcome": "api",
    "Randomized": "svd",
    "SolveSpec": "svd",
    "Subspace": "svd",
    "boundary_value_geodesic": "geometry",
    "ddim_invert": "diffusion.sampling",
    "ddim_sample": "diffusion.sampling",
    "frechet_mean": "geometry",
    "geodesic_shooting": "geometry",
    "global_directions": "geometry",
    "grassmann_distance": "geometry",
    "initial_noise": "diffusion.sampling",
    "lerp": "geometry",
    "load_directions": "diffusion.direction_files",
    "load_model": "diffusion.models",
    "local_basis": "svd",
    "normalise_distortion": "diffusion.editing",
    "principal_angles": "geometry",
    "run": "api",
    "run_study": "api",
    "save_directions": "diffusion.direction_files",
    "semantic_path_length": "geometry",
    "settings": "api",
    "single_step": "diffusion.editing",
    "slerp": "geometry",
    "transport": "geometry",
    "x_space_guidance": "diffusion.editing",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"diffgeo.{_HOME[name]}"), name)
    raise AttributeError(f"module 'diffgeo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

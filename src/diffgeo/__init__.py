"""diffgeo: the differential geometry of diffusion models' latent space.

The names below are imported on first use, so that ``import diffgeo`` and the command line's ``--help`` stay fast.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffgeo.editing import normalise_distortion, single_step, x_space_guidance
    from diffgeo.geometry import geodesic_shooting, transport
    from diffgeo.jacobian import JacobianOperator
    from diffgeo.models import DiffusionModel, load_model
    from diffgeo.sampling import ddim_invert, ddim_sample, initial_noise
    from diffgeo.svd import Certificate, LocalBasis, local_basis

__all__ = [
    "Certificate",
    "DiffusionModel",
    "JacobianOperator",
    "LocalBasis",
    "ddim_invert",
    "ddim_sample",
    "geodesic_shooting",
    "initial_noise",
    "load_model",
    "local_basis",
    "normalise_distortion",
    "single_step",
    "transport",
    "x_space_guidance",
]

try:
    __version__ = version("diffgeo")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {
    "Certificate": "svd",
    "DiffusionModel": "models",
    "JacobianOperator": "jacobian",
    "LocalBasis": "svd",
    "ddim_invert": "sampling",
    "ddim_sample": "sampling",
    "geodesic_shooting": "geometry",
    "initial_noise": "sampling",
    "load_model": "models",
    "local_basis": "svd",
    "normalise_distortion": "editing",
    "single_step": "editing",
    "transport": "geometry",
    "x_space_guidance": "editing",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"diffgeo.{_HOME[name]}"), name)
    raise AttributeError(f"module 'diffgeo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

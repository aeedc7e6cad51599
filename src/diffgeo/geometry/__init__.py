"""Differential geometry of the latent space: pure functions on tensors."""

from diffgeo.geometry.curves import geodesic_shooting
from diffgeo.geometry.transport import Convention, pull_back, transport

__all__ = ["Convention", "geodesic_shooting", "pull_back", "transport"]

"""A run at work: samples, latents, bases, edits and pictures, each computed once and kept in the store."""

from diffgeo.session import Context
from diffgeo.session.samples import Sample

__all__ = ["Context", "Sample"]

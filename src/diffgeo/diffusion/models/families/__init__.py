"""A module per family of models, each with its ``FAMILY``, by which :mod:`diffgeo.diffusion.models.family` finds it."""

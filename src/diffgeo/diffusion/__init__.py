"""Diffusion models: the noise process, sampling and inversion, editing, the feature map, and models themselves."""

"""Unedited pictures: the scale on which attributes change, and codes with their factors.

Where the model is that of rendered FactorFaces, the pictures are rendered with known factors and inverted; elsewhere
they are generated, and their factors are what the predictor reads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.diffusion.sampling import Inversion, ddim_invert, ddim_sample, initial_noise
from diffgeo.errors import ConfigError
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.session import Context
from diffgeo.studies.disentanglement.settings import DisentanglementConfig

log = logging.getLogger(__name__)

_CODES = 8_000_000
"""First seed of the pictures whose codes are scored, apart from those of samples."""
_CHUNK = 16
"""Pictures at a time."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Unedited pictures and what is known of them.

    Attributes:
        pictures: shape (N, 3, H, W).
        names: of the A attributes that vary.
        columns: their places among the predictor's, shape (A,).
        attributes: predicted, shape (N, A).
        factors: known where the pictures were rendered, else the predicted ones, shape (N, A').
        factor_names: of A'.
        known: whether they were rendered.
        latents: x_t by timestep, shape (N, C, H, W) each.
    """

    pictures: Tensor
    names: tuple[str, ...]
    columns: Tensor
    attributes: Tensor
    factors: Tensor
    factor_names: tuple[str, ...]
    known: bool
    latents: dict[int, Tensor]


def reference_pictures(
    context: Context, cfg: DisentanglementConfig, predictor: AttributePredictor, times: list[int]
) -> Reference:
    """Render or generate ``cfg.codes`` pictures, and take them to every timestep.

    An attribute that hardly varies among them has no scale to measure its changes by, and is left out.

    Raises:
        ConfigError: fewer than two attributes vary.
    """
    n = cfg.codes
    known = _rendered(context, cfg)
    wanted = sorted(set(times), reverse=True)
    starts = list(range(0, n, _CHUNK))
    found: dict[int, tuple[list[Tensor], Tensor, Tensor | None]] = {}
    with context.display.task("unedited pictures", n) as advance:
        for start in context.processes.in_turn(starts):
            seeds = [_CODES + i for i in range(start, min(start + _CHUNK, n))]
            context.processes.check()
            found[start] = _chunk(context, seeds, wanted, known)
            advance(len(seeds))
    kept, pictures, factors = zip(*(found[start] for start in starts), strict=True)
    shown = torch.cat(pictures)
    attributes = predictor(shown)
    columns = (attributes.std(dim=0) >= cfg.min_spread).nonzero()[:, 0]
    names = tuple(predictor.names[j] for j in columns.tolist())
    if len(names) < len(predictor.names):
        still = [name for name in predictor.names if name not in names]
        log.warning("left out, as they vary by less than %g among unedited pictures: %s", cfg.min_spread, still)
    if len(names) < 2:
        raise ConfigError(
            f"{len(names)} attributes vary by study.disentanglement.min_spread={cfg.min_spread:g}", "2 are needed"
        )
    attributes = attributes[:, columns]
    return Reference(
        shown,
        names,
        columns,
        attributes,
        torch.cat(factors) if known else attributes,
        FACTOR_NAMES if known else names,
        known,
        {t: torch.cat([parts[i] for parts in kept]) for i, t in enumerate(wanted)},
    )


def _chunk(
    context: Context, seeds: list[int], times: list[int], known: bool
) -> tuple[list[Tensor], Tensor, Tensor | None]:
    """(x_t at each of the falling times, pictures, the rendered faces' factors) of some seeds."""
    model, steps = context.model, context.cfg.schedule.steps
    method = cast(Inversion, context.cfg.schedule.inversion)
    place = {"seeds": seeds, "times": times, "steps": steps, "rendered": known, "method": method}
    z = None
    if known:
        z = torch.cat([sample_factors(1, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        pictures = render(z, model.picture_size)
        clean = model.encode(pictures.to(model.device, model.dtype))

        def follow() -> Tensor:
            x, at, points = clean, CLEAN, []
            for t in reversed(times):
                x, at = ddim_invert(model.inverter, x, steps=steps, start=at, stop=t, method=method), t
                points.append(x)
            return torch.stack(points[::-1])

        found = context.cache.tensor("latents", {"inverted": model.inverter.fingerprint, "x": clean, **place}, follow)
        return list(found), pictures, z

    def denoise() -> Tensor:
        x, at, points = initial_noise(model, seeds), model.schedule.first(steps), []
        for t in [*times, CLEAN]:
            if t != at:
                x, at = ddim_sample(model, x, steps=steps, start=at, stop=t, clip=model.bounded), t
            points.append(x)
        return torch.stack(points)

    latents = context.cache.tensor("latents", {"denoised": model.fingerprint, "clip": model.bounded, **place}, denoise)
    return list(latents[:-1]), model.decode(latents[-1]).cpu(), z


def _rendered(context: Context, cfg: DisentanglementConfig) -> bool:
    """Whether codes are those of rendered faces, whose factors are known."""
    own = context.own_predictor or context.predictor
    faces = own is not None and own.names == FACTOR_NAMES
    if cfg.renders and not faces:
        raise ConfigError("study.disentanglement.renders=true needs a model of FactorFaces", "leave it at null")
    return context.model.source == "shipped:factor_faces" if cfg.renders is None else cfg.renders

"""From latents to pictures: the rest of the DDIM steps, then the model's own decoder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffgeo.config import Config
from diffgeo.diffusion.h_edits import Injection
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.diffusion.sampling import ddim_sample
from diffgeo.jacobian.memory import most_that_fits
from diffgeo.session.cache import Cache
from diffgeo.session.latents import Latents
from diffgeo.session.progress import Display
from diffgeo.session.samples import Sample

log = logging.getLogger(__name__)

_NOISE = 0x5EED << 32
"""Sets the noise of decoding (η > 0) apart from the seeds of initial noise."""
_ALL = 1_000_000
"""More pictures than any batch has."""


class Decoder:
    """Takes latents of one sample to pictures.

    Args:
        model: the diffusion model.
        cfg: the run's settings: ``schedule``, ``seed``, ``max_memory``.
        latents: say whether a sample is clipped.
        cache: keeps pictures from run to run.
        display: progress bars.
    """

    def __init__(self, model: DiffusionModel, cfg: Config, latents: Latents, cache: Cache, display: Display) -> None:
        self._model, self._cfg, self._latents, self._cache, self._display = model, cfg, latents, cache, display
        self._at_once: int | None = None

    def __call__(
        self, x: Tensor, t: int, sample: Sample, *, clip: bool | None = None, injection: Injection | None = None
    ) -> Tensor:
        """Pictures of latents at t.

        Args:
            x: latents of one sample, shape (B, C, H, W).
            t: their timestep.
            sample: whose they are; all get the same noise.
            clip: whether x̂0 is clipped on the way; as the sample's own is if None.
            injection: Δh of each latent, added on the way.

        Returns:
            Shape (B, 3, H', W'), in [−1, 1].
        """
        schedule = self._cfg.schedule
        settings: dict[str, Any] = {
            "steps": schedule.steps,
            "start": t,
            "eta": schedule.eta,
            "boost_below": schedule.boost_below,
            "clip": self._latents.clips(sample) if clip is None else clip,
        }
        seed = _NOISE + self._cfg.seed + sample.index
        size = min(len(x), self.at_once)

        def compute() -> Tensor:
            batches = x.split(size)
            injections = [None] * len(batches) if injection is None else injection.split(size)
            left = len(batches) * sum(u <= t for u in self._model.schedule.timesteps(schedule.steps))
            with self._display.task(f"{sample.name}: {len(x)} pictures from t = {t}", left) as advance:
                decoded = zip(batches, injections, strict=True)
                return torch.cat([self._decoded(*one, seed, settings, advance) for one in decoded])

        place: dict[str, Any] = {"x": x, "seed": seed} if size == len(x) else {"x": x, "seed": seed, "at_once": size}
        if injection is not None:
            place["injection"] = injection
        return self._cache.tensor("pictures", {"model": self._model.fingerprint, **place, **settings}, compute)

    def _decoded(
        self, x: Tensor, injection: Injection | None, seed: int, settings: dict[str, Any], advance: Callable[[], None]
    ) -> Tensor:
        x0 = ddim_sample(
            self._model,
            x,
            stop=CLEAN,
            generator=torch.Generator().manual_seed(seed),
            shared_noise=True,
            on_step=advance,
            predict=None if injection is None else injection.predict,
            **settings,
        )
        return self._model.decode(x0)

    @property
    def at_once(self) -> int:
        """Pictures that are denoised and decoded at once, by ``max_memory``; all if it says nothing.

        Raises:
            ValueRangeError: it is too little for one.
        """
        bound, model = self._cfg.max_memory, self._model
        if bound is None:
            return _ALL
        if self._at_once is None:
            x = torch.zeros(model.latent_shape, device=model.device, dtype=model.dtype)

            @torch.no_grad()
            def take(count: int) -> None:
                model.decode(model.predict_noise(x.expand(count, -1, -1, -1), model.schedule.T))

            self._at_once = most_that_fits(take, bound * 1e9, _ALL, what="one picture")
            log.info("max_memory=%g: %d pictures at once", bound, self._at_once)
        return self._at_once

"""x_t of every sample at every timestep: inverted or drawn at T, then denoised step by step."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from diffgeo.config import ScheduleConfig
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.sampling import Inversion, ddim_invert, ddim_sample, initial_noise
from diffgeo.session.cache import Cache
from diffgeo.session.progress import Display
from diffgeo.session.samples import Sample


class Latents:
    """Latents of samples, each computed once.

    Args:
        model: the diffusion model.
        cfg: number of DDIM steps, clipping, inversion.
        cache: keeps latents from run to run.
        display: progress bars.
        found: latents so far, by sample and timestep; shared by contexts whose latents are the same.
    """

    def __init__(
        self,
        model: DiffusionModel,
        cfg: ScheduleConfig,
        cache: Cache,
        display: Display,
        found: dict[tuple[int, int], Tensor],
    ) -> None:
        self._model, self._cfg, self._cache, self._display, self._found = model, cfg, cache, display, found

    def clips(self, sample: Sample) -> bool:
        """Whether x̂0 is clipped while this sample is denoised: ``schedule.clip``, or by where the sample is from."""
        return (sample.x0 is None and self._model.bounded) if self._cfg.clip is None else self._cfg.clip

    def of(self, sample: Sample, t: int) -> Tensor:
        """x_t of a sample, shape (C, H, W): inverted to (or drawn at) the first timestep, T, then denoised to t."""
        key = (sample.index, t)
        if key not in self._found:
            top = self._model.schedule.first(self._cfg.steps)
            if t < top:  # go on from the lowest known timestep above t
                start = min((u for i, u in self._found if i == sample.index and u > t), default=top)
                self._found[key] = self._denoised(sample, self.of(sample, start), start, t)
            elif sample.x0 is not None:
                self._found[key] = self._inverted(sample, sample.x0)
            else:
                assert sample.seed is not None
                self._found[key] = initial_noise(self._model, [sample.seed])[0]
        return self._found[key]

    def _inverted(self, sample: Sample, x0: Tensor) -> Tensor:
        steps, inverter = self._cfg.steps, self._model.inverter
        method = cast(Inversion, self._cfg.inversion)

        def compute() -> Tensor:
            with self._display.task(f"inverting {sample.name}", steps) as advance:
                return ddim_invert(inverter, x0[None], steps=steps, method=method, on_step=advance)[0]

        key = {"inverted": inverter.fingerprint, "x": x0, "steps": steps, "method": method}
        return self._cache.tensor("latents", key, compute)

    def _denoised(self, sample: Sample, x: Tensor, start: int, stop: int) -> Tensor:
        steps, clip, model = self._cfg.steps, self.clips(sample), self._model

        def compute() -> Tensor:
            left = sum(stop < u <= start for u in model.schedule.timesteps(steps))
            with self._display.task(f"{sample.name}: to t = {stop}", left) as advance:
                return ddim_sample(model, x[None], steps=steps, start=start, stop=stop, clip=clip, on_step=advance)[0]

        place = {"start": start, "stop": stop, "steps": steps, "clip": clip}
        return self._cache.tensor("latents", {"denoised": model.fingerprint, "x": x, **place}, compute)

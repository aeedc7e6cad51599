r"""DDIM in both directions (Song, Meng & Ermon 2021).

One step from t to s, with x̂0 = (x_t − √(1−α_t) ε) / √α_t (their eq. 12):

    x_s = √α_s x̂0 + √(1 − α_s − σ²) ε + σ z,      σ = η √((1−α_s)/(1−α_t)) √(1 − α_t/α_s).

With η = 0 and s > t the same formula runs backwards: inversion.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.noise_schedule import CLEAN, Clipping, NoiseSchedule
from diffgeo.errors import ValueRangeError

__all__ = ["ddim_invert", "ddim_sample", "ddim_step", "initial_noise"]

OnStep = Callable[[], None]

_NO_SIGNAL = 1e-6
"""α_t below which √α_t is too small to divide by in single precision: the last few of zero terminal SNR."""


def ddim_step(
    schedule: NoiseSchedule,
    x: Tensor,
    noise: Tensor,
    t: int,
    s: int,
    *,
    eta: float = 0.0,
    clip: bool = False,
    generator: torch.Generator | None = None,
    shared_noise: bool = False,
    x0: Tensor | None = None,
) -> Tensor:
    """One DDIM step from timestep t to timestep s.

    Args:
        schedule: α.
        x: x_t, shape (B, C, H, W).
        noise: ε(x_t, t), same shape.
        t: where x is.
        s: where to go, −1 (clean) … T; below t to denoise, above to invert.
        eta: η in [0, 1]; 0 is deterministic, 1 is DDPM's variance. Must be 0 when s > t.
        clip: clip x̂0 as ``schedule.clipping`` says, to [−1, 1] if it says nothing; ε is kept, as in diffusers.
        generator: source of z, on the CPU; the global one when None.
        shared_noise: the same z for the whole batch, so that edits of one sample differ by the edit alone.
        x0: x̂0(x_t, t), same shape; from x and ε if None.

    Returns:
        x_s, same shape.

    Raises:
        ValueRangeError: η outside [0, 1], or positive going up; no ``x0`` at a timestep without signal (α_t = 0).
    """
    if not 0 <= eta <= 1 or (eta > 0 and s > t):
        raise ValueRangeError(f"eta is {eta} from t={t} to {s}", "allowed is 0 <= eta <= 1, and 0 when inverting")
    alpha_t, alpha_s = schedule.alpha(t), schedule.alpha(s)
    if x0 is None:
        x0 = schedule.predict_x0(x, noise, t)
    if clip:
        x0 = (schedule.clipping or Clipping())(x0)
    if eta == 0:
        return math.sqrt(alpha_s) * x0 + math.sqrt(1 - alpha_s) * noise
    variance = eta**2 * (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)
    shape = (1, *x.shape[1:]) if shared_noise else x.shape
    z = torch.randn(shape, generator=generator, dtype=x.dtype).to(x.device)
    return math.sqrt(alpha_s) * x0 + math.sqrt(max(1 - alpha_s - variance, 0)) * noise + math.sqrt(variance) * z


@torch.no_grad()
def ddim_sample(
    model: DiffusionModel,
    x: Tensor,
    *,
    steps: int,
    start: int | None = None,
    stop: int = CLEAN,
    eta: float = 0.0,
    boost_below: float = 0.0,
    clip: bool = False,
    generator: torch.Generator | None = None,
    shared_noise: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise x from timestep ``start`` to timestep ``stop``.

    Args:
        model: gives ε.
        x: x_start, shape (B, C, H, W).
        steps: length of the whole schedule from T; a part of it is walked.
        start: a timestep of that schedule, T when None.
        stop: a lower timestep of that schedule, or −1 for the clean latent.
        eta: η everywhere.
        boost_below: quality boosting (Asyrp; P23b's scripts: 0.2): η = 1 at timesteps below this fraction of T.
        clip: clip x̂0 at every step, as ``model.schedule.clipping`` says, to [−1, 1] if it says nothing. Generation from
            noise wants it on pixel models (an error of ε is magnified 1/√α_T ≈ 158 times at T); reconstruction of
            inverted pictures must not. ``model.bounded`` is whether the model's own scheduler clips.
        generator: source of randomness if η > 0.
        shared_noise: that randomness is the same for the whole batch.
        on_step: called after every network evaluation.

    Returns:
        x_stop, same shape.

    Raises:
        ValueRangeError: start or stop is no timestep of the schedule, or start lies below stop.
    """
    for t, s in _walk(model.schedule, steps, start, stop):
        step_eta = 1.0 if t < boost_below * model.schedule.T else eta
        # near zero signal x̂0 cannot be had from ε: the network's own is taken
        x0, noise = model.predict(x, t) if model.schedule.alpha(t) < _NO_SIGNAL else (None, model.predict_noise(x, t))
        x = ddim_step(
            model.schedule,
            x,
            noise,
            t,
            s,
            eta=step_eta,
            clip=clip,
            generator=generator,
            shared_noise=shared_noise,
            x0=x0,
        )
        if on_step is not None:
            on_step()
    return x


@torch.no_grad()
def ddim_invert(
    model: DiffusionModel,
    x0: Tensor,
    *,
    steps: int,
    start: int = CLEAN,
    stop: int | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM inversion: the noise from which deterministic DDIM gives back x0.

    Each step solves the sampling step for its start with ε taken at the known end, the first-order inverse that
    the papers use; the clean latent's ε is taken at the schedule's lowest timestep. At zero terminal SNR x_T is ε.

    Args:
        model: gives ε.
        x0: clean latents, shape (B, C, H, W); x_start where ``start`` says so.
        steps: length of the whole schedule.
        start: where to go on from, −1 (clean) or a timestep of that schedule.
        stop: a timestep of that schedule, T when None.
        on_step: called after every network evaluation.

    Returns:
        x_stop, same shape. Never clipped: clipping x̂0 breaks reconstruction.

    Raises:
        ValueRangeError: stop is no timestep of the schedule.
    """
    x = x0
    for t, s in reversed(_walk(model.schedule, steps, stop, start)):
        noise = model.predict_noise(x, t if s == CLEAN else s)
        x = ddim_step(model.schedule, x, noise, s, t)
        if on_step is not None:
            on_step()
    return x


def initial_noise(model: DiffusionModel, seeds: list[int]) -> Tensor:
    """x_T for each seed: standard normal noise, drawn on the CPU so that devices agree.

    Args:
        model: whose latents they are.
        seeds: one a sample; a sample does not depend on its neighbours.

    Returns:
        Shape (len(seeds), C, H, W), on the model's device, in its dtype.
    """
    draws = [torch.randn(model.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws).to(model.device, model.dtype)


def _walk(schedule: NoiseSchedule, steps: int, start: int | None, stop: int) -> list[tuple[int, int]]:
    """Pairs (t, next) from start down to stop."""
    grid = [*schedule.timesteps(steps), CLEAN]
    begin = grid[0] if start is None else start
    for t in (begin, stop):
        if t not in grid:
            raise ValueRangeError(
                f"timestep {t} is not in the schedule of {steps} steps",
                f"nearest is {min(grid, key=lambda g: abs(g - t))}",
            )
    if begin < stop:
        raise ValueRangeError(f"cannot denoise from timestep {begin} up to {stop}", "start must not be below stop")
    first, last = grid.index(begin), grid.index(stop)
    return list(zip(grid[first:last], grid[first + 1 : last + 1], strict=True))

r"""DDIM in both directions (Song, Meng & Ermon 2021), for x_t = a_t x_0 + b_t ε of any noise process.

One step from t to s, with x̂0 = (x_t − b_t ε) / a_t (their eq. 12 for a = √α, b = √(1−α)):

    x_s = a_s x̂0 + √(b_s² − ς²) ε + ς z,      ς² = η² (b_s²/b_t²) (b_t² − (a_t/a_s)² b_s²).

With η = 0 it is the Euler step on the straight path of a rectified flow. With η = 0 and s > t the same formula runs
backwards: inversion.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.noise_schedule import CLEAN, Clipping, NoiseProcess
from diffgeo.errors import ValueRangeError

__all__ = ["INVERSIONS", "Inversion", "ddim_invert", "ddim_sample", "ddim_step", "initial_noise", "predicted"]

OnStep = Callable[[], None]
Inversion = Literal["ddim", "midpoint", "fireflow", "fixed_point"]
INVERSIONS: tuple[Inversion, ...] = get_args(Inversion)
Predict = Callable[[DiffusionModel, Tensor, int], tuple[Tensor | None, Tensor]]


def ddim_step(
    schedule: NoiseProcess,
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
        schedule: a and b.
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
        ValueRangeError: η outside [0, 1], or positive going up; no ``x0`` at a timestep without signal (a_t = 0).
    """
    if not 0 <= eta <= 1 or (eta > 0 and s > t):
        raise ValueRangeError(f"eta is {eta} from t={t} to {s}", "allowed is 0 <= eta <= 1, and 0 when inverting")
    if x0 is None:
        x0 = schedule.predict_x0(x, noise, t)
    if clip:
        x0 = (schedule.clipping or Clipping())(x0)
    if eta == 0:
        return schedule.a(s) * x0 + schedule.b(s) * noise
    variance = schedule.added_variance(t, s, eta)
    shape = (1, *x.shape[1:]) if shared_noise else x.shape
    z = torch.randn(shape, generator=generator, dtype=x.dtype).to(x.device)
    left = math.sqrt(max(schedule.noise_variance(s) - variance, 0))
    return schedule.a(s) * x0 + left * noise + math.sqrt(variance) * z


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
    predict: Predict | None = None,
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
        on_step: called after every step.
        predict: gives what a step takes, as :func:`predicted` does, which is taken if None; edits of h give their own.

    Returns:
        x_stop, same shape.

    Raises:
        ValueRangeError: start or stop is no timestep of the schedule, or start lies below stop.
    """
    for t, s in _walk(model.schedule, steps, start, stop):
        step_eta = 1.0 if t < boost_below * model.schedule.T else eta
        x0, noise = (predict or predicted)(model, x, t)
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
    method: Inversion = "ddim",
    on_step: OnStep | None = None,
) -> Tensor:
    r"""DDIM inversion: the noise from which deterministic DDIM gives back x0.

    x̂0 and ε tell the slope of a path, dx = x̂0 da + ε db. A step from x_s to the noisier x_t takes one slope for all of
    it, x_t = x_s + (a_t − a_s) x̂0 + (b_t − b_s) ε, which is taken

        ddim          at x_s: the first-order inverse that the papers use
        midpoint      half-way, where a first-order half-step leads; two evaluations a step
        fireflow      half-way, where a half-step along the slope of the step before leads; one evaluation a step
                      (FireFlow, arXiv 2412.07517)
        fixed_point   at x_t, as the sampling step does that is inverted: where a first-order step leads, once; two
                      evaluations a step (AIDI, arXiv 2309.04907; ReNoise, arXiv 2403.14602)

    The clean latent's slope is taken with the network at the schedule's lowest timestep, or, if it knows σ = 0 as that
    of a flow does, there. If x_T is noise alone, ``ddim`` gives ε.

    Args:
        model: gives x̂0 and ε.
        x0: clean latents, shape (B, C, H, W); x_start where ``start`` says so.
        steps: length of the whole schedule.
        start: where to go on from, −1 (clean) or a timestep of that schedule.
        stop: a timestep of that schedule, T when None.
        method: where the slope is taken.
        on_step: called after every step.

    Returns:
        x_stop, same shape. Never clipped: clipping x̂0 breaks reconstruction.

    Raises:
        ValueRangeError: stop is no timestep of the schedule, or there is no such method.
    """
    if method not in INVERSIONS:
        raise ValueRangeError(f"there is no inversion {method!r}", f"allowed are {', '.join(INVERSIONS)}")
    schedule, x = model.schedule, x0
    slope: tuple[Tensor, Tensor] | None = None
    for t, s in reversed(_walk(schedule, steps, stop, start)):
        if method != "fireflow" or slope is None:
            slope = _slope(model, x, t if s == CLEAN and not schedule.network_knows_clean else s, s)
        if method in ("midpoint", "fireflow"):
            middle = (max(s, 0) + t) // 2
            slope = _slope(model, _along(schedule, x, slope, s, middle), middle, middle)
        elif method == "fixed_point":
            slope = _slope(model, _along(schedule, x, slope, s, t), t, t)
        if method == "ddim":
            clean, noise = slope
            x = schedule.a(t) * clean + schedule.b(t) * noise
        else:
            x = _along(schedule, x, slope, s, t)
        if on_step is not None:
            on_step()
    return x


def _slope(model: DiffusionModel, x: Tensor, t: int, at: int) -> tuple[Tensor, Tensor]:
    """x̂0 and ε of x at timestep ``at``, from the network at timestep t."""
    clean, noise = predicted(model, x, t)
    return model.schedule.predict_x0(x, noise, at) if clean is None or t != at else clean, noise


def _along(schedule: NoiseProcess, x: Tensor, slope: tuple[Tensor, Tensor], s: int, t: int) -> Tensor:
    """x_s + (a_t − a_s) x̂0 + (b_t − b_s) ε."""
    clean, noise = slope
    return x + (schedule.a(t) - schedule.a(s)) * clean + (schedule.b(t) - schedule.b(s)) * noise


def predicted(model: DiffusionModel, x: Tensor, t: int) -> tuple[Tensor | None, Tensor]:
    """What a DDIM step takes: x̂0 and ε.

    No x̂0 if it is as exact from x and ε, else (near zero signal) the network's own.

    Args:
        model: gives both.
        x: x_t, shape (B, C, H, W).
        t: timestep.

    Returns:
        x̂0 or None, and ε, each of shape (B, C, H, W).
    """
    if model.schedule.noise_tells_x0(t):
        return None, model.predict_noise(x, t)
    return model.predict(x, t)


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


def _walk(schedule: NoiseProcess, steps: int, start: int | None, stop: int) -> list[tuple[int, int]]:
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

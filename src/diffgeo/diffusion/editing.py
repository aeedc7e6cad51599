r"""Moving a latent along a direction, and keeping it a picture on the way.

- Single step: x' = x + γ v.
- Distortion normalisation (P23a, section 3.3): with x0(·) the predicted clean picture, x0' is x0(x + γv) given the
  mean and standard deviation (over its pixels) of x0(x), and, for x_t = a_t x_0 + b_t ε,

      x' = x + a_t / (1 − κ b_t) · (x0' − x0(x)).

  The factor undoes the one by which x0 moves if the change of ε is κ times that of x; x' is then about |γ| from x. If ε
  changes otherwise, it can be many times as far, so the result can be rescaled to |γ|, which keeps its direction. In a
  rectified flow κ is 1, and so is the factor.
- x-space guidance (P23b): x ← x + s · [ε(x + γv, t) − ε(x, t)], repeated.

Functions take the ε-predictor, not a model, so that each is tested against its equation on an analytic one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffgeo.diffusion.noise_schedule import NoiseProcess
from diffgeo.errors import ShapeError, ValueRangeError

__all__ = ["KAPPA", "match_strength", "normalise_distortion", "single_step", "x_space_guidance"]

NoisePredictor = Callable[[Tensor, int], Tensor]

KAPPA = 0.99
"""κ of P23a."""
ANNULLED = 1e-3
"""Of the length of γv: what is left of a step below this is rounding."""


def single_step(x: Tensor, v: Tensor, gammas: Tensor) -> Tensor:
    """The latents x + γ v for several γ.

    Args:
        x: one latent, shape (C, H, W).
        v: unit direction, shape (d,), d = C·H·W.
        gammas: signed lengths in units of x, shape (k,).

    Returns:
        shape (k, C, H, W).

    Raises:
        ShapeError: v has other than d numbers.
    """
    if v.shape != (x.numel(),):
        raise ShapeError(f"v has shape {tuple(v.shape)}", f"x has {x.numel()} numbers")
    return x + gammas.to(x).reshape(-1, *[1] * x.ndim) * v.reshape(x.shape)


@torch.no_grad()
def normalise_distortion(
    predict_noise: NoisePredictor,
    schedule: NoiseProcess,
    x: Tensor,
    moved: Tensor,
    t: int,
    *,
    kappa: float = KAPPA,
    rescale: bool = False,
) -> Tensor:
    """Replace x + γv by a point whose predicted picture keeps the original's mean and contrast (P23a).

    Args:
        predict_noise: (x (B, C, H, W), t) → ε.
        schedule: a and b.
        x: originals, shape (B, C, H, W) or (1, C, H, W).
        moved: x + γv, shape (B, C, H, W).
        t: their timestep.
        kappa: κ in [0, 1); nearer 1 moves further at large t; without effect if rescaled, and in a rectified flow.
        rescale: give x' − x the length of γv, each of the batch its own; one that the normalisation takes back to x,
            to within :data:`ANNULLED` of γv, stays there.

    Returns:
        x', shape of ``moved``; ``moved`` itself if a_t = 0, where x holds no picture whose mean could be kept.

    Raises:
        ValueRangeError: κ outside [0, 1).
    """
    if not 0 <= kappa < 1:
        raise ValueRangeError(f"edit.kappa is {kappa}", "allowed is 0 <= kappa < 1")
    if schedule.a(t) == 0:
        return moved
    before = schedule.predict_x0(x, predict_noise(x, t), t)
    after = schedule.predict_x0(moved, predict_noise(moved, t), t)
    pixels = (1, 2, 3)
    scale = before.std(dim=pixels, keepdim=True) / after.std(dim=pixels, keepdim=True).clamp_min(1e-12)
    matched = (after - after.mean(dim=pixels, keepdim=True)) * scale + before.mean(dim=pixels, keepdim=True)
    offset = schedule.distortion_factor(t, kappa) * (matched - before)
    if rescale:
        wanted, found = ((y.flatten(1).norm(dim=1)).reshape(-1, 1, 1, 1) for y in (moved - x, offset))
        offset = torch.where(found > ANNULLED * wanted, offset * (wanted / found), offset)
    return x + offset


@torch.no_grad()
def x_space_guidance(
    predict_noise: NoisePredictor, x: Tensor, offset: Tensor, t: int, *, scale: float, steps: int
) -> Tensor:
    """Guidance x ← x + s · [ε(x + γv, t) − ε(x, t)], ``steps`` times (P23b).

    Args:
        predict_noise: (x (B, C, H, W), t) → ε.
        x: shape (B, C, H, W).
        offset: γ v, shape (C, H, W) or (B, C, H, W).
        t: timestep of x.
        scale: s (P23b's scripts: 0.1 on CelebA-HQ, 1 on Stable Diffusion).
        steps: repetitions (16 there).

    Returns:
        The guided latents, shape of x.

    Raises:
        ValueRangeError: steps < 1.
    """
    if steps < 1:
        raise ValueRangeError(f"edit.steps is {steps}", "guidance needs at least 1")
    for _ in range(steps):
        x = x + scale * (predict_noise(x + offset, t) - predict_noise(x, t))
    return x


def match_strength(
    change: Callable[[Tensor, Tensor], Tensor],
    target: float,
    upper: Tensor,
    *,
    start: Tensor | None = None,
    tol: float = 0.03,
    max_steps: int = 10,
) -> tuple[Tensor, Tensor]:
    """Strengths γ at which several edits change a picture equally: the secant method on log change against log γ.

    A change grows about as a power of γ, which is a straight line in logarithms; a trial that leaves the bracket found
    so far is replaced by the bracket's geometric middle.

    Args:
        change: (γ (j,), which of the k edits (j,)) → measured changes (j,), 0 at γ = 0; the edits that are not matched
            yet are evaluated together.
        target: the wanted change, positive.
        upper: largest γ of each edit, shape (k,), positive.
        start: first γ of each edit, shape (k,); ``upper`` if None or larger.
        tol: relative error of the change at which an edit is matched.
        max_steps: evaluations after the first.

    Returns:
        (γ (k,), the change measured there (k,)). An edit that stays below the target at ``upper`` keeps that γ; one
        that was not matched within ``max_steps`` has the best γ that was tried. The change tells.

    Raises:
        ValueRangeError: target or an upper γ is not positive, or a change is NaN.
    """
    if not target > 0:
        raise ValueRangeError(f"the change to match is {target}", "it must be positive, raise edit.strength")
    if not bool((upper > 0).all()):
        raise ValueRangeError(f"the largest γ of an edit is {upper.min().item():g}", "it must be positive")
    top, gamma = upper.double().log(), upper.clone() if start is None else torch.minimum(start.to(upper), upper)
    low, high = torch.full_like(top, -math.inf), torch.full_like(top, math.inf)
    best, found, best_error = gamma.clone(), torch.zeros_like(upper), torch.full_like(top, math.inf)
    last, last_error = torch.full_like(top, math.nan), torch.full_like(top, math.nan)
    done = torch.zeros_like(top, dtype=torch.bool)
    for _ in range(1 + max_steps):
        active = (~done).nonzero()[:, 0]
        if len(active) == 0:
            break
        measured = torch.full_like(upper, math.nan)
        measured[active] = change(gamma[active], active).to(upper)
        if bool(measured[active].isnan().any()):
            raise ValueRangeError("the measured change is NaN: the edit broke the picture", "lower edit.strength")
        trial, error = gamma.double().log(), (measured.double() / target).clamp_min(1e-9).log()
        better = error.abs() < best_error.abs()
        best, found = torch.where(better, gamma, best), torch.where(better, measured, found)
        best_error = torch.where(better, error, best_error)
        low = torch.where(error < 0, torch.maximum(low, trial), low)
        high = torch.where(error >= 0, torch.minimum(high, trial), high)
        done = done | (found / target - 1).abs().le(tol) | (gamma >= upper) & (error < 0)
        log_gamma = _bracketed(_secant_step(trial, error, last, last_error), low, high, top)
        last, last_error = trial, error
        gamma = torch.where(log_gamma >= top, upper, log_gamma.exp().to(upper))
    return best, found


def _secant_step(trial: Tensor, error: Tensor, last: Tensor, last_error: Tensor) -> Tensor:
    """The next log γ, shape (k,), from two trials and their log errors."""
    slope = (error - last_error) / (trial - last)
    # between a distance, which grows as γ, and a squared one, as γ²
    slope = torch.where(slope.isfinite() & (slope > 0.1), slope, torch.full_like(slope, 1.5))
    return trial - (error / slope).clamp(-2, 2)


def _bracketed(step: Tensor, low: Tensor, high: Tensor, top: Tensor) -> Tensor:
    """A log γ, at most ``top``; outside the bracket its middle, or, if one end is not known yet, towards that end."""
    step = torch.minimum(step, top)
    middle = torch.where(high.isinf(), top, torch.where(low.isinf(), high - 1, (low + high) / 2))
    return torch.where((step > low) & (step < high), step, middle)

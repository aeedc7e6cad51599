r"""Moving a latent along a direction, and keeping it a picture on the way.

- Single step: x' = x + γ v.
- Distortion normalisation (P23a, section 3.3): with x0(·) the predicted clean picture, x0' is x0(x + γv) given the
  mean and standard deviation (over its pixels) of x0(x), and

      x' = x + √α_t / (1 − κ √(1−α_t)) · (x0' − x0(x)).

- x-space guidance (P23b): x ← x + s · [ε(x + γv, t) − ε(x, t)], repeated.

Functions take the ε-predictor, not a model, so that each is tested against its equation on an analytic one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.noise_schedule import NoiseSchedule

__all__ = ["KAPPA", "match_strength", "normalise_distortion", "single_step", "x_space_guidance"]

NoisePredictor = Callable[[Tensor, int], Tensor]

KAPPA = 0.99
"""κ of P23a."""


def single_step(x: Tensor, v: Tensor, gammas: Tensor) -> Tensor:
    """X + γ v for several γ.

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
        raise ShapeError(f"v has shape {tuple(v.shape)}; x has {x.numel()} numbers")
    return x + gammas.to(x).reshape(-1, *[1] * x.ndim) * v.reshape(x.shape)


@torch.no_grad()
def normalise_distortion(
    predict_noise: NoisePredictor,
    schedule: NoiseSchedule,
    x: Tensor,
    moved: Tensor,
    t: int,
    *,
    kappa: float = KAPPA,
) -> Tensor:
    """Replace x + γv by a point whose predicted picture keeps the original's mean and contrast (P23a).

    Args:
        predict_noise: (x (B, C, H, W), t) → ε.
        schedule: α.
        x: originals, shape (B, C, H, W) or (1, C, H, W).
        moved: x + γv, shape (B, C, H, W).
        t: their timestep.
        kappa: κ in [0, 1); nearer 1 moves further at large t.

    Returns:
        x', shape of ``moved``.

    Raises:
        ValueRangeError: κ outside [0, 1).
    """
    if not 0 <= kappa < 1:
        raise ValueRangeError(f"edit.kappa is {kappa}; allowed is 0 <= kappa < 1")
    x = x.expand_as(moved)
    before = schedule.predict_x0(x, predict_noise(x, t), t)
    after = schedule.predict_x0(moved, predict_noise(moved, t), t)
    pixels = (1, 2, 3)
    scale = before.std(dim=pixels, keepdim=True) / after.std(dim=pixels, keepdim=True).clamp_min(1e-12)
    matched = (after - after.mean(dim=pixels, keepdim=True)) * scale + before.mean(dim=pixels, keepdim=True)
    alpha = schedule.alpha(t)
    return x + math.sqrt(alpha) / (1 - kappa * math.sqrt(1 - alpha)) * (matched - before)


@torch.no_grad()
def x_space_guidance(
    predict_noise: NoisePredictor, x: Tensor, offset: Tensor, t: int, *, scale: float, steps: int
) -> Tensor:
    """X ← x + s · [ε(x + γv, t) − ε(x, t)], ``steps`` times (P23b).

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
        raise ValueRangeError(f"edit.steps is {steps}; guidance needs at least 1")
    for _ in range(steps):
        x = x + scale * (predict_noise(x + offset, t) - predict_noise(x, t))
    return x


def match_strength(
    change: Callable[[Tensor, Tensor], Tensor], target: float, upper: Tensor, *, tol: float = 0.03, max_steps: int = 10
) -> tuple[Tensor, Tensor]:
    """Strengths γ at which several edits change a picture equally, by regula falsi (Illinois) on [0, upper].

    Args:
        change: (γ (j,), which of the k edits (j,)) → measured changes (j,), 0 at γ = 0; the edits that are not matched
            yet are evaluated together.
        target: the wanted change, positive.
        upper: largest γ of each edit, shape (k,).
        tol: relative error of the change at which an edit is matched.
        max_steps: evaluations after the one at ``upper``.

    Returns:
        (γ (k,), the change measured there (k,)). An edit that stays below the target at ``upper`` keeps that γ; one
        that was not matched within ``max_steps`` has the best γ that was tried. The change tells.

    Raises:
        ValueRangeError: target is not positive.
    """
    if not target > 0:
        raise ValueRangeError(f"the change to match is {target}; it must be positive, raise edit.strength")
    low, high = torch.zeros_like(upper), upper.clone()
    f_low, f_high = torch.full_like(upper, -target), change(upper, torch.arange(len(upper))).to(upper) - target
    best, best_f = upper.clone(), f_high.clone()
    done = f_high <= tol * target
    side = torch.zeros_like(upper)
    for _ in range(max_steps):
        if bool(done.all()):
            break
        trial = torch.where(done, best, (low * f_high - high * f_low) / (f_high - f_low))
        active = (~done).nonzero()[:, 0]
        value = f_high.clone()
        value[active] = change(trial[active], active).to(upper) - target
        better = ~done & (value.abs() < best_f.abs())
        best, best_f = torch.where(better, trial, best), torch.where(better, value, best_f)
        done = done | (best_f.abs() <= tol * target)
        below = value < 0
        # an end that stays twice is weighed down, or the search creeps from one side
        f_high = torch.where(below, torch.where(side < 0, f_high / 2, f_high), value)
        f_low = torch.where(below, value, torch.where(side > 0, f_low / 2, f_low))
        low, high = torch.where(below, trial, low), torch.where(below, high, trial)
        side = torch.where(below, -1.0, 1.0)
    return best, best_f + target

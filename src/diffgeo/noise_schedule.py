r"""Arithmetic of the forward process x_t = √α_t x_0 + √(1−α_t) ε.

α_t is the **cumulative** product throughout (DDIM's α, diffusers' ``alphas_cumprod``). Timesteps are integers
0 … T, T the last training timestep; −1 stands for the clean picture, α₋₁ = 1. The three parametrisations of a
network (ε, v, x0) are turned into ε here, so that nothing else has to know of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffgeo.errors import ModelError, ValueRangeError

__all__ = ["CLEAN", "NoiseSchedule"]

CLEAN = -1
"""The timestep of a clean picture, at which α = 1."""


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """α_t of a pretrained model and the DDIM sub-schedules of it.

    Attributes:
        alphas_cumprod: α_t for t = 0 … T, shape (T + 1,), float64, on the CPU, falling within (0, 1).
        prediction: what the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise ModelError(
                f"the scheduler's prediction_type is {self.prediction!r}; "
                "diffgeo knows 'epsilon', 'v_prediction' and 'sample'"
            )
        alphas = self.alphas_cumprod
        if not len(alphas) or not bool(((alphas > 0) & (alphas < 1)).all()):
            raise ModelError(
                "the scheduler's alphas_cumprod leave (0, 1); schedules of zero terminal SNR have no x0 at T, "
                "set rescale_betas_zero_snr to false"
            )

    @property
    def T(self) -> int:  # noqa: N802 (the papers' name)
        """Last training timestep, 999 for the usual schedules."""
        return len(self.alphas_cumprod) - 1

    def alpha(self, t: int) -> float:
        """α_t.

        Args:
            t: timestep in −1 … T; −1 (clean) gives 1.

        Raises:
            ValueRangeError: t is outside −1 … T.
        """
        if not CLEAN <= t <= self.T:
            raise ValueRangeError(f"timestep {t} is outside the schedule; allowed are -1 (clean) to {self.T}")
        return 1.0 if t == CLEAN else float(self.alphas_cumprod[t])

    def timesteps(self, steps: int) -> list[int]:
        """DDIM timesteps from T downwards, evenly spaced ("trailing": the first is T itself).

        Args:
            steps: number of network evaluations, 1 … T + 1.

        Returns:
            ``steps`` falling integers; the first is T, the step after the last leads to the clean picture.

        Raises:
            ValueRangeError: steps is outside 1 … T + 1.
        """
        n = self.T + 1
        if not 1 <= steps <= n:
            raise ValueRangeError(f"schedule.steps is {steps}; allowed are 1 to {n}")
        return [round(n - i * n / steps) - 1 for i in range(steps)]

    def nearest(self, t_frac: float, steps: int) -> int:
        """The timestep of the DDIM schedule nearest to the fraction ``t_frac`` of T.

        Args:
            t_frac: in (0, 1]; 1 is T.
            steps: length of the DDIM schedule.

        Raises:
            ValueRangeError: t_frac is outside (0, 1], or lies more than half a step of the schedule from all its
                timesteps (which only fractions near 0 can).
        """
        if not 0 < t_frac <= 1:
            raise ValueRangeError(f"a fraction of T is {t_frac}; allowed is 0 < fraction <= 1")
        found = min(self.timesteps(steps), key=lambda t: abs(t - t_frac * self.T))
        if abs(found - t_frac * self.T) > 0.5 * (self.T + 1) / steps + 1:  # timesteps are rounded
            raise ValueRangeError(
                f"a fraction of T is {t_frac:g}, but the lowest of {steps} timesteps is t = {found}, "
                f"{self.fraction(found):g} T, more than half a step away; raise the fraction, or schedule.steps"
            )
        return found

    def fraction(self, t: int) -> float:
        """The share (t + 1) / (T + 1) of all noising steps that x_t has gone through, in (0, 1]; 1 is T.

        The k-th of n evenly spaced timesteps, counted from the picture, has the fraction k / n.
        """
        return (t + 1) / (self.T + 1)

    def to_noise(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """ε from the network's output at (x, t), whichever of ε, v, x0 it predicts (Salimans & Ho 2022)."""
        if self.prediction == "epsilon":
            return output
        signal, noise = math.sqrt(self.alpha(t)), math.sqrt(1 - self.alpha(t))
        if self.prediction == "v_prediction":
            return signal * output + noise * x
        return (x - signal * output) / noise

    def predict_x0(self, x: Tensor, noise: Tensor, t: int) -> Tensor:
        """x0(x) = (x − √(1−α_t) ε) / √α_t (DDIM, eq. 9); shapes as x."""
        alpha = self.alpha(t)
        return (x - math.sqrt(1 - alpha) * noise) / math.sqrt(alpha)

    def add_noise(self, x0: Tensor, noise: Tensor, t: int) -> Tensor:
        """x_t = √α_t x0 + √(1−α_t) ε; shapes as x0."""
        alpha = self.alpha(t)
        return math.sqrt(alpha) * x0 + math.sqrt(1 - alpha) * noise

    @classmethod
    def of(cls, scheduler: object) -> NoiseSchedule:
        """The schedule of any diffusers scheduler that has ``alphas_cumprod``.

        Raises:
            ModelError: it has none (its noise process is not a discrete DDPM).
        """
        alphas = getattr(scheduler, "alphas_cumprod", None)
        if not isinstance(alphas, Tensor):
            raise ModelError(
                f"{type(scheduler).__name__} has no alphas_cumprod; diffgeo needs a DDPM/DDIM-type scheduler"
            )
        prediction = getattr(scheduler, "config", {}).get("prediction_type", "epsilon")
        return cls(alphas.detach().to("cpu", torch.float64), prediction)

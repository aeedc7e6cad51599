r"""The noise process of rectified flows (SD3, Flux, Sana): the straight path x_t = (1 − σ_t) x_0 + σ_t ε.

From the velocity v = dx/dσ = ε − x_0 follow x̂0 = x − σ v and ε = x + (1 − σ) v, at every σ in [0, 1].
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from diffgeo.diffusion.noise_schedule import CLEAN, Clipping, NoiseProcess, NoiseSchedule
from diffgeo.diffusion.scheduler_fields import FLOW_SCHEDULERS, Config, read_scheduler
from diffgeo.errors import ModelError

__all__ = ["RectifiedFlow", "noise_process"]


@dataclass(frozen=True, slots=True)
class RectifiedFlow(NoiseProcess):
    """The straight path from picture to noise: x_t = (1 − σ_t) x_0 + σ_t ε.

    DDIM with η = 0 takes Euler steps on it, x + (σ_s − σ_t) v.

    Attributes:
        sigmas: σ_t for t = 0 … T, shape (T + 1,), float64, on the CPU, rising within (0, 1].
        prediction: what the network predicts: ``velocity``, ``epsilon`` or ``sample``.
        time_scale: the network is given ``time_scale`` σ as its time.
        clipping: of x̂0 in generation, as the scheduler says; None is none.
        times: what the network is given as its time instead, shape (T + 1,): some schedulers round it. None is
            ``time_scale`` σ.
    """

    sigmas: Tensor
    prediction: str = "velocity"
    time_scale: float = 1000.0
    clipping: Clipping | None = None
    times: Tensor | None = None

    spacing = "trailing"
    steps_offset = 0

    def __post_init__(self) -> None:
        if self.prediction not in ("velocity", "epsilon", "sample"):
            raise ModelError(
                f"a rectified flow's network predicts {self.prediction!r}",
                "diffgeo knows 'velocity', 'epsilon' and 'sample'",
            )
        sigmas = self.sigmas
        if not len(sigmas) or not bool(((sigmas > 0) & (sigmas <= 1)).all()) or bool((sigmas.diff() <= 0).any()):
            raise ModelError(
                "the scheduler's sigmas do not rise from above 0 to at most 1", "correct scheduler_config.json"
            )
        if sigmas[-1] == 1 and self.prediction == "epsilon":
            raise ModelError(
                "the flow begins at noise alone (σ = 1) and the network predicts noise, which tells no x0 there",
                "set prediction_type to what it was trained on",
            )

    @property
    def determinants(self) -> dict[str, object]:
        """See the base class."""
        return {"process": "rectified flow"} | asdict(self)

    @property
    def T(self) -> int:  # noqa: N802 (the papers' name)
        """See the base class."""
        return len(self.sigmas) - 1

    def sigma(self, t: int) -> float:
        """σ_t; arguments and errors as :meth:`NoiseProcess.b`."""
        self._check(t)
        return 0.0 if t == CLEAN else float(self.sigmas[t])

    def a(self, t: int) -> float:
        """1 − σ_t; see the base class."""
        return 1 - self.sigma(t)

    def b(self, t: int) -> float:
        """σ_t; see the base class."""
        return self.sigma(t)

    def noise_variance(self, t: int) -> float:
        """σ_t²; see the base class."""
        return self.sigma(t) ** 2

    def network_time(self, t: int) -> float:
        """See the base class."""
        return self.time_scale * self.sigma(t) if self.times is None or t == CLEAN else float(self.times[t])

    def noise_tells_x0(self, t: int) -> bool:
        """No: x̂0 = x − σ v needs no division, and near σ = 1 a division by 1 − σ would cost digits."""
        self._check(t)
        return False

    @property
    def network_knows_clean(self) -> bool:
        """Yes, at σ = 0, unless it predicts x0, which tells no ε there."""
        return self.prediction != "sample"

    def distortion_factor(self, t: int, kappa: float) -> float:  # noqa: ARG002 (the base class's)
        """1, whatever κ: that is a / (1 − κ b) at κ = 1, while a smaller κ would annul edits near σ = 1.

        κ below 1 is there for the variance preserving process, whose factor at κ = 1 grows without bound towards T.
        """
        self._check(t)
        return 1.0

    def to_noise(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """See the base class."""
        if self.prediction == "velocity":
            return x + self.a(t) * output
        return output if self.prediction == "epsilon" else (x - self.a(t) * output) / self.b(t)

    def to_clean(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """See the base class; that of the velocity and x0 is defined at σ = 1, too."""
        if self.prediction == "velocity":
            return x - self.b(t) * output
        return output if self.prediction == "sample" else self.predict_x0(x, output, t)

    @classmethod
    def of(cls, scheduler: object, *, steps: int | None = None, tokens: int | None = None) -> RectifiedFlow:
        """The flow of a diffusers scheduler: ``FlowMatchEulerDiscreteScheduler``, or another with ``use_flow_sigmas``.

        With u = (t + 1)/(T + 1), σ_t = s u / (1 + (s − 1) u) for the scheduler's static shift s, or the dynamic one of
        so many image tokens.

        Args:
            scheduler: with a config, every field of which ``scheduler_fields`` understands.
            steps: the timesteps 0 … steps − 1 are those that the scheduler itself visits in so many steps, as in the
                pipelines of SD3 and Sana; by default they are the training timesteps, of which sampling takes evenly
                spaced ones, as ``FluxPipeline`` does.
            tokens: image tokens, for a dynamic shift.

        Raises:
            ModelError: a field is refused; a dynamic shift without ``tokens``, or, without ``steps``, a terminal one,
                which depends on them.
        """
        config = read_scheduler(type(scheduler).__name__, getattr(scheduler, "config", {}))
        mu = _dynamic_mu(config, tokens) if config.get("use_dynamic_shifting", False) else None
        predicted = config.get("prediction_type", "flow_prediction")
        prediction = "velocity" if predicted == "flow_prediction" else predicted
        n = config.get("num_train_timesteps", 1000)
        if steps is not None:
            grid: Any = copy.deepcopy(scheduler)
            grid.set_timesteps(steps, **({} if mu is None else {"mu": mu}))
            sigmas, times = grid.sigmas[:-1].flip(0).double(), grid.timesteps.flip(0).double()
            return cls(sigmas, prediction, float(n), Clipping.of(config), times)
        if config.get("shift_terminal"):
            raise ModelError(
                "the scheduler's shift_terminal depends on the number of steps", "say model.own_steps=NUMBER"
            )
        if mu is None:
            shift = float(config["shift"] if "shift" in config else config.get("flow_shift", 1.0))
        else:
            shift = mu if config.get("time_shift_type") == "linear" else math.exp(mu)
        u = torch.arange(1, n + 1, dtype=torch.float64) / n
        return cls(shift * u / (1 + (shift - 1) * u), prediction, float(n), Clipping.of(config))


def noise_process(
    scheduler: object, *, spacing: str | None = "trailing", tokens: int | None = None, steps: int | None = None
) -> NoiseProcess:
    """The noise process that a diffusers scheduler belongs to.

    Arguments and errors are those of :meth:`NoiseSchedule.of` and :meth:`RectifiedFlow.of`; ``steps`` is refused where
    the process is no flow.
    """
    config = getattr(scheduler, "config", {})
    if type(scheduler).__name__ in FLOW_SCHEDULERS or config.get("use_flow_sigmas", False):
        if spacing != "trailing":
            raise ModelError(
                f"spacing={spacing!r} of a rectified flow, whose own timesteps depend on their number",
                "take spacing='trailing', and model.own_steps for the timesteps of the scheduler itself",
            )
        return RectifiedFlow.of(scheduler, steps=steps, tokens=tokens)
    if steps is not None:
        raise ModelError(
            f"model.own_steps={steps} is of rectified flows, and this model is none",
            "leave it out, model.scheduler={timestep_spacing: leading} has the timesteps of diffusers' DDIM",
        )
    return NoiseSchedule.of(scheduler, spacing=spacing)


def _dynamic_mu(config: Config, tokens: int | None) -> float:
    """μ, linear in the number of image tokens (Flux, SD3.5)."""
    if tokens is None:
        raise ModelError("the scheduler's shift depends on the size of the picture", "say how many image tokens")
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return float(low + (high - low) * (tokens - few) / (many - few))

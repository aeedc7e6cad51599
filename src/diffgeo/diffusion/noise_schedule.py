r"""Arithmetic of the forward process x_t = a_t x_0 + b_t ε, for every process in terms of (a_t, b_t) alone.

- Variance preserving (DDPM, Stable Diffusion), :class:`NoiseSchedule`: a = √α_t, b = √(1−α_t), α_t being the
  **cumulative** product throughout (DDIM's α, diffusers' ``alphas_cumprod``).
- Rectified flow (SD3, Flux): a = 1 − σ_t, b = σ_t, in :mod:`diffgeo.diffusion.rectified_flow`.

Timesteps are integers 0 … T, T the last training timestep; −1 stands for the clean picture, a = 1 and b = 0 (or α_0, if
a variance preserving scheduler ends there). The parametrisations of a network are turned into ε and x̂0 here, so that
nothing else has to know of them.

If x_T is noise alone (a_T = 0: a flow, or zero terminal SNR, Lin et al. 2024), x̂0 cannot be had from ε and is the
network's own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffgeo.diffusion.scheduler_fields import REFUSED_SCHEDULERS, read_scheduler
from diffgeo.errors import ModelError, ValueRangeError

__all__ = ["CLEAN", "Clipping", "NoiseProcess", "NoiseSchedule"]

CLEAN = -1
"""The timestep of a clean picture."""
_NO_SIGNAL = 1e-6
"""α_t below which √α_t is too small to divide by in single precision: the last few of zero terminal SNR."""


@dataclass(frozen=True, slots=True)
class Clipping:
    """How x̂0 is kept in range while denoising.

    Attributes:
        largest: c of clipping to [−c, c], positive; of thresholding, the largest threshold, at least 1.
        quantile: of |x̂0| in dynamic thresholding (Saharia et al. 2022), in [0, 1]; None clips.
    """

    largest: float = 1.0
    quantile: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Clipping | None:
        """What a scheduler's config says of x̂0; None if it is kept as it is."""
        if config.get("thresholding", False):
            return cls(float(config["sample_max_value"]), float(config["dynamic_thresholding_ratio"]))
        return cls(float(config.get("clip_sample_range", 1.0))) if config.get("clip_sample", False) else None

    def __call__(self, x0: Tensor) -> Tensor:
        """x̂0 clipped to [−c, c]; thresholded, to [−q, q] and divided by q, the sample's quantile within [1, c].

        Args:
            x0: shape (B, C, H, W).

        Returns:
            The same shape.
        """
        if self.quantile is None:
            return x0.clamp(-self.largest, self.largest)
        size = torch.quantile(x0.abs().flatten(1), self.quantile, dim=1).clamp(1, self.largest)
        size = size.reshape(-1, *[1] * (x0.ndim - 1))
        return torch.minimum(torch.maximum(x0, -size), size) / size


class NoiseProcess(ABC):
    """What sampling, inversion and editing ask of a noise process.

    Attributes:
        prediction: what the network predicts: ``epsilon``, ``sample``, ``v_prediction`` or ``velocity``.
        clipping: of x̂0 in generation, as the scheduler says; None is none.
        spacing: of timesteps, ``trailing`` or ``leading``.
        steps_offset: added to ``leading`` timesteps.
    """

    __slots__ = ()

    prediction: str
    clipping: Clipping | None
    spacing: str
    steps_offset: int

    @property
    @abstractmethod
    def determinants(self) -> dict[str, object]:
        """Everything that shapes numbers, for keys and digests."""

    @property
    @abstractmethod
    def T(self) -> int:  # noqa: N802 (the papers' name)
        """Last training timestep, 999 for the usual schedules."""

    @abstractmethod
    def a(self, t: int) -> float:
        """a_t, the share of the picture; ``t`` and errors as :meth:`b`."""

    @abstractmethod
    def b(self, t: int) -> float:
        """b_t, the share of the noise.

        Args:
            t: timestep in −1 … T; −1 is clean.

        Raises:
            ValueRangeError: t is outside −1 … T.
        """

    @abstractmethod
    def noise_variance(self, t: int) -> float:
        """b_t²; ``t`` and errors as :meth:`b`."""

    @abstractmethod
    def network_time(self, t: int) -> float:
        """What the network is given as its time, for the timestep t."""

    @abstractmethod
    def noise_tells_x0(self, t: int) -> bool:
        """Whether x̂0 is as exact from x and ε as from the network's output: a_t is not too small to divide by."""

    @property
    @abstractmethod
    def network_knows_clean(self) -> bool:
        """Whether the network can be evaluated at the clean picture, b = 0."""

    @abstractmethod
    def distortion_factor(self, t: int, kappa: float) -> float:
        """By what distortion normalisation multiplies a change of x̂0 to have one of x (P23a, section 3.3).

        Args:
            t: timestep, 0 … T.
            kappa: κ in [0, 1), the change of ε that is assumed for a change of x by 1.
        """

    def added_variance(self, t: int, s: int, eta: float) -> float:
        """ς² = η² (b_s²/b_t²) (b_t² − (a_t/a_s)² b_s²), the variance that a DDIM step from t down to s adds.

        Args:
            t: timestep of x.
            s: where the step goes, below t.
            eta: η in [0, 1]; 1 is the posterior variance of DDPM.
        """
        kept = (self.a(t) / self.a(s)) ** 2 * self.noise_variance(s)
        return eta**2 * self.noise_variance(s) / self.noise_variance(t) * (self.noise_variance(t) - kept)

    def log_snr(self, t: int) -> float:
        """log(a_t²/b_t²), by which processes are compared; ∞ for a clean picture, −∞ for noise alone.

        Args:
            t: timestep in −1 … T.

        Raises:
            ValueRangeError: t is outside −1 … T.
        """
        a, b = self.a(t), self.b(t)
        if a == 0 or b == 0:
            return -math.inf if a == 0 else math.inf
        return 2 * (math.log(a) - math.log(b))

    def add_noise(self, x0: Tensor, noise: Tensor, t: int) -> Tensor:
        """x_t = a_t x0 + b_t ε; shapes as x0."""
        return self.a(t) * x0 + self.b(t) * noise

    def predict_x0(self, x: Tensor, noise: Tensor, t: int) -> Tensor:
        """x0(x) = (x − b_t ε) / a_t (DDIM, eq. 9); shapes as x.

        Raises:
            ValueRangeError: a_t is 0, so that x is noise alone.
        """
        if self.a(t) == 0:
            raise ValueRangeError(
                f"at timestep {t} of this model x is noise alone (zero terminal SNR), and noise tells no x0",
                "take a timestep below T",
            )
        return (x - self.b(t) * noise) / self.a(t)

    @abstractmethod
    def to_noise(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """ε from the network's output at (x, t), whatever it predicts; shapes as x."""

    @abstractmethod
    def to_clean(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """x̂0 from the network's output at (x, t), whatever it predicts; shapes as x."""

    def timesteps(self, steps: int) -> list[int]:
        """DDIM timesteps, evenly spaced and falling.

        "Trailing" ones begin at T itself; "leading" ones end at ``steps_offset``.

        Args:
            steps: number of network evaluations, 1 … T + 1.

        Returns:
            ``steps`` falling integers; the step after the last leads to the clean picture.

        Raises:
            ValueRangeError: steps is outside 1 … T + 1, or ``steps_offset`` leaves no room for so many.
        """
        n = self.T + 1
        if not 1 <= steps <= n:
            raise ValueRangeError(f"schedule.steps is {steps}", f"allowed are 1 to {n}")
        if self.spacing == "trailing":
            return [round(n - i * n / steps) - 1 for i in range(steps)]
        stride = n // steps
        first = (steps - 1) * stride + self.steps_offset
        if self.steps_offset >= stride or first > self.T:
            raise ValueRangeError(
                f"schedule.steps is {steps}, whose leading timesteps with steps_offset={self.steps_offset} do not fit "
                f"into 0 to {self.T}",
                "take fewer steps or spacing='trailing'",
            )
        return list(range(first, -1, -stride))

    def first(self, steps: int) -> int:
        """The timestep that sampling begins at: T, or the highest of "leading" ones, where diffusers begins, too.

        Args:
            steps: length of the DDIM schedule.

        Raises:
            ValueRangeError: as :meth:`timesteps`.
        """
        return self.timesteps(steps)[0]

    def nearest(self, t_frac: float, steps: int) -> int:
        """The timestep of the DDIM schedule nearest to the fraction ``t_frac`` of T.

        Args:
            t_frac: in (0, 1]; 1 is T, or the first timestep of "leading" ones.
            steps: length of the DDIM schedule.

        Raises:
            ValueRangeError: t_frac is outside (0, 1], or lies more than half a step of the schedule from all its
                timesteps (which only fractions near 0 can).
        """
        if not 0 < t_frac <= 1:
            raise ValueRangeError(f"a fraction of T is {t_frac}", "allowed is 0 < fraction <= 1")
        found = min(self.timesteps(steps), key=lambda t: abs(t - t_frac * self.T))
        asked = min(t_frac, self.fraction(self.first(steps)))
        if abs(self.fraction(found) - asked) > 0.5 / steps + 1.5 / (self.T + 1):  # timesteps are rounded
            raise ValueRangeError(
                f"a fraction of T is {t_frac:g}, but the lowest of {steps} timesteps is t = {found}, "
                f"{self.fraction(found):g} T, more than half a step away",
                "raise the fraction, or schedule.steps",
            )
        return found

    def nearest_log_snr(self, log_snr: float, steps: int) -> int:
        """The timestep of the DDIM schedule whose log-SNR is nearest.

        Args:
            log_snr: log(a_t²/b_t²), finite.
            steps: length of the DDIM schedule.

        Raises:
            ValueRangeError: log_snr lies more than half a step of the schedule beyond its finite ones.
        """
        known = {t: snr for t in self.timesteps(steps) if math.isfinite(snr := self.log_snr(t))}
        rising = list(known.values())
        halves = [(high - low) / 2 for low, high in pairwise(rising)] or [0.5]
        if not rising or not rising[0] - halves[0] <= log_snr <= rising[-1] + halves[-1]:
            those = f"are {rising[0]:.3g} to {rising[-1]:.3g}" if rising else "are not finite"
            advice = "take one between these"
            if rising and log_snr > rising[-1]:
                advice += ", or more schedule.steps, which reach higher"
            raise ValueRangeError(f"a log-SNR is {log_snr:g}, but those of {steps} timesteps {those}", advice)
        return min(known, key=lambda t: abs(known[t] - log_snr))

    def fraction(self, t: int) -> float:
        """The share (t + 1) / (T + 1) of all noising steps that x_t has gone through, in (0, 1]; 1 is T.

        The k-th of n evenly spaced timesteps, counted from the picture, has the fraction k / n.
        """
        return (t + 1) / (self.T + 1)

    def _check(self, t: int) -> None:
        if not CLEAN <= t <= self.T:
            raise ValueRangeError(f"timestep {t} is outside the schedule", f"allowed are -1 (clean) to {self.T}")


@dataclass(frozen=True, slots=True)
class NoiseSchedule(NoiseProcess):
    """The variance preserving process: α_t of a pretrained model and the DDIM sub-schedules of it.

    Attributes:
        alphas_cumprod: α_t for t = 0 … T, shape (T + 1,), float64, on the CPU, falling within (0, 1); the last may be 0
            (zero terminal SNR), if the network predicts v or x0.
        prediction: what the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        clipping: of x̂0 in generation, as the scheduler says; None is none.
        final_alpha: α of the clean end, 1 or α_0.
        spacing: of DDIM timesteps, ``trailing`` or ``leading``.
        steps_offset: added to ``leading`` timesteps.
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"
    clipping: Clipping | None = None
    final_alpha: float = 1.0
    spacing: str = "trailing"
    steps_offset: int = 0

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise ModelError(
                f"the scheduler's prediction_type is {self.prediction!r}",
                "diffgeo knows 'epsilon', 'v_prediction' and 'sample'",
            )
        if self.spacing not in ("trailing", "leading"):
            raise ModelError(
                f"the scheduler's timestep_spacing is {self.spacing!r}, whose timesteps diffusers' DDIM visits but "
                "does not step to",
                "diffgeo knows 'trailing' and 'leading', load the model with spacing='trailing'",
            )
        alphas = self.alphas_cumprod
        if not len(alphas) or not bool(((alphas >= 0) & (alphas < 1)).all()) or bool((alphas.diff() > 0).any()):
            raise ModelError(
                "the scheduler's alphas_cumprod do not fall from below 1 towards 0",
                "correct the betas in scheduler_config.json",
            )
        if alphas[-1] == 0 and self.prediction == "epsilon":
            raise ModelError(
                "the scheduler's alphas_cumprod reach 0 (zero terminal SNR) and the network predicts noise, which "
                "tells no x0 at T",
                "set prediction_type to what it was trained on, or rescale_betas_zero_snr to false",
            )

    @property
    def determinants(self) -> dict[str, object]:
        """See the base class."""
        return asdict(self)

    @property
    def T(self) -> int:  # noqa: N802 (the papers' name)
        """See the base class."""
        return len(self.alphas_cumprod) - 1

    def alpha(self, t: int) -> float:
        """α_t.

        Args:
            t: timestep in −1 … T; −1 (clean) gives ``final_alpha``.

        Raises:
            ValueRangeError: t is outside −1 … T.
        """
        self._check(t)
        return self.final_alpha if t == CLEAN else float(self.alphas_cumprod[t])

    def a(self, t: int) -> float:
        """√α_t; see the base class."""
        return math.sqrt(self.alpha(t))

    def b(self, t: int) -> float:
        """√(1−α_t); see the base class."""
        return math.sqrt(1 - self.alpha(t))

    def noise_variance(self, t: int) -> float:
        """1 − α_t; see the base class."""
        return 1 - self.alpha(t)

    def network_time(self, t: int) -> int:
        """The timestep itself."""
        return t

    def noise_tells_x0(self, t: int) -> bool:
        """See the base class."""
        return self.alpha(t) >= _NO_SIGNAL

    @property
    def network_knows_clean(self) -> bool:
        """No: its lowest timestep has noise."""
        return False

    def distortion_factor(self, t: int, kappa: float) -> float:
        """√α_t / (1 − κ √(1−α_t)); see the base class."""
        return self.a(t) / (1 - kappa * self.b(t))

    def added_variance(self, t: int, s: int, eta: float) -> float:
        """ς² = η² (1−α_s)/(1−α_t) (1 − α_t/α_s), which the formula of the base class is for this process."""
        alpha_t, alpha_s = self.alpha(t), self.alpha(s)
        return eta**2 * (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)

    def to_noise(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """See the base class (Salimans & Ho 2022)."""
        if self.prediction == "epsilon":
            return output
        if self.prediction == "v_prediction":
            return self.a(t) * output + self.b(t) * x
        return (x - self.a(t) * output) / self.b(t)

    def to_clean(self, output: Tensor, x: Tensor, t: int) -> Tensor:
        """See the base class; that of v and x0 is defined at α_t = 0, too."""
        if self.prediction == "epsilon":
            return self.predict_x0(x, output, t)
        if self.prediction == "v_prediction":
            return self.a(t) * x - self.b(t) * output
        return output

    @classmethod
    def of(cls, scheduler: object, *, spacing: str | None = "trailing") -> NoiseSchedule:
        """The schedule of a diffusers scheduler, every field of which ``scheduler_fields`` understands.

        Args:
            scheduler: with ``alphas_cumprod`` and a config.
            spacing: of DDIM timesteps, ``trailing`` or ``leading``; as the scheduler says if None.

        Raises:
            ModelError: it is no discrete process in (0, 1), or a field is refused; the message gives the reason.
        """
        name = type(scheduler).__name__
        alphas = getattr(scheduler, "alphas_cumprod", None)
        if not isinstance(alphas, Tensor) and name not in REFUSED_SCHEDULERS:
            raise ModelError(f"{name} has no alphas_cumprod", "diffgeo needs a DDPM/DDIM-type scheduler")
        config = read_scheduler(name, getattr(scheduler, "config", {}))
        assert isinstance(alphas, Tensor)
        if len(alphas) != config.get("num_train_timesteps", len(alphas)):
            raise ModelError(
                f"the scheduler has {len(alphas)} trained_betas and "
                f"num_train_timesteps={config['num_train_timesteps']}",
                "correct scheduler_config.json",
            )
        at_zero = not config.get("set_alpha_to_one", True) or config.get("final_sigmas_type") == "sigma_min"
        alphas = alphas.detach().to("cpu", torch.float64, copy=True)
        if config.get("rescale_betas_zero_snr", False):
            alphas[-1] = 0  # Euler's and other classes put 2⁻²⁴ there, for a division that DDIM does without
        return cls(
            alphas,
            config.get("prediction_type", "epsilon"),
            Clipping.of(config),
            float(alphas[0]) if at_zero else 1.0,
            config.get("timestep_spacing", "leading") if spacing is None else spacing,
            config.get("steps_offset", 0),
        )

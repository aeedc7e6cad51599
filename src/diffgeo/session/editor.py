"""How latents are moved along directions: what ``edit=…`` chooses, by its ``_target_``.

:class:`Edit` is one straight step, and the base of the others: a dataclass, whose further fields are settings of its
own. An edit of another kind overrides what it does differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from diffgeo.config import EditConfig, refusal
from diffgeo.diffusion.editing import normalise_distortion, single_step, x_space_guidance
from diffgeo.diffusion.h_edits import Injection
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.geometry import Convention, geodesic_shooting
from diffgeo.ranges import Rule
from diffgeo.session.bases import Bases
from diffgeo.session.latents import Latents
from diffgeo.session.samples import Sample


@dataclass(frozen=True, eq=False)
class Edit:
    """One straight step, x + γ v, normalised against the original if ``edit.normalise`` asks for it.

    Attributes:
        model: the diffusion model.
        cfg: the run's ``edit``.
        latents: x_t of the samples.
        bases: local bases of the samples.
        mixes: whether it can move a latent along a mixture of directions. If not, only its traversals are of its kind,
            and :meth:`move` and :meth:`displace` take straight steps.
    """

    mixes: ClassVar[bool] = True
    model: DiffusionModel
    cfg: EditConfig
    latents: Latents
    bases: Bases

    @property
    def step_method(self) -> str:
        """What tables call the edits of :meth:`move` and :meth:`displace`: ``edit.method``, or ``single``."""
        return self.cfg.method if self.mixes else "single"

    @property
    def gammas(self) -> Tensor:
        """Signed edit lengths in units of x, shape (frames,), the middle one 0: ± strength · √d."""
        side = torch.arange(1, self.cfg.frames // 2 + 1) * (2 / (self.cfg.frames - 1))
        shares = torch.cat([-side.flip(0), torch.zeros(1), side])
        return shares * (self.cfg.strength * math.sqrt(self.model.latent_size))

    def traverse(self, sample: Sample, t: int, direction: int) -> Tensor:
        """x_t moved along ± one direction of its local basis; shape (frames, C, H, W)."""
        x, basis = self.latents.of(sample, t), self.bases.of(sample, t)
        return self.move(x, basis.V[:, direction], self.gammas, t, sample)

    def injection(self, sample: Sample, t: int, directions: int) -> Injection | None:  # noqa: ARG002
        """What is added to h on the way from the leading traversals' latents to their pictures; nothing.

        Args:
            sample: that is edited.
            t: timestep.
            directions: how many traversals, each of as many latents as :attr:`gammas`, one after the other.
        """
        return None

    def normalises(self, sample: Sample, t: int | None = None, *, override: bool | None = None) -> bool:
        """Whether this sample's edits are normalised: the override, ``edit.normalise``, or if it is generated.

        At a timestep (``t``) of noise alone, a_t = 0, none is: there is no picture whose mean could be kept.
        """
        asked = self.cfg.normalise if override is None else override
        wanted = sample.x0 is None if asked is None else asked
        return wanted and (t is None or self.model.schedule.a(t) > 0)

    def move(self, x: Tensor, v: Tensor, gammas: Tensor, t: int, sample: Sample) -> Tensor:
        """One latent moved along a direction by each γ.

        Args:
            x: latent, shape (C, H, W).
            v: unit direction, shape (d,).
            gammas: signed lengths in units of x, shape (k,).
            t: timestep.
            sample: whose latent it is.

        Returns:
            Shape (k, C, H, W).
        """
        return self.displace(x, single_step(torch.zeros_like(x), v, gammas), t, sample)

    def displace(self, x: Tensor, offsets: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:
        """A latent (C, H, W) moved by each offset γv (B, C, H, W); ``normalise`` overrides ``edit.normalise``."""
        return self.retract(x[None], x + offsets, t, sample, normalise=normalise)

    def retract(self, x: Tensor, moved: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:
        """``moved`` (B, C, H, W), normalised against x if :meth:`normalises` says so."""
        if not self.normalises(sample, t, override=normalise):
            return moved
        noise, schedule, edit = self.model.predict_noise, self.model.schedule, self.cfg
        return normalise_distortion(noise, schedule, x, moved, t, kappa=edit.kappa, rescale=edit.rescale)


@dataclass(frozen=True, eq=False)
class Guidance(Edit):
    """x-space guidance (P23b): step by step, x moves by a multiple of the change of ε that γv makes.

    Attributes:
        steps: how often x moves.
        guidance_scale: multiple of the change of ε.
    """

    steps: Annotated[int, Rule(ge=1)] = 16
    guidance_scale: Annotated[float, Rule()] = 0.5

    def displace(self, x: Tensor, offsets: Tensor, t: int, sample: Sample, *, normalise: bool | None = None) -> Tensor:  # noqa: ARG002
        """See :meth:`Edit.displace`; never normalised."""
        noise, scale = self.model.editor.predict_noise, self.guidance_scale
        return x_space_guidance(noise, x.expand_as(offsets), offsets, t, scale=scale, steps=self.steps)


@dataclass(frozen=True, eq=False)
class Shooting(Edit):
    """Geodesic shooting (P23a): the direction is transported from piece to piece; traversals alone are curved.

    Attributes:
        steps: pieces of the curve, a side; a multiple of half of ``edit.frames``.
        transport: ``isometric`` (as released) or ``pullback``.

    Raises:
        ConfigError: some frames of a traversal lie between two points of the curve.
    """

    mixes: ClassVar[bool] = False
    steps: Annotated[int, Rule(ge=1)] = 6
    transport: Convention = "isometric"

    def __post_init__(self) -> None:
        if self.steps % (side := self.cfg.frames // 2):
            raise refusal("edit.steps", self.steps, f"a multiple of {side}, so that edit.frames lie on the curve")

    def traverse(self, sample: Sample, t: int, direction: int) -> Tensor:
        """See :meth:`Edit.traverse`."""
        x = self.latents.of(sample, t)
        halves = [self._shoot(x, t, sample, direction, gamma.item()) for gamma in self.gammas[[0, -1]]]
        return torch.stack([*reversed(halves[0][1:]), x, *halves[1][1:]])

    def _shoot(self, x: Tensor, t: int, sample: Sample, direction: int, length: float) -> list[Tensor]:
        """Points of one side of the curve, as many as there are frames on it, x first."""
        basis = self.bases.of(sample, t)
        points = geodesic_shooting(
            lambda y: self.bases.at(y, t),
            x,
            basis.U[:, direction],
            basis.V[:, direction],
            length=length,
            steps=self.steps,
            convention=self.transport,
            retract=lambda a, b: self.retract(a[None], b[None], t, sample)[0],
        )
        return list(points[:: self.steps // (self.cfg.frames // 2)])


@dataclass(frozen=True, eq=False)
class HSpace(Edit):
    """Edits of h (Asyrp, Haas et al.): Δh = γ J v_i is added at every step of an interval; traversals alone edit h.

    To first order, Δh is by how much x + γ v_i moves h. It is added at each step, so its effect grows with their
    number.

    Attributes:
        until: fraction of T at which the interval ends that begins at the edit timestep.
        symmetric: change both parts of a DDIM step (Haas et al.), or the predicted picture alone (Asyrp).
        fading: Δh falls linearly over the interval; else it stays the same.

    Raises:
        ConfigError: in a traversal: h is pooled or no block's output, or the interval ends before it begins.
    """

    mixes: ClassVar[bool] = False
    until: Annotated[float, Rule(ge=0, le=1)] = 0.5
    symmetric: bool = False
    fading: bool = False

    def normalises(self, sample: Sample, t: int | None = None, *, override: bool | None = None) -> bool:  # noqa: ARG002
        """See :meth:`Edit.normalises`; never, as x stays where it is."""
        return False

    def traverse(self, sample: Sample, t: int, direction: int) -> Tensor:  # noqa: ARG002
        """See :meth:`Edit.traverse`: x_t itself in every frame."""
        return self.latents.of(sample, t).expand(len(self.gammas), -1, -1, -1)

    def injection(self, sample: Sample, t: int, directions: int) -> Injection:
        """See :meth:`Edit.injection`."""
        basis = self.bases.of(sample, t).truncated(directions)
        steps = self.gammas.to(basis.s)[:, None] * (basis.U * basis.s).T[:, None]
        return self.through(steps.flatten(0, 1), sample, t)

    def through(self, offsets: Tensor, sample: Sample, t: int) -> Injection:
        """Any Δh, injected as this edit does.

        Args:
            offsets: Δh as vectors, shape (B, m).
            sample: that is edited.
            t: timestep at which the interval begins.
        """
        f, schedule = self.bases.feature_map(t), self.model.schedule
        last = round(self.until * (schedule.T + 1)) - 1
        if f.pool is not None:
            raise refusal("feature.pool", f.pool, "null with edit=h, which changes the whole h")
        if f.tap != "output":
            raise refusal("feature.tap", f.tap, "output with edit=h, which changes what the block gives on")
        if last > t:
            raise refusal("edit.until", self.until, f"0 to the edit timestep, {schedule.fraction(t):g} T")
        with torch.no_grad():
            shape = f(self.latents.of(sample, t)).shape
        return Injection(offsets.unflatten(1, shape), f.block, t, last, self.symmetric, self.fading)

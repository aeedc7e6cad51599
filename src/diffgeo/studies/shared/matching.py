"""Edits along any directions, brought to one strength: what the comparing studies share.

A study says which directions of X it compares at a sample's x_t; each becomes an :class:`Edit`, a curve γ ↦ offset.
:func:`match_edits` finds for every one the γ at which the decoded picture differs from the unedited one by the same
perceptual distance. Methods are never compared at equal γ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffgeo.data.masks import resize_mask
from diffgeo.diffusion.editing import ANNULLED, match_strength
from diffgeo.diffusion.h_edits import Injection
from diffgeo.diffusion.sampling import ddim_sample, initial_noise
from diffgeo.geometry import loco_directions, project_to_tangent, pull_back
from diffgeo.metrics.perceptual import PerceptualDistance
from diffgeo.results import Row
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.svd import LocalBasis

_RANDOM = 0xAB1A << 32
"""Sets the random directions apart from the seeds of initial noise; every sample has its own."""
TOL = 0.1
"""Relative error of the change within which edits count as equally strong; half of it in γ for a squared distance."""
STEPS = 4
"""Evaluations after the first, at most: where a picture changes in jumps no strength may match."""
PCA_SEED = 7_000_000
"""First seed of the latents for PCA, apart from those of samples."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One curve of edits.

    Attributes:
        variant: what it is called in tables.
        direction: its number within the variant.
        offset: γ ≥ 0 ↦ what is added to x, shape (C, H, W).
        limit: the largest γ.
        curved: whether the offset lies on a curve of its own, which guidance must not replace.
        normalise: overrides ``edit.normalise``.
        through: how the offset reaches the picture if it is Δh, as a vector (m,); its own offsets are not used.
    """

    variant: str
    direction: int
    offset: Callable[[float], Tensor]
    limit: float
    curved: bool = False
    normalise: bool | None = None
    through: Injection | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """Every edit of one sample at the common strength.

    Attributes:
        target: the wanted perceptual distance.
        gammas: shape (k,).
        changes: the distances measured there, shape (k,).
        x_changes: how far each edit moves the latent there, ‖x'−x‖, shape (k,).
        original: the unedited picture, shape (1, 3, H, W).
        edited: shape (k, 3, H, W).
    """

    target: float
    gammas: Tensor
    changes: Tensor
    x_changes: Tensor
    original: Tensor
    edited: Tensor

    def row(self, i: int) -> Row:
        """What tables of edits say of how far the i-th edit goes, and whether that is the common strength."""
        change = self.changes[i].item()
        return {
            "gamma": self.gammas[i].item(),
            "x_change": self.x_changes[i].item(),
            "change": change,
            "change_wanted": self.target,
            "matched": abs(change / self.target - 1) <= TOL,
        }


def straight(
    context: Context, variant: str, v: Tensor, limit: float, *, normalise: bool | None = None
) -> Iterator[Edit]:
    """Edits x + γ v_i for every column of v (d, k)."""
    shape = context.model.latent_shape

    def along(direction: Tensor) -> Callable[[float], Tensor]:
        return lambda gamma: gamma * direction

    for i, column in enumerate(v.T):
        yield Edit(variant, i, along(column.reshape(shape)), limit, normalise=normalise)


def added(variant: str, edits: Sequence[Edit], gammas: Sequence[float]) -> Edit:
    """Several straight edits made at once, whose offsets add up (LOCO Edit's composition).

    Args:
        variant: what the edit is called.
        edits: of x, all normalised alike.
        gammas: of each; the edit's own γ multiplies all of them.
    """

    def offset(gamma: float) -> Tensor:
        parts = [edit.offset(gamma * own) for edit, own in zip(edits, gammas, strict=True)]
        return torch.stack(parts).sum(dim=0)

    limit = min(edit.limit / own for edit, own in zip(edits, gammas, strict=True))
    return Edit(variant, 0, offset, limit, normalise=edits[0].normalise)


def turned(edit: Edit) -> Edit:
    """The same edit along the opposite direction."""
    return replace(edit, offset=lambda gamma: -edit.offset(gamma))


def from_h(u: Tensor, basis: LocalBasis) -> Tensor:
    """Directions of X, shape (d, k), for directions of H, shape (m, k): into the tangent space, then pulled back."""
    inside, _ = project_to_tangent(u, basis)
    return torch.stack([pull_back(inside[:, i], basis) for i in range(inside.shape[1])], dim=1)


def gradients_in_h(context: Context, u: Tensor, x: Tensor, t: int) -> Tensor:
    """Directions of X, shape (d, k), along which x's feature map moves most towards directions of H (m, k): Jᵀu."""
    name = MapName.of(t, context.cfg.feature)
    jacobian = context.bases.operator(context.bases.feature_map(t), x, name=name)
    pulled: Tensor = torch.nn.functional.normalize(jacobian.rmv(u), dim=0)
    return pulled


def random_in_x(context: Context, k: int, sample: Sample | None = None) -> Tensor:
    """As many as k orthonormal directions drawn uniformly in X, shape (d, k): a sample's own, or one draw for all."""
    own = -1 if sample is None else sample.index
    generator = torch.Generator().manual_seed(_RANDOM + context.cfg.seed + own)
    draw = torch.randn(context.model.latent_size, k, generator=generator, dtype=context.model.dtype)
    q: Tensor = torch.linalg.qr(draw.to(context.model.device)).Q
    return q


def output_map(context: Context, t: int, which: str) -> Callable[[Tensor], Tensor]:
    """The map x ↦ ε(x, t) for ``eps``, or x ↦ x̂0(x, t) for ``x0``; shape (C, H, W) both."""
    model = context.model.editor  # as F is: the conditional network, not guided sampling

    def eps(x: Tensor) -> Tensor:
        return model.predict_noise(x[None], t)[0]

    def x0(x: Tensor) -> Tensor:
        return model.predict_x0(x[None], t)[0]

    return x0 if which == "x0" else eps


def loco(context: Context, x: Tensor, t: int, mask: Tensor, *, rank: int = 1, null_rank: int = 5) -> tuple[Tensor, int]:
    """LOCO Edit's directions at x, of the predicted picture x̂0 inside a mask, shape (d, rank), and their passes.

    Args:
        context: of the run.
        x: x_t, shape (C, H, W).
        t: timestep.
        mask: where the picture should change, boolean, shape of the picture; brought to the grid of x.
        rank: leading directions inside.
        null_rank: leading directions outside, whose span is taken away.
    """
    part = resize_mask(mask, *x.shape[1:])
    inside, outside = picture_part(context, x, t, part, rank), picture_part(context, x, t, ~part, null_rank)
    return loco_directions(inside, outside), inside.certificate.passes + outside.certificate.passes


def picture_part(context: Context, x: Tensor, t: int, part: Tensor, rank: int) -> LocalBasis:
    """The leading singular triplets of ∂x̂0/∂x, its rows in a part of the grid of x.

    Args:
        context: of the run.
        x: x_t, shape (C, H, W).
        t: timestep.
        part: boolean, shape (H, W).
        rank: number of directions; fewer if the part has fewer rows.
    """
    return context.bases.of_part(output_map(context, t, "x0"), x, part, name=MapName(t, output="x0"), rank=rank)


def features(context: Context, n: int, t: int) -> Tensor:
    """The features h of n random latents at t, one per row; never of the samples that are edited."""
    model, steps = context.model, context.cfg.schedule.steps
    chunks = []
    for first in range(0, n, 16):
        x = initial_noise(model, [PCA_SEED + i for i in range(first, min(first + 16, n))])
        if t != model.schedule.first(steps):
            x = ddim_sample(model, x, steps=steps, stop=t, clip=model.bounded)
        with torch.no_grad():
            chunks.append(context.bases.feature_map(t)(x).flatten(1))
    return torch.cat(chunks)


def latents(context: Context, sample: Sample, t: int, edits: Sequence[Edit], gammas: Sequence[float]) -> Tensor:
    """Where each edit takes the sample's x_t at its γ, shape (k, C, H, W); alike edits make one batch."""
    x = context.latents.of(sample, t)
    moved = x.expand(len(edits), *x.shape).clone()
    kinds = [None if edit.through else (edit.curved, edit.normalise) for edit in edits]
    for kind in dict.fromkeys(kinds):
        if kind is None:
            continue  # x stays where it is
        rows = [i for i, other in enumerate(kinds) if other == kind]
        offsets = torch.stack([edits[i].offset(gammas[i]) for i in rows])
        curved, normalise = kind
        moved[rows] = (
            context.editor.retract(x[None], x + offsets, t, sample, normalise=normalise)
            if curved
            else context.editor.displace(x, offsets, t, sample, normalise=normalise)
        )
    return moved


def pictures(
    context: Context, sample: Sample, t: int, edits: Sequence[Edit], gammas: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """What each edit makes of the sample at its γ: pictures (k, 3, H, W), and ‖x'−x‖ (k,)."""
    moved = latents(context, sample, t, edits, gammas)
    shown: dict[int, Tensor] = {}
    ways = [None if edit.through is None else edit.through.way for edit in edits]
    for way in dict.fromkeys(ways):  # edits of h that differ in Δh alone make one batch
        rows = [i for i, other in enumerate(ways) if other == way]
        through, injection = edits[rows[0]].through, None
        if through is not None:
            offsets = torch.stack([edits[i].offset(gammas[i]) for i in rows])
            injection = replace(through, offsets=offsets.unflatten(1, through.offsets.shape[1:]))
        shown |= zip(rows, context.decoder(moved[rows], t, sample, injection=injection), strict=True)
    lengths = (moved - context.latents.of(sample, t)).flatten(1).norm(dim=1).cpu()
    return torch.stack([shown[i] for i in range(len(edits))]), lengths


def at_length(context: Context, sample: Sample, t: int, edits: Sequence[Edit], length: float) -> Tensor:
    """Where each straight edit takes the sample's x_t if it moves it by one length, ‖x'−x‖; shape (k, C, H, W).

    NaN for an edit that the normalisation takes back to x.
    """
    x = context.latents.of(sample, t)
    offsets = latents(context, sample, t, edits, [length] * len(edits)) - x
    found = offsets.flatten(1).norm(dim=1)
    scale = torch.where(found > ANNULLED * length, length / found, torch.nan)  # γ is not the length if not rescaled
    moved: Tensor = x + offsets * scale.reshape(-1, 1, 1, 1)
    return moved


def match_edits(
    context: Context,
    sample: Sample,
    t: int,
    edits: Sequence[Edit],
    target: float | None = None,
    *,
    reference: str = "local",
    start: Tensor | None = None,
    measure: PerceptualDistance | None = None,
) -> Matched:
    """Bring every edit of one sample to one perceptual distance from the unedited picture.

    Args:
        context: of the run.
        sample: whose x_t is edited.
        t: edit timestep.
        edits: one or more.
        target: the distance; None takes what the edits called ``reference`` reach at ``edit.strength``, their median
            (all edits if none is called so).
        reference: a variant.
        start: first γ of each edit; ``edit.strength`` if None.
        measure: of the distance; the run's if None.
    """
    measure = measure or context.perceptual
    x = context.latents.of(sample, t)
    original = context.decoder(x[None], t, sample)
    seen: dict[tuple[int, float], tuple[Tensor, Tensor]] = {}

    def change(gammas: Tensor, which: Tensor) -> Tensor:
        chosen = [edits[i] for i in which.tolist()]
        shown, lengths = pictures(context, sample, t, chosen, gammas.tolist())
        tried = zip(which.tolist(), gammas.tolist(), strict=True)
        seen.update(zip(tried, zip(shown, lengths, strict=True), strict=True))
        return measure(shown, original)

    strength = context.editor.gammas[-1].item()
    if target is None:  # what the reference does at the run's own strength sets the scale, once
        chosen = torch.tensor([edit.variant == reference for edit in edits]).nonzero()[:, 0]
        chosen = chosen if len(chosen) else torch.arange(len(edits))
        target = change(torch.full((len(chosen),), strength), chosen).quantile(0.5).item()
    limits = torch.tensor([edit.limit for edit in edits])
    start = torch.full_like(limits, strength) if start is None else start
    gammas, changes = match_strength(change, target, limits, start=start, tol=TOL, max_steps=STEPS)
    edited, lengths = zip(*(seen[i, gamma] for i, gamma in enumerate(gammas.tolist())), strict=True)
    return Matched(target, gammas, changes, torch.stack(lengths), original, torch.stack(edited))

"""Directions at a latent other than its own: those that act in a mask, those carried to it; and mixtures as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffgeo.data.masks import resize_mask
from diffgeo.diffusion.direction_files import Directions
from diffgeo.errors import ValueRangeError
from diffgeo.explore.parts import LatentDirections
from diffgeo.geometry import GlobalDirections, loco_directions, project_to_tangent, pull_back
from diffgeo.session import Context
from diffgeo.session.progress import Display
from diffgeo.studies.shared.matching import picture_part
from diffgeo.svd import LocalBasis

OUTSIDE = 5
"""Leading directions outside a mask that those inside are freed of, as in LOCO Edit."""


def directions_inside(
    context: Context, x: Tensor, t: int, mask: Tensor, display: Callable[[str], Display]
) -> tuple[Tensor, LocalBasis]:
    """LOCO Edit's directions of the predicted picture inside a mask, ``svd.rank`` of them, the first its default.

    Args:
        context: with the model and its settings.
        x: x_t, shape (C, H, W).
        t: timestep.
        mask: boolean, of the picture's shape.
        display: for progress, given the words that begin what it tells.

    Returns:
        (unit directions of X, shape (d, k), fewer than the rank if the mask has fewer rows; basis inside the mask).

    Raises:
        DataError: brought to the grid of x, all of it is inside.
        ValueRangeError: a direction inside lies in the span of those outside.
    """
    grid = resize_mask(mask, *x.shape[1:])
    parts = {"in the mask, 1 of 2: ": (grid, context.cfg.svd.rank), "outside it, 2 of 2: ": (~grid, OUTSIDE)}
    inside, outside = (
        picture_part(replace(context, display=display(words)), x, t, part, rank)
        for words, (part, rank) in parts.items()
    )
    return loco_directions(inside, outside), inside


def carried(u: Tensor, basis: LocalBasis) -> tuple[Tensor, Tensor]:
    """Directions of H, shape (m, k), carried to a picture: V (d, k), and the share of each that it can follow, (k,)."""
    inside, fit = project_to_tangent(u.to(basis.U), basis)
    return torch.stack([pull_back(column, basis) for column in inside.unbind(dim=1)], dim=1), fit


def padded(place: LatentDirections, weights: Sequence[float]) -> Tensor:
    """Weights of all directions of a place, 0 where none is given.

    Raises:
        ValueRangeError: there are more weights than directions.
    """
    if len(weights) > place.rank:
        raise ValueRangeError(f"{len(weights)} weights for {place.rank} directions", "give at most one each")
    return torch.tensor([*weights, *[0.0] * (place.rank - len(weights))])


def saved(place: LatentDirections, weights: Sequence[float], label: str | None = None) -> Directions:
    """The mixed direction, carried to H to be saved; pulled back at the same place it is the same mixture.

    Args:
        place: where.
        weights: at most as many as there are directions, not all 0.
        label: what it does.

    Raises:
        ValueRangeError: all weights are 0, or the directions are those of a mask.
    """
    if not any(weights):
        raise ValueRangeError("all sliders are at 0, which is no direction", "move one first")
    if place.mask is not None:
        raise ValueRangeError(
            "directions of a mask move x, and a file keeps directions of h",
            "save the picture: the command line inside it has the mask, and finds them again",
        )
    v = place.V @ padded(place, weights).to(place.V)
    # of the two conventions that `pull_back` knows, the isometric one: coordinates in V are those in U
    u = place.basis.U @ (place.basis.V.T @ v)
    found = GlobalDirections((u / u.norm())[:, None], torch.full((1,), float("nan")), "explored")
    choice, cfg = place.choice, place.context.cfg
    provenance: dict[str, object] = {
        "sample": place.sample.name,
        "source": choice.source,
        "weights": [float(w) for w in weights],
        "strength": choice.strength,
        "rank": place.rank,
        "steps": cfg.schedule.steps,
    }
    return Directions.of(
        found,
        place.context.model,
        t=place.t,
        block=choice.block,
        pool=choice.pool,
        tap=cfg.feature.tap,
        labels=None if label is None else [label],
        provenance=provenance,
    )

r"""Whether edits in several places add up: LOCO Edit's composition.

In each mask Ω_i, LOCO's leading direction is brought to the same change inside Ω_i; then all are made at once, their
offsets of x_t added. With Δ_i the change of the picture by one and Δ that by all together, a row tells of a mask

    departure    ‖Δ − Δ_i‖ / ‖Δ_i‖ over the pixels of Ω_i: 0 if the others leave its edit as it was
    interaction  ‖Δ − Σ Δ_j‖ / ‖Σ Δ_j‖ over the whole picture, the same for all masks: 0 if changes add up
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from diffgeo.results import Row
from diffgeo.session import Context, Sample
from diffgeo.studies.comparison.changes import Inside
from diffgeo.studies.shared.matching import Edit, added, loco, match_edits, pictures, straight

__all__ = ["composed"]


def composed(
    context: Context,
    sample: Sample,
    t: int,
    masks: Mapping[str, Tensor],
    *,
    null_rank: int,
    limit: float,
    inside: float | None = None,
) -> Iterator[Row]:
    """Edit a sample in each mask alone, and in all at once.

    Args:
        context: of the run.
        sample: that is edited.
        t: edit timestep.
        masks: name → boolean, shape (H, W); two or more.
        null_rank: as in ``study.comparison``.
        limit: the largest γ.
        inside: change inside its mask that every edit is brought to; None takes what the first one's reaches at
            ``edit.strength``.

    Returns:
        A row per mask.
    """
    x, edits, gammas, alone = context.latents.of(sample, t), list[Edit](), list[float](), list[Tensor]()
    rows: list[Row] = []
    for name, mask in masks.items():
        v, _ = loco(context, x, t, mask, rank=1, null_rank=null_rank)
        [edit] = straight(context, name, v, limit)
        found = match_edits(context, sample, t, [edit], inside, measure=Inside(mask))
        inside = found.target
        edits.append(edit)
        gammas.append(found.gammas[0].item())
        alone.append(found.edited[0] - found.original[0])
        rows.append({"sample": sample.index, "name": sample.name, "mask": name, **found.row(0)})
    shown, _ = pictures(context, sample, t, [added("all", edits, gammas)], [1.0])
    together = shown[0] - found.original[0]
    whole = torch.stack(alone).sum(dim=0)
    for row, change, mask in zip(rows, alone, masks.values(), strict=True):
        departure = (together - change)[:, mask].norm() / change[:, mask].norm()
        interaction = (together - whole).norm() / whole.norm()
        yield row | {"departure": departure.item(), "interaction": interaction.item()}

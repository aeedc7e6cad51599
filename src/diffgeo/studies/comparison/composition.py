r"""Whether edits in several places add up: LOCO Edit's composition.

For each mask Ω_i one direction is brought to the same change inside Ω_i; then x_t is moved by the sum of these steps,
without the normalisation, which would not add up. With Δ_i the change of the picture by one step and Δ that by all, a
row tells of a mask

    departure    ‖Δ − Δ_i‖ / ‖Δ_i‖ over the pixels of Ω_i: 0 if the others leave its edit as it was
    interaction  ‖Δ − Σ Δ_j‖ / ‖Σ Δ_j‖ over the whole picture, the same for all masks: 0 if changes add up

Method ``loco`` has LOCO's leading direction of each mask, ``x0`` as many leading directions of ∂x̂0/∂x, which know of no
mask: what composing takes without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffgeo.errors import ConfigError
from diffgeo.results import Row
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.comparison.change_measures import Inside
from diffgeo.studies.shared.matching import added, loco, match_edits, output_map, pictures, straight

METHODS = ("loco", "x0")


@dataclass(frozen=True, slots=True)
class Composed:
    """A sample's edits in several masks.

    Attributes:
        rows: one for each method and mask; ``frame`` is the picture by this edit alone, ``frame_all`` that by all, and
            so are the run's metrics (:meth:`diffgeo.session.Context.measured`), ``off_data`` and ``off_data_all``, say.
        pictures: the unedited one first, shape (N, 3, H, W).
        inside: change inside its mask that every edit was brought to.
    """

    rows: list[Row]
    pictures: Tensor
    inside: float


def apart(masks: Mapping[str, Tensor], of: str) -> dict[str, Tensor]:
    """The masks without the pixels that two of them share, where one edit's change is the other's departure.

    Args:
        masks: name → boolean, shape (H, W).
        of: the sample, for the message.

    Raises:
        ConfigError: one has less than half of its pixels to itself.
    """
    count = torch.stack(list(masks.values())).sum(dim=0)
    own = {name: mask & (count == 1) for name, mask in masks.items()}
    for name, mask in masks.items():
        if 2 * int(own[name].sum()) < int(mask.sum()):
            raise ConfigError(
                f"study.comparison.compose: the mask {name} has {int(own[name].sum())} of its {int(mask.sum())} pixels "
                f"to itself in {of}",
                "give masks that overlap less",
            )
    return own


def composed(
    context: Context,
    sample: Sample,
    t: int,
    masks: Mapping[str, Tensor],
    *,
    null_rank: int,
    limit: float,
    inside: float | None = None,
) -> Composed:
    """Edit a sample in each mask alone, and in all at once.

    Args:
        context: of the run.
        sample: that is edited.
        t: edit timestep.
        masks: name → boolean, shape (H, W); two or more, that share no pixel.
        null_rank: as in ``study.comparison``.
        limit: the largest γ.
        inside: change inside its mask that every edit is brought to; None takes what LOCO's edit in the first mask
            reaches at ``edit.strength``.
    """
    x, rows, shown = context.latents.of(sample, t), list[Row](), list[Tensor]()
    for method in METHODS:
        if method == "loco":
            columns = [loco(context, x, t, mask, rank=1, null_rank=null_rank)[0] for mask in masks.values()]
            v = torch.cat(columns, dim=1)
        else:
            name = MapName(t, output="x0")
            v = context.bases.of_map(output_map(context, t, "x0"), x, name=name, rank=len(masks)).V
        edits, gammas, alone = list(straight(context, method, v, limit, normalise=False)), list[float](), list[Tensor]()
        first = 1 + len(shown)
        for i, (edit, (place, mask)) in enumerate(zip(edits, masks.items(), strict=True)):
            found = match_edits(context, sample, t, [edit], inside, measure=Inside(mask))
            inside, original = found.target, found.original[0]
            gammas.append(found.gammas[0].item())
            alone.append(found.edited[0])
            where = {"sample": sample.index, "name": sample.name, "method": method, "mask": place}
            rows.append({**where, **found.row(0), "frame": first + i, "frame_all": first + len(edits)})
        [together] = pictures(context, sample, t, [added(method, edits, gammas)], [1.0])[0]
        change, whole = together - original, torch.stack(alone).sum(dim=0) - len(alone) * original
        interaction = ((change - whole).norm() / whole.norm()).item()
        own = context.measured(torch.stack([*alone, together]), original[None])
        for i, (row, picture, mask) in enumerate(zip(rows[-len(edits) :], alone, masks.values(), strict=True)):
            departure = (together - picture)[:, mask].norm() / (picture - original)[:, mask].norm()
            row |= {"departure": departure.item(), "interaction": interaction}
            row |= {name: values[i] for name, values in own.items()}
            row |= {f"{name}_all": values[-1] for name, values in own.items()}
        shown += [*alone, together]
    assert inside is not None
    return Composed(rows, torch.stack([original, *shown]), inside)

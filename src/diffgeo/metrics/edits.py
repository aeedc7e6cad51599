r"""What an edit does to attributes: wanted change against collateral.

a(·) is an attribute predictor's output vector, standardised by its spread over unedited samples, Δa its change under an
edit, so that every number here is in standard deviations of an attribute. t is an edit's target: the attribute that a
direction is meant to change (see :func:`targets`).

- Re-scoring matrix (InterFaceGAN, SeFa): R_ij = E[Δa_j] of edits along direction i.
- Attribute dependency (StyleSpace): mean and max over j ≠ t of |Δa_j|, by the size of |Δa_t|.
- Edit precision ratio: |Δa_t| / (mean_{j≠t} |Δa_j| + 1e-8).
- Local success (after LOCO Edit): exactly one attribute moves by more than ``moved``, every other one by less than
  ``still`` times that. Transfer success: the same attribute moves the same way on a sample that the direction was not
  made from.
- Locality: ‖(1−M)Δx‖ / (‖(1−M)Δx‖ + ‖MΔx‖) for a mask M, the share of a picture's change that falls outside it.
- Directional CLIP similarity: cos(ΔI, ΔT).

All functions refuse NaN and infinity: a number that is not one is a fault upstream, not a missing value.
"""

from __future__ import annotations

import math

import torch
from scipy.stats import t as student
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.metrics.statistics import INTERVAL_FROM

__all__ = [
    "MOVED",
    "STILL",
    "attribute_dependency",
    "binned_dependency",
    "directional_similarity",
    "edit_precision",
    "local_success",
    "locality",
    "rescoring_interval",
    "rescoring_matrix",
    "standardise",
    "targets",
    "transfer_success",
]

MOVED = 1.0
"""A change by more standard deviations than this is a success."""
STILL = 0.5
"""The others must stay under this fraction of :data:`MOVED`."""
EPS = 1e-8


def standardise(changes: Tensor, unedited: Tensor) -> Tensor:
    """Δa in standard deviations of a over unedited samples.

    Args:
        changes: Δa in the predictor's units, shape (…, A).
        unedited: a of unedited samples, shape (N, A), N ≥ 2.

    Returns:
        shape (…, A). An attribute that does not vary among the unedited has no scale: its changes become 0.

    Raises:
        ShapeError: other than A attributes, or fewer than 2 samples.
        ValueRangeError: NaN or infinity.
    """
    if unedited.ndim != 2 or len(unedited) < 2 or changes.shape[-1:] != unedited.shape[-1:]:
        raise ShapeError(
            f"unedited attributes have shape {tuple(unedited.shape)}, changes {tuple(changes.shape)}",
            "expected (N >= 2, A) and (…, A)",
        )
    _finite(changes, unedited)
    spread = unedited.std(dim=0)
    varies = spread > 1e-6 * unedited.abs().amax(dim=0).clamp_min(1.0)
    return torch.where(varies, changes / torch.where(varies, spread, 1.0), 0.0)


def targets(changes: Tensor, *, held_out: bool) -> Tensor:
    """The target t of every edit: the attribute that its direction moves most, |Δa| averaged over samples.

    Choosing t on the edit that is then judged flatters every method; ``held_out`` chooses it on all other samples.

    Args:
        changes: Δa, shape (N, K, A).
        held_out: leave the judged sample out (N ≥ 2), or take each edit's own largest change.

    Returns:
        indices, shape (N, K).

    Raises:
        ShapeError: changes are not (N, K, A).
        ValueRangeError: ``held_out`` of fewer than 2 samples; NaN or infinity.
    """
    if changes.ndim != 3:
        raise ShapeError(f"changes have shape {tuple(changes.shape)}", "expected (samples, directions, attributes)")
    _finite(changes)
    moved = changes.abs()
    if not held_out:
        return moved.argmax(dim=-1)
    if len(changes) < 2:
        raise ValueRangeError(f"a target cannot be held out of {len(changes)} samples", "give 2 or more")
    return (moved.sum(dim=0, keepdim=True) - moved).argmax(dim=-1)


def rescoring_matrix(changes: Tensor) -> Tensor:
    """R_ij = E[Δa_j] of edits along direction i.

    Args:
        changes: Δa, shape (N, K, A), N ≥ 1.

    Returns:
        shape (K, A).

    Raises:
        ShapeError: changes are not (N, K, A), or N = 0.
        ValueRangeError: NaN or infinity.
    """
    if changes.ndim != 3 or len(changes) == 0:
        raise ShapeError(f"changes have shape {tuple(changes.shape)}", "expected (samples, directions, attributes)")
    _finite(changes)
    return changes.mean(dim=0)


def rescoring_interval(changes: Tensor) -> tuple[Tensor, Tensor]:
    """Student's 95 % interval over samples of every R_ij.

    Args:
        changes: Δa, shape (N, K, A), N ≥ 1.

    Returns:
        (low, high), each of shape (K, A); NaN for fewer than :data:`INTERVAL_FROM` samples.
    """
    n = len(changes)
    if n < INTERVAL_FROM:
        nothing = torch.full_like(changes[0], torch.nan)
        return nothing, nothing
    mean, reach = changes.mean(dim=0), changes.std(dim=0) * float(student.ppf(0.975, n - 1) / math.sqrt(n))
    return mean - reach, mean + reach


def attribute_dependency(changes: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and largest |Δa_j| over j ≠ t.

    Args:
        changes: Δa, shape (…, A), A ≥ 2.
        target: indices t, shape (…).

    Returns:
        (mean, max), each of shape (…), 0 or more.

    Raises:
        ShapeError: fewer than two attributes, or a target for each edit is missing.
        ValueRangeError: NaN, infinity, or an index outside 0 … A − 1.
    """
    _, others = _split(changes, target)
    return others.nanmean(dim=-1), torch.where(others.isnan(), 0.0, others).amax(dim=-1)


def binned_dependency(changes: Tensor, target: Tensor, edges: Tensor) -> Tensor:
    """Mean attribute dependency of the edits whose |Δa_t| lies in each bin (StyleSpace's curve).

    Args:
        changes: Δa, shape (M, A).
        target: indices t, shape (M,).
        edges: ascending, shape (B + 1,); bin b is [e_b, e_{b+1}).

    Returns:
        shape (B,); NaN for an empty bin.

    Raises:
        ShapeError: as :func:`attribute_dependency`; fewer than two edges.
        ValueRangeError: as there; edges that do not ascend.
    """
    if edges.ndim != 1 or len(edges) < 2:
        raise ShapeError(f"edges have shape {tuple(edges.shape)}", "expected (B + 1,)")
    if not bool((edges.diff() > 0).all()):
        raise ValueRangeError("the edges of bins do not ascend", "sort them, each once")
    on, _ = _split(changes, target)
    mean, _ = attribute_dependency(changes, target)
    inside = (on[:, None] >= edges[:-1]) & (on[:, None] < edges[1:])
    return torch.where(inside, mean[:, None], 0.0).sum(dim=0) / inside.sum(dim=0)


def edit_precision(changes: Tensor, target: Tensor) -> Tensor:
    """Edit precision ratio |Δa_t| / (mean_{j≠t} |Δa_j| + 1e-8).

    Args:
        changes: Δa, shape (…, A), A ≥ 2.
        target: indices t, shape (…).

    Returns:
        shape (…), 0 or more; about 1 for a target no better than the rest; 0 where nothing moved.

    Raises:
        ShapeError, ValueRangeError: as :func:`attribute_dependency`.
    """
    on, _ = _split(changes, target)
    return on / (attribute_dependency(changes, target)[0] + EPS)


def local_success(changes: Tensor, *, moved: float = MOVED, still: float = STILL) -> Tensor:
    """Whether exactly one attribute moved, and nothing else to speak of.

    Args:
        changes: Δa, shape (…, A).
        moved: the least change of the one, in standard deviations.
        still: every other one stays under ``still · moved``, with ``still`` in (0, 1].

    Returns:
        booleans, shape (…).

    Raises:
        ValueRangeError: thresholds out of range, NaN or infinity.
    """
    _thresholds(moved, still)
    _finite(changes)
    size = changes.abs()
    return ((size > moved).sum(dim=-1) == 1) & ((size >= still * moved).sum(dim=-1) == 1)


def transfer_success(source: Tensor, held_out: Tensor, *, moved: float = MOVED, still: float = STILL) -> Tensor:
    """Whether the attribute that an edit moved on its source moves the same way on another sample.

    Args:
        source: Δa on samples that made the direction, averaged, shape (…, A).
        held_out: Δa of the same direction elsewhere, shape (…, A).
        moved: as in :func:`local_success`.
        still: as in :func:`local_success`.

    Returns:
        shape (…): 1 or 0; NaN where the source itself is no local success, so that there is nothing to transfer.

    Raises:
        ShapeError: unequal shapes.
        ValueRangeError: thresholds out of range, NaN or infinity.
    """
    if source.shape != held_out.shape:
        raise ShapeError(
            f"changes have shapes {tuple(source.shape)} and {tuple(held_out.shape)}", "expected equal ones"
        )
    _finite(held_out)
    local = local_success(source, moved=moved, still=still)
    on = source.abs().argmax(dim=-1, keepdim=True)
    same = (held_out.gather(-1, on) * source.gather(-1, on).sign())[..., 0] > moved
    return torch.where(local, same.to(source), torch.nan)


def locality(difference: Tensor, mask: Tensor) -> Tensor:
    """Share of a picture's change that falls outside a mask, ‖(1−M)Δx‖ / (‖(1−M)Δx‖ + ‖MΔx‖).

    Args:
        difference: Δx, shape (B, C, H, W).
        mask: M in [0, 1], shape (H, W) or (B, 1, H, W); 1 where change is wanted.

    Returns:
        shape (B,), in [0, 1]: 0 for a change within the mask alone; NaN where nothing changed.

    Raises:
        ShapeError: shapes that do not fit.
        ValueRangeError: a mask outside [0, 1], NaN or infinity.
    """
    fits = mask.shape == difference.shape[-2:] or mask.shape == (len(difference), 1, *difference.shape[-2:])
    if difference.ndim != 4 or not fits:
        raise ShapeError(
            f"Δx has shape {tuple(difference.shape)}, the mask {tuple(mask.shape)}",
            "expected (B, C, H, W) and (H, W) or (B, 1, H, W)",
        )
    _finite(difference, mask)
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueRangeError(f"a mask has values {mask.min().item():g} to {mask.max().item():g}", "allowed are 0 to 1")
    outside, inside = (((1 - mask) * difference).flatten(1).norm(dim=1), (mask * difference).flatten(1).norm(dim=1))
    total = outside + inside
    share: Tensor = outside / torch.where(total > 0, total, torch.nan)
    return share


def directional_similarity(image_change: Tensor, text_change: Tensor) -> Tensor:
    """S_dir = cos(ΔI, ΔT), of embeddings in one space (StyleGAN-NADA; P23b's text edits).

    Args:
        image_change: ΔI, edited less original, shape (…, e).
        text_change: ΔT, target less source, shape (…, e) or (e,).

    Returns:
        shape (…), in [−1, 1]; 0 where a change is 0, since it points nowhere.

    Raises:
        ShapeError: unequal widths.
        ValueRangeError: NaN or infinity.
    """
    if image_change.shape[-1:] != text_change.shape[-1:]:
        raise ShapeError(
            f"ΔI has shape {tuple(image_change.shape)}, ΔT {tuple(text_change.shape)}",
            "expected the same last size: embeddings of one space",
        )
    _finite(image_change, text_change)
    cosine: Tensor = torch.nn.functional.cosine_similarity(image_change.double(), text_change.double(), dim=-1)
    if not bool((cosine.abs() <= 1 + 1e-6).all()):
        raise ValueRangeError(
            f"S_dir is {cosine.abs().max().item():g}, outside [-1, 1]",
            "take embeddings whose squares neither overflow nor vanish",
        )
    bounded: Tensor = cosine.clamp(-1, 1)
    return bounded


def _split(changes: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(|Δa_t| (…), |Δa| with NaN at t (…, A))."""
    if changes.ndim < 1 or changes.shape[-1] < 2 or target.shape != changes.shape[:-1]:
        raise ShapeError(
            f"changes have shape {tuple(changes.shape)}, targets {tuple(target.shape)}",
            "expected (…, A >= 2) and one target for each edit",
        )
    _finite(changes)
    if target.numel() and not bool(((target >= 0) & (target < changes.shape[-1])).all()):
        raise ValueRangeError(
            f"targets are {target.min().item()} to {target.max().item()}", f"allowed are 0 to {changes.shape[-1] - 1}"
        )
    size, index = changes.abs(), target[..., None].long()
    return size.gather(-1, index)[..., 0], size.scatter(-1, index, torch.nan)


def _thresholds(moved: float, still: float) -> None:
    if not (moved > 0 and 0 < still <= 1):
        raise ValueRangeError(f"moved is {moved:g} and still {still:g}", "need moved > 0 and 0 < still <= 1")


def _finite(*tensors: Tensor) -> None:
    for tensor in tensors:
        if not bool(torch.isfinite(tensor).all()):
            raise ValueRangeError(
                "attribute changes hold NaN or infinity",
                "leave out the edits that broke the picture, or lower edit.strength",
            )

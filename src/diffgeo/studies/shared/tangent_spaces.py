"""Tangent spaces of one dimension, and the distances between them."""

from __future__ import annotations

import torch

from diffgeo.geometry import choose_rank, grassmann_distance, soft_distance
from diffgeo.svd import LocalBasis


def common_rank(bases: list[LocalBasis], target: int, rule: str) -> int:
    """One n for many bases: ``rule`` of :func:`diffgeo.geometry.choose_rank` on their mean spectrum, each over its s_1.

    Args:
        bases: of one run.
        target: the wanted n; lowered to the smallest rank.
        rule: ``fixed``, ``share`` or ``gap``.
    """
    most = min(b.rank for b in bases)
    mean = torch.stack([(b.s[:most] / b.s[0]).double().cpu() for b in bases]).mean(dim=0)
    target = min(target, most)
    # a share is of the target's energy; the gap rule looks beyond
    return choose_rank(mean[:target] if rule == "share" else mean, target, rule=rule)


def distances(first: LocalBasis, second: LocalBasis) -> dict[str, float]:
    """Every way to say how far two tangent spaces are apart, with the gaps that tell how well they are defined."""
    return {
        "distance": grassmann_distance(first.U, second.U),
        "distance_normalized": grassmann_distance(first.U, second.U, normalized=True),
        "distance_soft": soft_distance(first, second),
        "gap_a": first.certificate.gap,
        "gap_b": second.certificate.gap,
    }

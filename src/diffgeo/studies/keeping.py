"""Latents, pictures and bases from the store, or computed and stored.

Either way they lie in memory alike: the last digit of what is computed from them depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffgeo.store import Record, Store
from diffgeo.svd import Certificate, LocalBasis

__all__ = ["kept_bases", "kept_basis", "kept_block_size", "kept_tensor"]


def kept_tensor(
    store: Store | None,
    stage: str,
    determinants: Mapping[str, Any],
    compute: Callable[[], Tensor],
    device: torch.device,
) -> Tensor:
    """One tensor of sampling.

    Args:
        store: where to look and to keep; None computes.
        stage: ``latents`` or ``pictures``.
        determinants: inputs and settings.
        compute: makes it.
        device: where the result goes.
    """
    if store is None:
        return compute().contiguous()
    found = store.fetch(stage, determinants, lambda: Record({"x": compute().contiguous()}))
    return found.tensors["x"].to(device)


def kept_basis(
    store: Store | None, determinants: Mapping[str, Any], compute: Callable[[], LocalBasis], device: torch.device
) -> LocalBasis:
    """A local basis with its certificate; arguments as in :func:`kept_tensor`."""
    found = _record(compute()) if store is None else store.fetch("bases", determinants, lambda: _record(compute()))
    t, facts = found.tensors, found.facts
    certificate = Certificate(t["left"], t["right"], **facts)
    return LocalBasis(t["U"].to(device), t["s"].to(device), t["V"].to(device), certificate)


def kept_bases(
    store: Store | None,
    determinants: Sequence[Mapping[str, Any]],
    compute: Callable[[], Sequence[LocalBasis]],
    device: torch.device,
) -> list[LocalBasis]:
    """Bases that are computed together, one entry each; all are computed where one is missing.

    Args:
        store: as in :func:`kept_tensor`.
        determinants: of each; they must tell which others it was computed with, as its last digits depend on them.
        compute: makes all.
        device: where the results go.
    """
    made: list[LocalBasis] = []

    def one(i: int) -> LocalBasis:
        if not made:
            made.extend(compute())
        return made[i]

    return [kept_basis(store, keys, lambda i=i: one(i), device) for i, keys in enumerate(determinants)]  # type: ignore[misc]


def kept_block_size(store: Store | None, determinants: Mapping[str, Any], compute: Callable[[], int]) -> int:
    """A measured block size, so that a repeated run takes the same one."""
    found = (
        Record(facts={"block_size": compute()})
        if store is None
        else store.fetch("probes", determinants, lambda: Record(facts={"block_size": compute()}))
    )
    return int(found.facts["block_size"])


def _record(basis: LocalBasis) -> Record:
    c = basis.certificate
    tensors = {"U": basis.U, "s": basis.s, "V": basis.V, "left": c.left, "right": c.right}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    facts = {"tol": c.tol, "passes": c.passes, "solver": c.solver, "gap": c.gap, "share": c.share}
    return Record(tensors, facts)

"""Latents, pictures and bases from the store, or computed and stored, with the code that each depends on.

Either way they lie in memory alike: the last digit of what is computed from them depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffgeo.store import Record, Store, code_version
from diffgeo.svd import Certificate, LocalBasis

__all__ = ["kept_bases", "kept_basis", "kept_block_size", "kept_energy", "kept_tensor"]

_SAMPLING = ("noise_schedule", "models", "sampling")
_SOLVING = (*_SAMPLING, "memory", "feature_map", "compiled", "transposable", "jacobian", "svd")


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
        determinants: inputs and settings; the code of sampling is added.
        compute: makes it.
        device: where the result goes.
    """
    if store is None:
        return compute().contiguous()
    keys = {"code": code_version(*_SAMPLING), **determinants}
    return store.fetch(stage, keys, lambda: Record({"x": compute().contiguous()})).tensors["x"].to(device)


def kept_basis(
    store: Store | None, determinants: Mapping[str, Any], compute: Callable[[], LocalBasis], device: torch.device
) -> LocalBasis:
    """A local basis with its certificate; arguments as in :func:`kept_tensor`."""
    keys = {"code": code_version(*_SOLVING), **determinants}
    found = _record(compute()) if store is None else store.fetch("bases", keys, lambda: _record(compute()))
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
    keys = {"code": code_version(*_SOLVING), **determinants}
    found = (
        Record(facts={"block_size": compute()})
        if store is None
        else store.fetch("probes", keys, lambda: Record(facts={"block_size": compute()}))
    )
    return int(found.facts["block_size"])


def kept_energy(store: Store | None, determinants: Mapping[str, Any], compute: Callable[[], float]) -> float:
    """‖J‖²_F at one point; arguments as in :func:`kept_tensor`, the code of solving being added."""
    keys = {"code": code_version(*_SOLVING), "energy": True, **determinants}
    if store is None:
        return compute()
    return float(store.fetch("bases", keys, lambda: Record(facts={"energy": compute()})).facts["energy"])


def _record(basis: LocalBasis) -> Record:
    c = basis.certificate
    tensors = {"U": basis.U, "s": basis.s, "V": basis.V, "left": c.left, "right": c.right}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    facts = {"tol": c.tol, "passes": c.passes, "solver": c.solver, "gap": c.gap, "share": c.share}
    return Record(tensors, facts)

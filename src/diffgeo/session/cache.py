"""Latents, pictures and bases from the store, or computed and stored.

Either way they lie in memory alike: the last digits of what is computed from them depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffgeo.session.entries import Record, Slot
from diffgeo.session.store import Store
from diffgeo.svd import Certificate, LocalBasis

Key = Mapping[str, Any]
"""All that a result depends on, as :func:`diffgeo.session.digests.digest` takes it; the store adds the code."""


@dataclass
class KeptBases:
    """Bases that are read from the store, or to be computed.

    Attributes:
        missing: whether they have to be computed.
        bases: one per key.
    """

    missing: bool
    bases: list[LocalBasis] = field(default_factory=list)


class Cache:
    """What the parts of a run look results up in.

    Args:
        store: where results are kept; None computes everything.
        device: where tensors go.
        own: digests of the user's own code and files that results depend on (a model, a solver), which every key holds.
    """

    def __init__(self, store: Store | None, device: torch.device, own: Sequence[str] = ()) -> None:
        self.store, self.device = store, device
        self._own = {"own": list(own)} if own else {}

    def tensor(self, stage: str, key: Key, compute: Callable[[], Tensor]) -> Tensor:
        """One tensor of sampling.

        Args:
            stage: ``latents`` or ``pictures``.
            key: what determines it.
            compute: makes it.
        """
        with self._entry(stage, key) as entry:
            if entry.record is None:
                entry.record = Record({"x": compute().contiguous()})
        return entry.record.tensors["x"].to(self.device)

    @contextmanager
    def bases(self, keys: Sequence[Key]) -> Iterator[KeptBases]:
        """Local bases that are computed together, one entry each.

        Inside the block, ``bases`` is to be filled if it is ``missing``. (A context manager rather than a callback
        keeps the way from a study to its solver short.)

        Args:
            keys: what determines each; they must tell which others it was computed with, as its last digits depend on
                them.
        """
        with ExitStack() as stack:
            entries = [stack.enter_context(self._entry("bases", key)) for key in keys]
            kept = KeptBases(missing=any(entry.record is None for entry in entries))
            yield kept
            for entry, basis in zip(entries, kept.bases if kept.missing else [], strict=False):
                entry.record = _record(basis)
        kept.bases = [self._basis(entry.record) for entry in entries if entry.record is not None]

    def number(self, stage: str, key: Key, compute: Callable[[], float]) -> float:
        """A measured number, so that a repeated run takes the same one."""
        with self._entry(stage, key) as entry:
            if entry.record is None:
                entry.record = Record(facts={"number": compute()})
        return float(entry.record.facts["number"])

    def _entry(self, stage: str, key: Key) -> AbstractContextManager[Slot]:
        return nullcontext(Slot()) if self.store is None else self.store.slot(stage, {**key, **self._own})

    def _basis(self, record: Record) -> LocalBasis:
        t = record.tensors
        certificate = Certificate(t["left"], t["right"], **record.facts)
        return LocalBasis(t["U"].to(self.device), t["s"].to(self.device), t["V"].to(self.device), certificate)


def _record(basis: LocalBasis) -> Record:
    c = basis.certificate
    tensors = {"U": basis.U, "s": basis.s, "V": basis.V, "left": c.left, "right": c.right}
    facts = {"tol": c.tol, "passes": c.passes, "solver": c.solver, "gap": c.gap, "share": c.share}
    return Record({name: tensor.contiguous() for name, tensor in tensors.items()}, facts)

"""How many of a study's local bases missed the tolerance that they were asked for, and by how much.

A solver that ends its budget early returns a basis all the same, with a certificate. What is computed from such a basis
is no measurement of the model, so every study carries this count to wherever its numbers are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffgeo.svd import Certificate


@dataclass(frozen=True, slots=True)
class Convergence:
    """The accuracy of the local bases that a study, or a run, used.

    Attributes:
        bases: how many.
        missed: how many of them have a residual above their tolerance (``svd.tol``, or the study's own).
        worst: the largest residual of any of them over its tolerance; above 1 if one missed, 0 without bases.
        short: how many hold less of the spectrum than ``svd.share`` asks for.
    """

    bases: int = 0
    missed: int = 0
    worst: float = 0.0
    short: int = 0

    @classmethod
    def of(cls, ratios: Iterable[float], short: int = 0) -> Convergence:
        """Count bases.

        Args:
            ratios: every basis's largest residual over its tolerance; NaN counts as missed.
            short: how many hold less than ``svd.share``.
        """
        known = [math.inf if math.isnan(ratio) else ratio for ratio in ratios]
        return cls(len(known), sum(ratio > 1 for ratio in known), max(known, default=0.0), short)

    @classmethod
    def read(cls, manifest: Mapping[str, Any]) -> dict[str, Convergence]:
        """Study → what the ``run.json`` of a run says of it; empty for runs that did not get so far."""
        written = manifest.get("convergence") or {}
        return {
            study: cls(**{one.name: facts[one.name] for one in fields(cls) if one.name in facts})
            for study, facts in written.items()
        }

    @property
    def complete(self) -> bool:
        """Whether every basis is what was asked for."""
        return self.missed == 0 and self.short == 0

    def __str__(self) -> str:
        """What is wrong, in a sentence without its full stop; of bases that all converged, that they did."""
        sentences = []
        if self.missed:
            sentences.append(
                f"{self.missed} of {self.bases} local bases missed svd.tol: the largest residual is "
                f"{_times(self.worst)} times the tolerance"
            )
        if self.short:
            sentences.append(
                f"{self.short} of {self.bases} local bases hold less of the spectrum than svd.share asks for"
            )
        return "; ".join(sentences) or f"all {self.bases} local bases met svd.tol"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"


def summary(found: Mapping[str, Convergence], titles: Mapping[str, str] | None = None) -> str:
    """What is wrong with the bases of several studies, in a sentence without its full stop; empty if nothing is.

    Args:
        found: by study.
        titles: what to call the studies; by their own names if left out.
    """

    def listed(counts: Mapping[str, int]) -> str:
        named = {study: (titles or {}).get(study, study) for study in counts}
        return ", ".join(f"{n} of {found[study].bases} in {named[study]}" for study, n in counts.items() if n)

    sentences = []
    if missed := listed({study: one.missed for study, one in found.items()}):
        worst = max(one.worst for one in found.values())
        sentences.append(
            f"local bases missed svd.tol ({missed}): the largest residual is {_times(worst)} times the tolerance; "
            "raise svd.max_passes (svd.power_steps of the randomized solver), or svd.tol if that accuracy is enough"
        )
    if short := listed({study: one.short for study, one in found.items()}):
        sentences.append(
            f"local bases hold less of the spectrum than svd.share ({short}); raise svd.rank, or lower svd.share"
        )
    return ". ".join(one[:1].upper() + one[1:] for one in sentences)


class Tally:
    """Counts the local bases that the study in hand uses, each once, whether computed, stored or in memory."""

    def __init__(self) -> None:
        self._ratios: dict[int, float] | None = None
        self._short: set[int] = set()
        self._certificates: list[Certificate] = []  # alive, so that ids stay theirs

    @contextmanager
    def study(self) -> Iterator[None]:
        """Count from nothing while the block runs; outside of one nothing is counted."""
        self._ratios, self._short, self._certificates = {}, set(), []
        try:
            yield
        finally:
            self._ratios, self._short, self._certificates = None, set(), []

    def note(self, certificate: Certificate, share: float | None) -> None:
        """Count a basis.

        Args:
            certificate: its own.
            share: what ``svd.share`` asked of it; None for nothing.
        """
        key = id(certificate)
        if self._ratios is None or key in self._ratios:
            return
        self._certificates.append(certificate)
        self._ratios[key] = certificate.residual / certificate.tol
        if share is not None and certificate.share < share:  # NaN if nothing was asked of this basis
            self._short.add(key)

    @property
    def convergence(self) -> Convergence:
        """Of the bases so far."""
        return Convergence.of((self._ratios or {}).values(), len(self._short))

r"""The base class of solvers, which find the leading singular vectors and values of a Jacobian.

Each solver is a frozen dataclass in a file of its own; its fields are its settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from diffgeo.jacobian import JacobianOperator
from diffgeo.svd.basis import LocalBasis
from diffgeo.svd.conversation import Routine

__all__ = ["SMALL", "Solver"]

SMALL = 256
"""Smaller side of J up to which forming all of J takes no longer than a few directions do: so many vjps in wide blocks
are as quick as a few in narrow ones."""


@dataclass(frozen=True)
class Solver(ABC):
    """An algorithm for the leading singular triplets of J. Subclasses are frozen dataclasses of their own settings.

    Of a class, ``name`` is what certificates and tables call it, ``more`` the setting to raise if the tolerance was
    missed, ``columns`` its settings that count columns, of which J has no more than d.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    more: ClassVar[str] = "svd.max_passes"

    @abstractmethod
    def solve(self, jacobian: JacobianOperator, rank: int, *, tol: float, seed: int) -> LocalBasis:
        """The leading ``rank`` triplets, with residuals that were measured with J.

        Args:
            jacobian: J, shape (m, d).
            rank: n, 1 … min(m, d).
            tol: bound on ‖J v_i − s_i u_i‖ / s_1 and ‖Jᵀ u_i − s_i v_i‖ / s_1 for i ≤ n.
            seed: of the random start.

        Returns:
            The basis. A solver that stops early returns what it has; the certificate then says that it did not
            converge.
        """

    def forms_whole(self, shape: tuple[int, int], rank: int) -> bool:  # noqa: ARG002 (subclasses use both)
        """Whether the dense J is decomposed instead, because that costs no more.

        Args:
            shape: of J, (m, d).
            rank: n, as asked.

        Returns:
            True if ``solve`` should take the dense J.
        """
        return False

    @property
    def measures(self) -> bool:
        """Whether it wants to :meth:`measure` this machine before it solves."""
        return False

    def measure(self, jacobian: JacobianOperator, rank: int, *, tol: float) -> int:
        """The value of a setting that is quickest for this map on this device.

        Args:
            jacobian: J, shape (m, d); passes are spent on it.
            rank: n.
            tol: as for :meth:`solve`.

        Returns:
            What :meth:`with_measured` takes.

        Raises:
            NotImplementedError: the solver measures nothing.
        """
        raise NotImplementedError(f"{self.name} measures nothing")

    def with_measured(self, found: int) -> Self:  # noqa: ARG002
        """The same solver with a setting that was measured.

        Args:
            found: what :meth:`measure` gave, now or in an earlier run.

        Returns:
            A solver; the same one if it measures nothing.
        """
        return self

    @property
    def joins(self) -> bool:
        """Whether it can solve several points together, because it is written as a :meth:`routine`."""
        return type(self).routine is not Solver.routine

    def routine(
        self,
        shape: tuple[int, int],  # noqa: ARG002
        like: Tensor,  # noqa: ARG002
        rank: int,  # noqa: ARG002
        *,
        tol: float,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> Routine[LocalBasis | None] | None:
        """The algorithm as a conversation, which can serve several points at once; None if it is not written as one.

        Args:
            shape: of J at one point, (m, d).
            like: a tensor of J's dtype on its device, of any shape.
            rank: n.
            tol: as for :meth:`solve`.
            seed: as for :meth:`solve`.

        Returns:
            A generator that yields the next block of vectors and is sent J's products with them
            (:mod:`diffgeo.svd.conversation`); it returns the basis, or None if only the dense J is left to take.
        """
        return None

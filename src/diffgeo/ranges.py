"""What a setting may be: a :class:`Rule`, written where the setting is.

Classes that a run chooses (solvers, edits, predictors) put it into the type of a parameter:
``block_size: Annotated[int, Rule(ge=1)] = 4``; schemas use :func:`diffgeo.config.setting`, which makes one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffgeo.errors import DataError, DiffgeoError

__all__ = ["Affects", "Rule"]

Affects = Literal["nothing", "session", "results", "model"]
"""What depends on a setting:

* ``nothing``: no number, and nothing that is loaded (where a run is tracked, for instance);
* ``session``: no number, but what a process has loaded and hands from run to run (the device, the store);
* ``results``: numbers, computed from the same model, latents and bases;
* ``model``: the model, what reads its pictures, its latents or bases, and by them the numbers.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting may be, and what depends on it.

    Attributes:
        affects: None is what its group affects, ``results`` if that says nothing either.
        ge: least value; of every item, if the setting is a list, and so are the other bounds and the choices.
        gt: bound that values lie above.
        le: largest value.
        lt: bound that values lie below.
        choices: possible values.
        items: fewest items of a list.
        distinct: whether a list holds each item once.
        fits: a further condition, worded by ``allowed``.
        scheduled: whether values are fractions of T, each of which the run's schedule has to have a timestep of, within
            half a step.
        path: whether values are paths, of files or folders that have to be there: ``always``, or ``perhaps``: those
            that begin with ``/``, ``./``, ``../`` or ``~``, as others are names.
        absent: error that is raised if there is nothing at such a path.
        allowed: the range in words; made from the bounds if empty. "null" is put before it if the type allows it.
    """

    affects: Affects | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    items: int = 0
    distinct: bool = False
    fits: Callable[[Any], bool] | None = None
    allowed: str = ""
    scheduled: bool = False
    path: Literal["", "always", "perhaps"] = ""
    absent: type[DiffgeoError] = DataError

    def admits(self, value: Any) -> bool:
        """Whether a value is in the range; numbers that are not finite never are."""
        if isinstance(value, list):
            many = len(value) >= self.items and (
                not self.distinct or all(x not in value[:i] for i, x in enumerate(value))
            )
            return many and all(map(self._admits_one, value)) and (self.fits is None or self.fits(value))
        return self._admits_one(value) and (self.fits is None or self.fits(value))

    def missing(self, value: Any) -> list[str]:
        """The paths in a value at which there is nothing."""
        texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
        paths = [one for one in texts if self.path == "always" or one.startswith(("/", "./", "../", "~"))]
        return [one for one in paths if not _is_there(one)] if self.path else []

    def _admits_one(self, value: Any) -> bool:
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def in_words(self, *, nullable: bool = False) -> str:
        """The range, as a sentence on what is allowed goes on; empty if every value of the type is."""
        words = self.allowed or self._choices() or self._bounds()
        if self.distinct and not self.allowed:
            words = f"{words}, each once".lstrip(", ")
        return f"null, or {words}" if nullable and words else words

    def _choices(self) -> str:
        return f"{'any of ' if self.items or self.distinct else ''}{', '.join(self.choices)}" if self.choices else ""

    def _bounds(self) -> str:
        if self.gt == 0 and self.le is None and self.lt is None:
            return "a positive number"
        low = f"{self.ge:g}" if self.ge is not None else "" if self.gt is None else f"above {self.gt:g}"
        high = f"to {self.le:g}" if self.le is not None else "" if self.lt is None else f"below {self.lt:g}"
        if self.ge is not None and self.lt is None:
            return f"{low} {high or 'or more'}"
        return f"{low}, {high}".strip(", ")


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, of no user's home, not a path at all
        return False

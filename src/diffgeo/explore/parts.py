"""What the explorer and its page pass to one another: choices, directions at a latent, cards, edited pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffgeo.errors import DiffgeoError
from diffgeo.session import Context, Sample
from diffgeo.session.progress import Display, Interruption
from diffgeo.svd import LocalBasis

Report = Callable[[str, int, int | None], None]
"""Told of progress: what is being done, steps done, steps in all (None if unknown)."""

Source = Literal["local", "global", "mask", "file"]
"""Whose directions: the picture's own, those that several samples share, that act in a mask, or those of a file."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which directions are wanted.

    Attributes:
        sample: the seed; if ``data.images`` is set, the place in that list.
        t_frac: timestep of x, as a fraction of T.
        block: of the feature map.
        pool: of the feature map, ``"sum"`` or None.
        rank: directions to find.
        source: whose they are.
        strength: the length that weight 1 stands for, as a share of √d (``edit.strength``).
        mask: where the picture should change, as :func:`~diffgeo.explore.painting.text_of` says it; None unless the
            source is ``mask``, for which block and pooling do not count.
    """

    sample: int
    t_frac: float
    block: str
    pool: str | None
    rank: int
    source: Source = "local"
    strength: float = 0.06
    mask: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An uploaded picture.

    Attributes:
        name: of the file, for the visitor's eyes and command line only.
        x0: its clean latent, shape (C, H, W).
    """

    name: str
    x0: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LatentDirections:
    """A latent with its directions.

    Attributes:
        choice: what was asked for.
        picture: the uploaded one, or None.
        context: model and settings, from which the same is computed again.
        sample: whose latent it is.
        t: its timestep.
        x: x_t, shape (C, H, W).
        basis: the local basis at x; with a mask, that of ∂x̂0/∂x inside it.
        V: unit directions of X, shape (d, k).
        fit: share of each direction's length within the picture's tangent space, (k,); None for its own.
        original: the unedited picture in preview steps, shape (3, H, W) in [−1, 1].
        names: labels that came with a file of directions, or None.
        mask: where the directions act, boolean, of the picture's shape (H, W), or None.
    """

    choice: Choice
    picture: Picture | None
    context: Context
    sample: Sample
    t: int
    x: Tensor
    basis: LocalBasis
    V: Tensor
    fit: Tensor | None
    original: Tensor
    names: tuple[str, ...] | None = None
    mask: Tensor | None = None

    @property
    def rank(self) -> int:
        """How many directions there are."""
        return self.V.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """One direction as the page shows it.

    Attributes:
        index: from 0.
        minus: the picture at weight −1, shape (3, H, W).
        plus: at weight 1.
        label: what changes from one to the other.
        value: its singular value, or its fit if it is not the picture's own.
    """

    index: int
    minus: Tensor
    plus: Tensor
    label: str
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class EditedPicture:
    """Before and after.

    Attributes:
        before: shape (3, H, W), in [−1, 1].
        after: likewise.
        difference: mean absolute difference over colours as a share of the whole range, shape (H, W), in [0, 1].
        attributes: predicted ones, k names.
        changes: of them, after less before, shape (k,).
        steps: of the DDIM schedule that both were decoded with.
    """

    before: Tensor
    after: Tensor
    difference: Tensor
    attributes: tuple[str, ...]
    changes: Tensor
    steps: int


class Reporting(Display):
    """Tells a function of progress instead of drawing bars, and leaves when the page ends.

    Args:
        report: told of progress.
        interruption: that the page ends.
        during: words before each description.
    """

    def __init__(self, report: Report | None, interruption: Interruption, during: str = "") -> None:
        super().__init__()
        self._report, self._interruption, self._during = report, interruption, during

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[..., None]]:
        """See the base class."""
        done = 0

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            if self._interruption.requested:
                raise DiffgeoError("the explorer is being ended", "start it again")
            if self._report is not None:
                self._report(f"{self._during}{description}", done, total)

        yield advance


def preview_steps(steps: int, most: int) -> int:
    """The largest divisor of ``steps`` that is at most ``most``; ``steps`` itself if that would be under 4."""
    found = max((n for n in range(1, min(steps, most) + 1) if steps % n == 0), default=steps)
    return found if found >= min(4, steps) else steps

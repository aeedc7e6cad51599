"""What a study would compute, told before it does: beside ``run(context, cfg)``, a study has ``work(context, cfg)``.

Work is a set of tasks under keys. What several studies ask for under one key is computed once: in memory, where
``Context`` keeps it (latents, the samples' bases), else where there is a store. Nothing here runs the network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from diffgeo.config import FeatureConfig, GuidanceConfig, ShootingConfig
from diffgeo.studies.context import Context, Sample

__all__ = [
    "Edits",
    "Map",
    "Task",
    "Work",
    "basis_work",
    "point_work",
    "picture_work",
    "feature_work",
    "latent_work",
    "matching_work",
    "move_work",
    "noise_work",
    "steps_below",
    "total",
    "traversal_work",
]

MATCHED_EDITS, MATCHED_ROUNDS = 3.0, 5
"""Bringing an edit to a strength takes about so many pictures of it, in at most so many batches (``matching``)."""

Kind = Literal["basis", "evaluation", "feature", "picture"]


@dataclass(frozen=True, slots=True)
class Map:
    """A map whose Jacobian is decomposed.

    Attributes:
        block: of the feature map, or ``x0`` or ``eps`` for the network's output.
        pool: of the feature map.
    """

    block: str
    pool: str | None = None

    def __str__(self) -> str:
        return f"{self.block}, pooled" if self.pool else self.block


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to compute.

    Attributes:
        kind: ``basis``; ``evaluation`` of the network (noise of a batch); ``feature``, a batch through the feature map
            alone; ``picture``, a batch decoded.
        count: how many; evaluations one after the other.
        batch: latents in each.
        map: of a basis.
        rank: of a basis.
        tol: of a basis.
        share: whether ``svd.share`` chooses the rank of a basis.
        times: how often it is asked for.
        kept: whether ``Context`` keeps it in memory, so that asking again costs nothing.
        storable: whether a store keeps it.
        about: whether the numbers are an expectation, as they depend on what is found.
    """

    kind: Kind
    count: float = 1
    batch: float = 1
    map: Map | None = None
    rank: int = 0
    tol: float = 0.0
    share: bool = False
    times: int = 1
    kept: bool = False
    storable: bool = True
    about: bool = False


@dataclass(frozen=True)
class Work:
    """Tasks by key; ``+`` joins them."""

    tasks: Mapping[Hashable, Task] = field(default_factory=dict)

    def __add__(self, other: Work) -> Work:
        tasks = dict(self.tasks)
        for key, task in other.tasks.items():
            known = tasks.get(key)
            tasks[key] = task if known is None else replace(known, times=known.times + task.times)
        return Work(tasks)

    def beyond(self, done: Work, *, store: bool) -> Work:
        """What is left of it after other work.

        Args:
            done: what was computed before.
            store: whether there is a store.
        """
        return Work(
            {k: t for k, t in self.tasks.items() if not (k in done.tasks and (t.kept or (store and t.storable)))}
        )

    def settled(self, *, store: bool) -> list[Task]:
        """The tasks, each with how often it is really computed.

        Args:
            store: whether there is a store, which makes every storable key cost once.
        """
        return [replace(t, times=1) if t.kept or (store and t.storable) else t for t in self.tasks.values()]


def _one(key: Hashable, task: Task) -> Work:
    """A single task."""
    return Work({key: task})


def total(parts: Sequence[Work]) -> Work:
    """Several together."""
    tasks: dict[Hashable, Task] = {}
    for part in parts:
        for key, task in part.tasks.items():
            known = tasks.get(key)
            tasks[key] = task if known is None else replace(known, times=known.times + task.times)
    return Work(tasks)


def steps_below(context: Context, t: int) -> int:
    """DDIM steps from timestep t to the picture."""
    return sum(u <= t for u in context.model.schedule.timesteps(context.cfg.schedule.steps))


def latent_work(context: Context, sample: Sample, t: int, who: Hashable = "run") -> Work:
    """A sample's x_t: its inversion, and a task for every DDIM step from T down to t.

    Args:
        context: of the run.
        sample: whose.
        t: timestep.
        who: tells other models, prompts and scales from the run's own.
    """
    grid = context.model.schedule.timesteps(context.cfg.schedule.steps)
    tasks: dict[Hashable, Task] = {}
    if sample.x0 is not None:
        tasks["inverted", who, sample.index] = Task("evaluation", len(grid), kept=True)
    for u in grid:
        if u > t:
            tasks["step", who, sample.index, u] = Task("evaluation", kept=True)
    return Work(tasks)


def basis_work(context: Context, sample: Sample, t: int) -> Work:
    """The run's local basis at a sample's x_t, with the latent."""
    at = ("x", "run", sample.index)
    return latent_work(context, sample, t) + point_work(context, at, t, kept=True)


def point_work(
    context: Context,
    place: Hashable,
    t: int,
    *,
    feature: FeatureConfig | None = None,
    output: str | None = None,
    rank: int | None = None,
    tol: float | None = None,
    kept: bool = False,
    about: bool = False,
) -> Work:
    """A basis at some point.

    Args:
        context: of the run.
        place: tells the point from others.
        t: timestep of the feature map.
        feature: the run's where None.
        output: ``x0`` or ``eps`` instead of features.
        rank: the run's where None.
        tol: likewise.
        kept: whether ``Context`` keeps it in memory.
        about: whether it may be more or fewer.
    """
    svd, feature = context.cfg.svd, feature or context.cfg.feature
    f = Map(output) if output else Map(feature.block, feature.pool)
    n, tol = svd.rank if rank is None else rank, svd.tol if tol is None else tol
    share = rank is None and svd.share is not None
    return _one(("basis", f, place, t, n, tol), Task("basis", 1, 1, f, n, tol, share, kept=kept, about=about))


def noise_work(key: Hashable, count: float, batch: float = 1, *, about: bool = False) -> Work:
    """Evaluations of the network that nothing keeps."""
    return _one(("noise", key), Task("evaluation", count, batch, storable=False, about=about))


def feature_work(key: Hashable, count: float, batch: float = 1, *, about: bool = False) -> Work:
    """Batches through the feature map alone."""
    return _one(("feature", key), Task("feature", count, batch, storable=False, about=about))


def picture_work(
    context: Context, key: Hashable, t: int, batch: float, *, count: float = 1, about: bool = False
) -> Work:
    """``count`` batches of latents at t taken to pictures."""
    steps = steps_below(context, t) * count
    return Work(
        {
            ("denoised", key): Task("evaluation", steps, batch, about=about),
            ("picture", key): Task("picture", count, batch, about=about),
        }
    )


def move_work(
    context: Context,
    key: Hashable,
    sample: Sample,
    batch: float,
    *,
    count: float = 1,
    normalise: bool | None = None,
    curved: bool = False,
    about: bool = False,
) -> Work:
    """The evaluations that moving a latent by ``batch`` offsets at once takes: normalisation, or x-space guidance.

    Args:
        context: of the run.
        key: tells it from others.
        sample: whose latent is moved.
        batch: offsets.
        count: how often.
        normalise: overrides ``edit.normalise``.
        curved: whether the offsets lie on a curve, which guidance does not replace.
        about: whether the numbers are an expectation.
    """
    edit = context.cfg.edit
    if isinstance(edit, GuidanceConfig) and not curved:
        return noise_work((key, "guided"), 2 * edit.steps * count, batch, about=about)
    if not context.normalises(sample, normalise):
        return Work()
    return noise_work((key, "before"), count, about=about) + noise_work((key, "after"), count, batch, about=about)


def traversal_work(context: Context, key: Hashable, sample: Sample, t: int, directions: int) -> Work:
    """Traversals of the leading directions (:meth:`Context.traverse`), before they are decoded."""
    edit, parts = context.cfg.edit, []
    for i in range(directions):
        if not isinstance(edit, ShootingConfig):
            parts.append(move_work(context, (key, i), sample, edit.frames))
            continue
        for side in (-1, 1):
            parts.append(move_work(context, (key, i, side), sample, 1, count=edit.steps, curved=True))
            points = (("shot", key, i, side, piece) for piece in range(1, edit.steps))
            parts += [point_work(context, point, t) for point in points]
    return total(parts)


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of one kind that are brought to one strength together.

    Attributes:
        number: of curves.
        normalise: overrides ``edit.normalise``.
        curved: whether they are curves of their own.
    """

    number: int
    normalise: bool | None = None
    curved: bool = False


def matching_work(
    context: Context, key: Hashable, sample: Sample, t: int, edits: Sequence[Edits], reference: int | None
) -> Work:
    """:func:`diffgeo.studies.matching.match_edits`, whose search takes as many pictures as it takes.

    Args:
        context: of the run.
        key: of study and sample.
        sample: whose x_t is edited.
        t: timestep.
        edits: by kind.
        reference: edits of the reference where they set the common strength first, None where it is known.
    """
    kinds = Counter[tuple[bool | None, bool]]()
    for one in edits:
        kinds[one.normalise, one.curved] += one.number
    number = kinds.total()
    if number == 0:
        return Work()
    parts = [picture_work(context, ("original", sample.index, t), t, 1)]
    if reference is not None:
        k = reference or number
        parts += [move_work(context, (key, "reference"), sample, k), picture_work(context, (key, "reference"), t, k)]
    parts.append(picture_work(context, (key, "first"), t, number))
    rounds, left = MATCHED_ROUNDS - 1, (MATCHED_EDITS - 1) / (MATCHED_ROUNDS - 1)
    parts.append(picture_work(context, (key, "more"), t, number * left, count=rounds, about=True))
    for (normalise, curved), alike in kinds.items():
        if alike:
            how: dict[str, Any] = {"normalise": normalise, "curved": curved}
            kind = (key, normalise, curved)
            parts.append(move_work(context, (kind, "first"), sample, alike, **how))
            parts.append(move_work(context, (kind, "more"), sample, alike * left, count=rounds, about=True, **how))
    return total(parts)

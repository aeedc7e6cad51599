"""What the page's components do: each action takes a visitor and controls, and returns values for components."""

from __future__ import annotations

import base64
import functools
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from diffgeo.diffusion.direction_files import save_directions
from diffgeo.errors import DataError, DiffgeoError, sentence
from diffgeo.explore import page
from diffgeo.explore.links import link_of, linked
from diffgeo.explore.panels import SHOWN, SOURCES, STRENGTH, SUMMED, WHOLE
from diffgeo.explore.parts import Choice, LatentDirections, Picture, Report, Source
from diffgeo.explore.session import Explorer
from diffgeo.explore.uploads import MAX_BYTES
from diffgeo.metrics.attributes import label_change

STEPS, PAUSE = 50, 1.0
"""Steps that can be taken back, and seconds after which another move of the same slider is a step of its own."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """What one visitor has.

    Attributes:
        place: where the visitor is; None before the first look.
        picture: uploaded, or None.
        weights: of all directions of the place.
        first: the first direction on the page.
        past: earlier weights, the last one newest.
        hand: (direction, time) of the last move of a slider.
    """

    place: LatentDirections | None = None
    picture: Picture | None = None
    weights: tuple[float, ...] = ()
    first: int = 0
    past: tuple[tuple[float, ...], ...] = ()
    hand: tuple[int, float] = (-1, 0.0)

    @property
    def shown(self) -> tuple[float, ...]:
        """Weights of the directions on the page, as many as there are sliders."""
        found = self.weights[self.first : self.first + SHOWN]
        return (*found, *[0.0] * (SHOWN - len(found)))

    def moved(self, shown: Sequence[float], now: float) -> Visitor:
        """With other weights for the directions on the page; a slider's moves without a pause are one step back."""
        weights = list(self.weights)
        weights[self.first : self.first + SHOWN] = shown[: len(weights) - self.first]
        changed = next((i for i, pair in enumerate(zip(weights, self.weights, strict=True)) if len(set(pair)) > 1), -1)
        which, when = self.hand
        begun = changed != which or now - when > PAUSE
        return replace(self.before() if begun else self, weights=tuple(weights), hand=(changed, now))

    def before(self) -> Visitor:
        """The same, with what is shown as the newest of the past."""
        return replace(self, past=(*self.past, self.weights)[-STEPS:], hand=(-1, 0.0))

    def undone(self) -> Visitor:
        """One step back; the same if there is none."""
        if not self.past:
            return self
        return replace(self, weights=self.past[-1], past=self.past[:-1], hand=(-1, 0.0))


def _worded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show what a user can mend as a message on the page; the model is in one visitor's hands meanwhile."""

    @functools.wraps(function)
    def wrapper(actions: Actions, *args: Any, **kwargs: Any) -> Any:
        try:
            with actions.busy:
                return function(actions, *args, **kwargs)
        except DiffgeoError as error:
            raise gr.Error(f"{sentence(error.what)} {sentence(error.advice)}", print_exception=False) from None

    return wrapper


class Actions:
    """What the components call; each method returns values for the components that it is wired to.

    Attributes:
        explorer: the model.
        busy: held while something is computed.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self.busy = explorer, threading.RLock()
        self._samples: list[tuple[Any, str]] | None = None

    @_worded
    def samples(self) -> list[tuple[Any, str]]:
        """Fill the gallery."""
        if self._samples is None:
            self._samples = [(page.as_image(picture), name) for name, picture in self.explorer.samples()]
        return self._samples

    @_worded
    def arrive(self, query: str, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Show what the page's address asks for, or else the start; a link that does not fit is told."""
        try:
            choice, weights = linked(query or "", self.explorer)
        except DataError as error:
            gr.Warning(f"{sentence(error.what)} {sentence(error.advice)}")
            choice, weights = self.explorer.start, ()
        report = _reporting(progress)
        place = self.explorer.place(choice, report=report)
        weights = (*weights, *[0.0] * place.rank)[: place.rank]
        pool = SUMMED if choice.pool else WHOLE
        controls = [choice.sample, choice.t_frac, choice.block, pool, choice.rank, SOURCES[choice.source]]
        shown = self._shown(Visitor(place, None, weights), report, strength=choice.strength)
        return [*controls, choice.mask or "", *shown]

    @_worded
    def find(self, visitor: Visitor | None, *controls: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Find directions where the controls say."""
        visitor, choice = visitor or Visitor(), _choice(*controls)
        if visitor.place is not None and choice.sample != visitor.place.choice.sample:
            visitor = replace(visitor, picture=None)  # another seed was typed in after the upload
        return self._found(visitor, choice, progress)

    @_worded
    def inside(self, visitor: Visitor | None, *controls: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Find directions that act in the painted mask."""
        return self._turned("mask", visitor or Visitor(), controls, progress)

    @_worded
    def whole(self, visitor: Visitor | None, *controls: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Come back to the directions of the whole picture."""
        return self._turned(self.explorer.whole, visitor or Visitor(), controls, progress)

    @_worded
    def pick(self, visitor: Visitor | None, *controls: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Leave an uploaded picture for one of the model's own."""
        return self._found(replace(visitor or Visitor(), picture=None), _choice(*controls), progress)

    def picked(self, visitor: Visitor | None, event: gr.SelectData) -> tuple[Visitor, int]:
        """The sample that a picture of the gallery stands for."""
        first = self.explorer.start.sample if self.explorer.context.cfg.data.images is None else 0
        return replace(visitor or Visitor(), picture=None), first + int(event.index)

    @_worded
    def upload(
        self,
        path: str,
        _: Visitor | None,
        *controls: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Read an upload, remove its file, invert the picture, find directions there and suggest a strength."""
        name = Path(path).name
        picture, report = self.explorer.upload(_taken(Path(path)), name), _reporting(progress)
        place, why = self.explorer.suggested(self.explorer.place(_choice(*controls), picture, report=report))
        shown = Visitor(place, picture, (0.0,) * place.rank)
        return self._shown(shown, report, strength=place.choice.strength, why=why)

    def stale(self, visitor: Visitor | None, *controls: Any) -> str:
        """Say that what is shown is of other settings than the controls'."""
        place = None if visitor is None else visitor.place
        if place is None:
            return ""
        return (
            ""
            if _choice(*controls) == place.choice
            else "<p class='dg-stale'>Settings changed: press “Find directions”.</p>"
        )

    @_worded
    def move(self, visitor: Visitor | None, *weights: float) -> tuple[Any, ...]:
        """Mix the directions as the sliders say."""
        visitor, _ = _here(visitor)
        return self._edited(visitor.moved(weights, time.monotonic()))

    @_worded
    def undo(self, visitor: Visitor | None) -> tuple[Any, ...]:
        """One step back of the sliders."""
        visitor = _here(visitor)[0].undone()
        return *self._edited(visitor), *visitor.shown

    @_worded
    def reset(self, visitor: Visitor | None) -> tuple[Any, ...]:
        """The picture as it was."""
        visitor, place = _here(visitor)
        return self._edited(replace(visitor.before(), weights=(0.0,) * place.rank))

    @_worded
    def turn(self, visitor: Visitor | None, shown: int, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Show other directions of the place."""
        visitor, _ = _here(visitor)
        return self._shown(replace(visitor, first=shown), _reporting(progress))

    @_worded
    def save_picture(self, visitor: Visitor | None, progress: Any = gr.Progress()) -> dict[str, str]:  # noqa: B008
        """The edited picture, decoded with all steps; the command line is inside it."""
        visitor, place = _here(visitor)
        progress(0.1, desc="decoding with all steps")
        edited = self.explorer.edit(place, visitor.weights, full=True)
        content = page.png(page.as_image(edited.after), self.explorer.command(place, visitor.weights))
        return _file(f"{_stem(place)}.png", "image/png", content)

    @_worded
    def save_direction(self, visitor: Visitor | None) -> dict[str, str]:
        """The mixed direction as a file for ``diffgeo.load_directions``."""
        visitor, place = _here(visitor)
        edited = self.explorer.edit(place, visitor.weights)
        label = label_change(edited.attributes, edited.changes) if edited.attributes else None
        found = self.explorer.direction(place, visitor.weights, label)
        with tempfile.TemporaryDirectory() as folder:
            content = save_directions(Path(folder) / "direction.safetensors", found).read_bytes()
        return _file(f"{_stem(place)}.safetensors", "application/octet-stream", content)

    def _found(self, visitor: Visitor, choice: Choice, progress: Any) -> list[Any]:
        """The directions of the visitor's picture, or of the chosen sample."""
        report = _reporting(progress)
        place = self.explorer.place(choice, visitor.picture, earlier=visitor.place, report=report)
        return self._shown(Visitor(place, visitor.picture, (0.0,) * place.rank), report)

    def _turned(self, source: Source, visitor: Visitor, controls: Sequence[Any], progress: Any) -> list[Any]:
        """Directions of another source: its control, and what is found."""
        *where, _, mask, strength = controls
        changed: list[Any] = [*where, SOURCES[source], mask, strength]
        return [SOURCES[source], *self._found(visitor, _choice(*changed), progress)]

    def _edited(self, visitor: Visitor) -> tuple[Any, ...]:
        assert visitor.place is not None
        edited = self.explorer.edit(visitor.place, visitor.weights)
        figures = page.figures(edited, visitor.place, self.explorer.context.cfg.schedule.steps)
        command = self.explorer.command(visitor.place, visitor.weights)
        # an uploaded picture is kept nowhere that a link could name
        link = "" if visitor.picture is not None else link_of(visitor.place.choice, visitor.weights)
        return visitor, figures, page.bars(edited), command, link

    def _shown(self, visitor: Visitor, report: Report, strength: float | None = None, why: str = STRENGTH) -> list[Any]:
        """Everything that depends on the place; the slider of the strength is set only if one is given."""
        place = visitor.place
        assert place is not None
        found = self.explorer.cards(place, visitor.first, SHOWN, report)
        _, figures, bars, command, link = self._edited(visitor)
        missing = SHOWN - len(found)
        starts = range(0, place.rank, SHOWN)
        choices = [(f"{i + 1}–{min(i + SHOWN, place.rank)}", i) for i in starts]
        return [
            visitor,
            figures,
            bars,
            gr.Radio(choices=choices, value=visitor.first, visible=len(choices) > 1),
            *[gr.Column(visible=i < len(found)) for i in range(SHOWN)],
            *[page.card(one, place) for one in found],
            *[""] * missing,
            *[
                gr.Slider(value=weight, label=f"Weight of direction {visitor.first + i + 1}")
                for i, weight in enumerate(visitor.weights[visitor.first : visitor.first + SHOWN])
            ],
            *[0.0] * missing,
            command,
            "",
            link,
            gr.Slider(info=why) if strength is None else gr.Slider(value=strength, info=why),
        ]


def _choice(
    sample: float, t_frac: float, block: str, pool: str, rank: float, source: str, mask: str, strength: float
) -> Choice:
    known = {text: key for key, text in SOURCES.items()}
    chosen = known[source]
    summed, painted = "sum" if pool == SUMMED else None, mask if chosen == "mask" else None
    # a slider's steps add up to 0.15000000000000002, which the command line would not say
    return Choice(
        int(sample or 0), round(t_frac, 6), block, summed, int(rank), chosen, round(strength, 6), painted or None
    )


def _here(visitor: Visitor | None) -> tuple[Visitor, LatentDirections]:
    if visitor is None or visitor.place is None:
        raise DataError("nothing is shown yet, or it was forgotten after an hour", "press “Find directions”")
    return visitor, visitor.place


def _reporting(progress: Any) -> Report:
    def report(description: str, done: int, total: int | None) -> None:
        if total is not None:
            progress((done, total), desc=description)
            return
        what, _, counted = description.rpartition(", ")  # Gradio shows a description beside a share alone
        progress((done, None), unit=f"{counted}: {what}")

    return report


def _taken(path: Path) -> bytes:
    """The bytes of an uploaded file, which is removed whatever comes of it."""
    try:
        if path.stat().st_size > MAX_BYTES:  # the server refuses these, too, where it knows their size beforehand
            raise DataError(f"the file has more than {MAX_BYTES // 2**20} MB", "make it smaller")
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()


def _stem(place: LatentDirections) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", Path(place.sample.name).stem)
    return f"diffgeo_{name}_t{place.t}"


def _file(name: str, kind: str, content: bytes) -> dict[str, str]:
    return {"name": name, "type": kind, "data": base64.b64encode(content).decode()}

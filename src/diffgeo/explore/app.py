"""The page: Gradio's components, and which of them does what. All that is computed is in :mod:`.session`.

Visitors share one queue, so that the model serves one at a time and the others see their place in line. What a visitor
has lies in the server's memory until an hour after the last move; the files of uploads are removed as soon as they are
read, and pictures go to the browser inside the page, not as files. :mod:`.serving` puts the page on the network.
"""

from __future__ import annotations

import base64
import functools
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read on import

import gradio as gr

from diffgeo.diffusion.direction_files import save_directions
from diffgeo.errors import DataError, DiffgeoError, sentence
from diffgeo.explore import page
from diffgeo.explore.links import link_of, linked
from diffgeo.explore.session import LIMIT, Choice, Explorer, Picture, Place, Report, Source
from diffgeo.explore.uploads import MAX_BYTES
from diffgeo.metrics.attributes import label_change

__all__ = ["Actions", "build", "theme"]

SHOWN = 8
"""Directions on the page at a time."""
KEPT, LEFT = 3600, 300
"""Seconds for which what a visitor has is kept after the last move."""
WAITING = 32
STEPS, PAUSE = 50, 1.0
"""Steps that can be taken back, and seconds after which another move of the same slider is a step of its own."""

_SOURCES: dict[Source, str] = {
    "local": "this picture's own",
    "global": "shared by several pictures",
    "file": "from the file",
}
_WHOLE, _SUMMED = "whole map", "summed over space"
# where the queue is shared, the model serves one visitor at a time
_QUEUED: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
_AT_ONCE: dict[str, Any] = {"queue": False, "api_visibility": "private"}

_ARRIVE = "() => [window.location.search]"
_ADDRESS = "(link) => { window.history.replaceState(null, '', link || window.location.pathname); }"
_STRENGTH = "How far weight 1 moves x, as a share of the length of pure noise."
_DOWNLOAD = """(file) => {
  const bytes = Uint8Array.from(atob(file.data), (c) => c.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: file.type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""


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

    place: Place | None = None
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
            said = f"{sentence(error.what)} {sentence(error.advice)}"
            raise gr.Error(said, print_exception=False) from None

    return wrapper


def build(actions: Actions) -> gr.Blocks:
    """The page for one model."""
    explorer = actions.explorer
    model, start, times = explorer.context.model, explorer.start, explorer.times
    seeds = explorer.context.cfg.data.images is None
    prompt = model.conditioning.get("prompt")
    with gr.Blocks(
        title="diffgeo explorer", analytics_enabled=False, delete_cache=(60, LEFT), fill_width=False
    ) as demo:
        visitor, payload = gr.State(Visitor(), time_to_live=KEPT), gr.JSON(visible="hidden")
        link = gr.Textbox(visible="hidden")
        gr.HTML(page.head(model.source, model.picture_size, None if prompt is None else str(prompt)))
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                gallery = gr.Gallery(
                    label="Pick a picture",
                    show_label=False,
                    columns=4,
                    height="auto",
                    allow_preview=False,
                    buttons=[],
                    format="png",
                    interactive=False,
                    elem_id="dg-samples",
                    elem_classes="dg-pixels" if model.picture_size < 128 else None,
                )
                with gr.Row(elem_id="dg-seed"):
                    sample = gr.Number(
                        start.sample,
                        label="or a seed",
                        precision=0,
                        minimum=0,
                        maximum=2**31,
                        min_width=80,
                        visible=seeds,
                    )
                    upload = gr.UploadButton(
                        "or upload a picture",
                        file_types=[".png", ".jpg", ".jpeg", ".webp"],
                        type="filepath",
                        size="sm",
                        elem_id="dg-upload",
                    )
                _files_only(upload)
                with gr.Group():
                    t_frac = gr.Slider(
                        times[0],
                        1,
                        start.t_frac,
                        step=times[0],
                        label="t / T",
                        info="Where on the way from noise to edit: near 1 is coarse (what is shown), lower is fine.",
                        buttons=[],
                    )
                    block = gr.Dropdown(
                        model.blocks,
                        value=start.block,
                        label="Block",
                        info="Its output is h; directions are those that change h most.",
                    )
                    pool = gr.Radio(
                        [_WHOLE, _SUMMED],
                        value=_SUMMED if start.pool else _WHOLE,
                        label="Pooling of h",
                        info="Summed over space, h says what there is and not where.",
                    )
                    rank = gr.Slider(
                        1,
                        max(32, start.rank),
                        start.rank,
                        step=1,
                        label="Rank",
                        info="How many directions to find, strongest first.",
                        buttons=[],
                    )
                    strength = gr.Slider(
                        0.005,
                        max(0.15, start.strength),
                        start.strength,
                        step=0.005,
                        label="Strength",
                        info=_STRENGTH,
                        elem_id="dg-strength",
                        buttons=[],
                    )
                    source = gr.Radio(
                        [_SOURCES[key] for key in explorer.sources],
                        value=_SOURCES[start.source],
                        label="Directions",
                        info="This picture's own, or ones that several pictures share, carried to it.",
                    )
                find = gr.Button("Find directions", variant="primary", elem_id="dg-find")
                note = gr.HTML(elem_id="dg-note")
            with gr.Column(scale=3, min_width=320, elem_id="dg-right"):
                with gr.Row(elem_id="dg-result"):
                    with gr.Column(scale=5, min_width=320, elem_id="dg-figures"):
                        figures = gr.HTML(elem_id="dg-picture")
                    with gr.Column(scale=2, min_width=260):
                        bars = gr.HTML()
                with gr.Row():
                    undo = gr.Button("Undo", size="sm", min_width=90, elem_id="dg-undo")
                    reset = gr.Button("Reset sliders", size="sm", min_width=90, elem_id="dg-reset")
                    save_picture = gr.Button("Save picture", size="sm", min_width=90, elem_id="dg-save-picture")
                    save_direction = gr.Button("Save direction", size="sm", min_width=90, elem_id="dg-save-direction")
                gr.HTML(
                    "<p class='dg-quiet'>Every direction at −1 and at +1, and what changes from one to the other. "
                    f"Sliders go from −{LIMIT:g} to {LIMIT:g} and add up.</p>"
                )
                pages = gr.Radio([], label="Directions", show_label=False, container=False, visible=False)
                columns, cards, sliders = _direction_cards()
                with gr.Accordion("The command line that does the same", open=False, elem_id="dg-again"):
                    command = gr.Code(
                        language="shell",
                        interactive=False,
                        show_line_numbers=False,
                        wrap_lines=True,
                        show_label=False,
                        elem_id="dg-command",
                        buttons=["copy"],
                    )
        controls = [sample, t_frac, block, pool, rank, source, strength]
        shown = [visitor, figures, bars, pages, *columns, *cards, *sliders, command, note, link, strength]
        looking: dict[str, Any] = {"outputs": shown, "show_progress_on": figures, **_QUEUED}
        moving: dict[str, Any] = {
            "outputs": [visitor, figures, bars, command, link],
            "show_progress": "hidden",
            **_QUEUED,
        }

        demo.load(actions.samples, None, gallery, show_progress="hidden", **_QUEUED)
        arriving = looking | {"outputs": [*controls[:-1], *shown]}
        demo.load(actions.arrive, [link], js=_ARRIVE, **arriving)
        link.change(None, link, None, js=_ADDRESS, api_visibility="private")
        find.click(actions.find, [visitor, *controls], **looking)
        sample.submit(actions.pick, [visitor, *controls], **looking)
        gallery.select(actions.picked, [visitor], [visitor, sample], **_AT_ONCE).then(
            actions.pick, [visitor, *controls], **looking
        )
        upload.upload(actions.upload, [upload, visitor, *controls], **looking)
        gr.on(
            [control.change for control in controls],
            actions.stale,
            [visitor, *controls],
            note,
            show_progress="hidden",
            **_AT_ONCE,
        )
        gr.on(
            [slider.input for slider in sliders],
            actions.move,
            [visitor, *sliders],
            trigger_mode="always_last",
            **moving,
        )
        reset.click(lambda: [0.0] * SHOWN, None, sliders, **_AT_ONCE).then(actions.reset, [visitor], **moving)
        undo.click(actions.undo, [visitor], **moving | {"outputs": [*moving["outputs"], *sliders]})
        pages.input(actions.turn, [visitor, pages], **looking)
        for button, action in ((save_picture, actions.save_picture), (save_direction, actions.save_direction)):
            button.click(action, [visitor], payload, show_progress_on=figures, **_QUEUED).success(
                None, payload, None, js=_DOWNLOAD, api_visibility="private"
            )
    return demo.queue(max_size=WAITING, api_open=False, default_concurrency_limit=1)


def _files_only(component: Any) -> None:
    """Take what was uploaded, and no address: Gradio would fetch one that a crafted request names."""
    move = component.async_move_resource_to_block_cache

    async def checked(resource: str | Path | None) -> str | None:
        if "://" in str(resource):
            raise gr.Error("Only uploaded files are read.", print_exception=False)
        found: str | None = await move(resource)
        return found

    component.async_move_resource_to_block_cache = checked


def _direction_cards() -> tuple[list[Any], list[Any], list[Any]]:
    columns, cards, sliders = [], [], []
    with gr.Row(elem_classes="dg-directions"):
        for i in range(SHOWN):
            with gr.Column(min_width=120, visible=False, elem_classes="dg-direction") as column:
                cards.append(gr.HTML())
                sliders.append(
                    gr.Slider(
                        -LIMIT,
                        LIMIT,
                        0,
                        step=0.05,
                        label=f"Weight of direction {i + 1}",
                        show_label=False,
                        container=False,
                        buttons=[],
                        elem_id=f"dg-slider-{i + 1}",
                    )
                )
            columns.append(column)
    return columns, cards, sliders


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
        pool = _SUMMED if choice.pool else _WHOLE
        controls = [choice.sample, choice.t_frac, choice.block, pool, choice.rank, _SOURCES[choice.source]]
        return [*controls, *self._shown(Visitor(place, None, weights), report, strength=choice.strength)]

    @_worded
    def find(self, visitor: Visitor | None, *controls: Any, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
        """Find directions where the controls say."""
        visitor, choice = visitor or Visitor(), _choice(*controls)
        if visitor.place is not None and choice.sample != visitor.place.choice.sample:
            visitor = replace(visitor, picture=None)  # another seed was typed in after the upload
        return self._found(visitor, choice, progress)

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

    def _edited(self, visitor: Visitor) -> tuple[Any, ...]:
        assert visitor.place is not None
        edited = self.explorer.edit(visitor.place, visitor.weights)
        figures = page.figures(edited, visitor.place, self.explorer.context.cfg.schedule.steps)
        command = self.explorer.command(visitor.place, visitor.weights)
        # an uploaded picture is kept nowhere that a link could name
        link = "" if visitor.picture is not None else link_of(visitor.place.choice, visitor.weights)
        return visitor, figures, page.bars(edited), command, link

    def _shown(
        self, visitor: Visitor, report: Report, strength: float | None = None, why: str = _STRENGTH
    ) -> list[Any]:
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
            *[page.card(one, place.fit is not None) for one in found],
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


def _choice(sample: float, t_frac: float, block: str, pool: str, rank: float, source: str, strength: float) -> Choice:
    known = {text: key for key, text in _SOURCES.items()}
    summed = "sum" if pool == _SUMMED else None
    # a slider's steps add up to 0.15000000000000002, which the command line would not say
    return Choice(int(sample or 0), round(t_frac, 6), block, summed, int(rank), known[source], round(strength, 6))


def _here(visitor: Visitor | None) -> tuple[Visitor, Place]:
    if visitor is None or visitor.place is None:
        raise DataError("nothing is shown yet, or it was forgotten after an hour", "press “Find directions”")
    return visitor, visitor.place


def _reporting(progress: Any) -> Report:
    def report(description: str, done: int, total: int | None) -> None:
        progress(None if total is None else (done, total), desc=f"{description}: {done}" if not total else description)

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


def _stem(place: Place) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", Path(place.sample.name).stem)
    return f"diffgeo_{name}_t{place.t}"


def _file(name: str, kind: str, content: bytes) -> dict[str, str]:
    return {"name": name, "type": kind, "data": base64.b64encode(content).decode()}


def theme() -> Any:
    """Quiet colours, and the fonts of the visitor's own system: nothing is fetched."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_500",  # 4.5:1 on white, which the theme's own is not
        block_info_text_color="*neutral_500",
    )

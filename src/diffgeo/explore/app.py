"""The page: which component does what. The components are in :mod:`.panels`, what they do in :mod:`.actions`.

Visitors share one queue, so that the model serves one at a time and the others see their place in line. What a visitor
has lies in the server's memory until an hour after the last move; the files of uploads are removed as soon as they are
read, and pictures go to the browser inside the page, not as files. :mod:`.serving` puts the page on the network.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from diffgeo.explore import page, panels
from diffgeo.explore.actions import Actions, Visitor

KEPT, LEFT = 3600, 300
"""Seconds for which what a visitor has is kept after the last move."""
WAITING = 32
Wiring = dict[str, Any]
"""Keyword arguments of a Gradio listener."""
# listeners that share the queue take turns, so that the model serves one visitor at a time
_QUEUED: Wiring = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
_AT_ONCE: Wiring = {"queue": False, "api_visibility": "private"}

_ARRIVE = "() => [window.location.search]"
_ADDRESS = "(link) => { window.history.replaceState(null, '', link || window.location.pathname); }"
_GIVEN = "(mask) => { window.diffgeoPaint.given(mask); }"
_DOWNLOAD = """(file) => {
  const bytes = Uint8Array.from(atob(file.data), (c) => c.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: file.type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""


def build(actions: Actions) -> gr.Blocks:
    """The page for one model."""
    explorer = actions.explorer
    model = explorer.context.model
    prompt = model.conditioning.get("prompt")
    with gr.Blocks(
        title="diffgeo explorer", analytics_enabled=False, delete_cache=(60, LEFT), fill_width=False
    ) as demo:
        visitor, payload = gr.State(Visitor(), time_to_live=KEPT), gr.JSON(visible="hidden")
        link = gr.Textbox(visible="hidden")
        gr.HTML(page.head(model.source, model.picture_size, None if prompt is None else str(prompt)))
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                left = panels.picking(explorer)
            with gr.Column(scale=3, min_width=320, elem_id="dg-right"):
                right = panels.found()
        _look(demo, actions, visitor, link, left, right)
        _move(actions, visitor, link, right)
        for button, action in (
            (right.save_picture, actions.save_picture),
            (right.save_direction, actions.save_direction),
        ):
            button.click(action, [visitor], payload, show_progress_on=right.figures, **_QUEUED).success(
                None, payload, None, js=_DOWNLOAD, api_visibility="private"
            )
    return demo.queue(max_size=WAITING, api_open=False, default_concurrency_limit=1)


def _look(
    demo: gr.Blocks, actions: Actions, visitor: gr.State, link: gr.Textbox, left: panels.Picking, right: panels.Found
) -> None:
    """Find and show directions: on arrival, by the left panel, by the pages of the right one."""
    sliders = [*right.columns, *right.cards, *right.sliders]
    where, controls = left.where, list(left.where.values())
    end = [right.command, left.note, link, where["strength"]]
    shown = [visitor, right.figures, right.bars, right.pages, *sliders, *end]
    looking: Wiring = {"outputs": shown, "show_progress_on": right.figures, **_QUEUED}
    arriving = looking | {"outputs": [*controls[:-1], *shown]}
    demo.load(actions.samples, None, left.gallery, show_progress="hidden", **_QUEUED)
    demo.load(actions.arrive, [link], js=_ARRIVE, **arriving)
    link.change(None, link, None, js=_ADDRESS, api_visibility="private")
    left.find.click(actions.find, [visitor, *controls], **looking)
    where["sample"].submit(actions.pick, [visitor, *controls], **looking)
    left.gallery.select(actions.picked, [visitor], [visitor, where["sample"]], **_AT_ONCE).then(
        actions.pick, [visitor, *controls], **looking
    )
    left.upload.upload(actions.upload, [left.upload, visitor, *controls], **looking)
    for button, action in ((right.inside, actions.inside), (right.whole, actions.whole)):
        turning = looking | {"outputs": [where["source"], *shown], "show_progress_on": [right.figures, right.board]}
        button.click(action, [visitor, *controls], **turning)
    where["mask"].change(None, where["mask"], None, js=_GIVEN, api_visibility="private")
    right.pages.input(actions.turn, [visitor, right.pages], **looking)
    changed = [control.change for control in controls]
    gr.on(changed, actions.stale, [visitor, *controls], left.note, show_progress="hidden", **_AT_ONCE)


def _move(actions: Actions, visitor: gr.State, link: gr.Textbox, right: panels.Found) -> None:
    """Mix directions: by the sliders, and back."""
    outputs = [visitor, right.figures, right.bars, right.command, link]
    moving: Wiring = {"outputs": outputs, "show_progress": "hidden", **_QUEUED}
    moved = [slider.input for slider in right.sliders]
    gr.on(moved, actions.move, [visitor, *right.sliders], trigger_mode="always_last", **moving)
    right.reset.click(lambda: [0.0] * panels.SHOWN, None, right.sliders, **_AT_ONCE).then(
        actions.reset, [visitor], **moving
    )
    right.undo.click(actions.undo, [visitor], **moving | {"outputs": [*outputs, *right.sliders]})


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

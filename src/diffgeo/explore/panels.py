"""The page's components, panel by panel, without what they do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from diffgeo.explore import page
from diffgeo.explore.parts import Choice, Source
from diffgeo.explore.session import LIMIT, Explorer

SHOWN = 8
"""Directions on the page at a time."""
SOURCES: dict[Source, str] = {
    "local": "this picture's own",
    "global": "shared by several pictures",
    "mask": "those that act in the painted mask",
    "file": "from the file",
}
WHOLE, SUMMED = "whole map", "summed over space"
STRENGTH = "How far weight 1 moves x, as a share of the length of pure noise."


@dataclass(frozen=True)
class Picking:
    """The left panel: which picture, and where its directions are looked for.

    ``where`` has by name what a choice is made of, in the order in which actions take it.
    """

    gallery: Any
    upload: Any
    where: dict[str, Any]
    find: Any
    note: Any


@dataclass(frozen=True)
class Found:
    """The right panel: the edited picture, where a mask is painted on it, and a slider per direction."""

    figures: Any
    bars: Any
    undo: Any
    reset: Any
    save_picture: Any
    save_direction: Any
    board: Any
    inside: Any
    whole: Any
    pages: Any
    columns: list[Any]
    cards: list[Any]
    sliders: list[Any]
    command: Any


def picking(explorer: Explorer) -> Picking:
    """Build the left panel."""
    model, start = explorer.context.model, explorer.start
    seeds = explorer.context.cfg.data.images is None
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
            start.sample, label="or a seed", precision=0, minimum=0, maximum=2**31, min_width=80, visible=seeds
        )
        upload = gr.UploadButton(
            "or upload a picture",
            file_types=[".png", ".jpg", ".jpeg", ".webp"],
            type="filepath",
            size="sm",
            elem_id="dg-upload",
        )
    _files_only(upload)
    where = {"sample": sample, **_controls(explorer, start)}
    find = gr.Button("Find directions", variant="primary", elem_id="dg-find")
    note = gr.HTML(elem_id="dg-note")
    return Picking(gallery, upload, where, find, note)


def _controls(explorer: Explorer, start: Choice) -> dict[str, Any]:
    """The controls that say which directions are wanted."""
    times = explorer.times
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
            explorer.blocks,
            value=start.block,
            label="Block",
            info="Its output is h; directions are those that change h most.",
        )
        pool = gr.Radio(
            [WHOLE, SUMMED],
            value=SUMMED if start.pool else WHOLE,
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
            info=STRENGTH,
            elem_id="dg-strength",
            buttons=[],
        )
        source = gr.Radio(
            [SOURCES[key] for key in explorer.sources],
            value=SOURCES[start.source],
            label="Directions",
            info="This picture's own, or ones that several pictures share, carried to it; or those of a part of it.",
        )
    mask = gr.Textbox(start.mask or "", visible="hidden", elem_id="dg-mask")
    found = {"t_frac": t_frac, "block": block, "pool": pool, "rank": rank, "source": source}
    return {**found, "mask": mask, "strength": strength}


def found() -> Found:
    """Build the right panel."""
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
    painting = _painting()
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
    buttons = (undo, reset, save_picture, save_direction)
    return Found(figures, bars, *buttons, *painting, pages, columns, cards, sliders, command)


def _painting() -> tuple[Any, Any, Any]:
    """A picture to paint on, and the buttons that ask for directions in the mask and in the whole picture."""
    with gr.Accordion("Change one part only: paint a mask", open=False, elem_id="dg-paint"):
        board = gr.HTML(page.board(), elem_id="dg-board")
        with gr.Row(elem_id="dg-paint-finds"):
            inside = gr.Button("Find directions in the mask", variant="primary", size="md", elem_id="dg-inside")
            whole = gr.Button("Back to the whole picture", size="md", elem_id="dg-whole")
        gr.HTML(
            "<p class='dg-quiet'>Those that change the predicted picture most inside the mask, less what changes the "
            "rest most (LOCO Edit). They take longer to find than the usual ones; block and pooling do not "
            "count.</p>"
        )
    return board, inside, whole


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

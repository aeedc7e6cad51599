"""The page's pictures and words as HTML. Pictures are PNG data inside it, so that none ever lies in a file."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from diffgeo.explore.painting import outline_of
from diffgeo.explore.parts import Card, EditedPicture, LatentDirections
from diffgeo.report.formatting import label
from diffgeo.results import frames_of

FULL = 0.5
"""Share of the whole range at which the difference map is at its brightest."""
_HEAT = np.array([[10, 8, 24], [74, 20, 92], [164, 44, 96], [229, 92, 48], [250, 178, 64], [252, 252, 196]])
"""Dark to bright, evenly in lightness."""


def as_image(picture: Tensor) -> Image.Image:
    """A picture (3, H, W) in [−1, 1]."""
    return Image.fromarray(frames_of(picture).permute(1, 2, 0).numpy())


def heat_map(difference: Tensor) -> Image.Image:
    """A map (H, W) of shares in [0, 1], brightest from :data:`FULL`."""
    place = (difference.double().cpu().numpy() / FULL).clip(0, 1) * (len(_HEAT) - 1)
    channels = [np.interp(place, range(len(_HEAT)), _HEAT[:, c]) for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def png(image: Image.Image, comment: str | None = None) -> bytes:
    """The file's bytes, with a comment inside where there is one."""
    info = PngInfo()
    if comment is not None:
        info.add_text("Comment", comment)
    file = io.BytesIO()
    image.save(file, "png", pnginfo=info)
    return file.getvalue()


def head(source: str, size: int, prompt: str | None) -> str:
    """The title, and which model this is."""
    shown_prompt = "" if prompt is None else f" · “{escape(prompt)}”"
    return (
        '<header class="dg-head"><h1>diffgeo explorer</h1>'
        "<p>Directions in the latent space of a diffusion model, found without labels. "
        "Move one and see what it means.</p>"
        f"<p class='dg-quiet'>{escape(source)} · {size} × {size} pixels{shown_prompt}</p>"
        "</header>"
    )


def figures(edited: EditedPicture, place: LatentDirections, full_steps: int) -> str:
    """Before, after and difference, with the outline of the mask if there is one, and how they were made."""
    most = f"up to {100 * edited.difference.max().item():.0f} % of the range"
    before = place.sample.name if place.sample.x0 is None else f"{place.sample.name}, reconstructed"
    outline = "" if place.mask is None else _outline(place.mask)
    parts = [
        _figure(as_image(edited.before), "Before", before, outline=outline),
        _figure(as_image(edited.after), "After", f"edited at t = {place.t}", _spoken(edited), outline),
        _figure(heat_map(edited.difference), "Difference", most, outline=outline),
    ]
    saved = f"; a saved picture takes {full_steps}" if full_steps != edited.steps else ", as a saved picture is made"
    shown = f"Shown in {edited.steps} DDIM steps{saved}."
    if place.mask is not None:
        mask = place.mask.cpu()
        inside, outside = (100 * edited.difference[part].mean().item() for part in (mask, ~mask))
        shown = f"Mean change: {inside:.1f} % of the range inside the mask, {outside:.1f} % outside. {shown}"
    return f'<div class="dg-figures">{"".join(parts)}</div><p class="dg-quiet">{shown}</p>'


def board() -> str:
    """Where a mask is painted; what it does is in ``paint.js``."""
    return (
        '<div class="dg-board"><canvas id="dg-canvas" width="1" height="1" tabindex="0" role="application" '
        'aria-label="The picture, to paint a mask on" aria-describedby="dg-paint-help"></canvas>'
        '<div class="dg-tools"><p class="dg-quiet" id="dg-paint-help">Paint where the picture should change. '
        "Keys: arrows move the brush, Space paints, Shift with arrows draws.</p>"
        '<label class="dg-brush"><span>Brush</span><input type="range" id="dg-brush" min="3" max="40" value="12" '
        'aria-label="Size of the brush, in percent of the width"></label>'
        '<div class="dg-buttons"><button type="button" id="dg-erase" aria-pressed="false">Erase</button>'
        '<button type="button" id="dg-unstroke">Undo stroke</button>'
        '<button type="button" id="dg-clear">Clear</button></div>'
        '<p class="dg-quiet" id="dg-painted" role="status">Nothing is painted.</p></div></div>'
    )


def bars(edited: EditedPicture) -> str:
    """What the attribute predictor sees change."""
    if not edited.attributes:
        return "<p class='dg-quiet'>This model has no attribute predictor: see predictor=… of diffgeo --help.</p>"
    rows = [_bar(name, value) for name, value in zip(edited.attributes, edited.changes.tolist(), strict=True)]
    return (
        '<div class="dg-bars"><p><b>Predicted change</b> <span class="dg-quiet">(−2 to 2)</span></p>'
        f'<div role="table" aria-label="predicted attribute changes">{"".join(rows)}</div></div>'
    )


def card(found: Card, place: LatentDirections) -> str:
    """One direction: the picture at −1 and at +1, and what changes."""
    name = f"Direction {found.index + 1}"
    number, title = f"s = {found.value:.3g}", "singular value of ∂h/∂x"
    if place.mask is not None:
        title = "singular value of the predicted picture's change inside the mask, ∂x̂0/∂x"
    elif place.fit is not None:
        number, title = f"fit {found.value:.2f}", "share of this shared direction that the picture can follow"
    moves = escape(label(found.label))
    return (
        f'<div class="dg-card"><div class="dg-pair">{_image(as_image(found.minus), f"{name} at −1: {moves}")}'
        f"{_image(as_image(found.plus), f'{name} at +1: {moves}')}"
        '<span aria-hidden="true">−1</span><span aria-hidden="true">+1</span></div>'
        f'<p class="dg-name"><b>{found.index + 1}</b><span class="dg-quiet" title="{title}">{number}</span></p>'
        f'<p class="dg-label">{moves}</p></div>'
    )


def _spoken(edited: EditedPicture) -> str:
    """The changes that are worth a word, the largest first; nothing if there is no predictor."""
    if not edited.attributes:
        return ""
    pairs = sorted(zip(edited.attributes, edited.changes.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    changes = [f"{label(name)} {value:+.2f}".replace("-", "−") for name, value in pairs if abs(value) >= 0.05]
    return ", ".join(changes[:4]) or "nothing that the predictor sees changes"


def _outline(mask: Tensor) -> str:
    """The mask's edges over a picture: a light line on a dark one, seen on any picture."""
    height, width = mask.shape
    path = f'<path d="{outline_of(mask)}" vector-effect="non-scaling-stroke"/>'
    return f'<svg class="dg-outline" viewBox="0 0 {width} {height}" aria-hidden="true">{path}{path}</svg>'


def _figure(image: Image.Image, name: str, about: str, spoken: str = "", outline: str = "") -> str:
    words = "; ".join(part for part in (about, spoken) if part)
    return (
        f"<figure><div class='dg-framed'>{_image(image, f'{name}: {words}')}{outline}</div><figcaption><b>{name}</b>"
        f'<span class="dg-quiet">{escape(about)}</span></figcaption></figure>'
    )


def _image(image: Image.Image, alt: str) -> str:
    data = base64.b64encode(png(image)).decode()
    kind = " class='dg-small'" if image.width < 128 else ""
    return f'<img{kind} alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _bar(name: str, value: float) -> str:
    width = 50 * min(abs(value) / 2, 1)  # attributes span −1 to 1
    side = f"left:50%;width:{width:.1f}%" if value >= 0 else f"left:{50 - width:.1f}%;width:{width:.1f}%"
    shown = f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0"
    quiet = "" if abs(value) >= 0.05 else " dg-still"
    return (
        f'<div class="dg-bar{quiet}" role="row"><span role="rowheader">{escape(label(name))}</span>'
        f'<i><u class="{"dg-up" if value >= 0 else "dg-down"}" style="{side}"></u></i>'
        f'<span role="cell">{shown}</span></div>'
    )

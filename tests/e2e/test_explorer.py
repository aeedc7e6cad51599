"""The page of ``diffgeo-explore`` in a real browser, on the shipped model; and the command without the page."""

import base64
import io
import json
import os
import shlex
import socket
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import diffgeo
from diffgeo.cli import explore as explore_command
from diffgeo.composition import composed
from diffgeo.explore import Explorer
from diffgeo.explore.commands import with_defaults
from diffgeo.explore.painting import mask_of
from diffgeo.metrics.attributes import load_predictor
from diffgeo.session import Context

SHOTS = Path(__file__).parents[2] / "outputs" / "screenshots"
AFTER = ".dg-figures figure:nth-child(2) img"
WAIT = 90_000
"""Milliseconds that a busy machine may take."""


@pytest.fixture(scope="module")
def explorer(shipped):
    words = ["data.samples=2", "schedule.edit=[0.5]", "svd.rank=4", "schedule.steps=20"]
    context = Context(shipped, composed(with_defaults(words)), load_predictor())
    return Explorer(context, overrides=words, preview=10)


@pytest.fixture(scope="module")
def address(explorer):
    """A running page, in this process."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'diffgeo[explore]'")
    from diffgeo.explore.serving import serving

    with serving(explorer, "127.0.0.1", explore_command.free_port("127.0.0.1", 0)) as url:
        yield url
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir()
    assert not folder.exists(), "nothing of the visitors stays"


@pytest.fixture
def visit(chromium, address):
    """``visit(**context)``: a page of a new visitor; afterwards no console error, no request elsewhere."""
    problems, contexts = [], []

    def open_page(*, ready=True, at=address, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith((address, "data:", "blob:")) else problems.append(f"went out: {r.url}"),
        )
        page.goto(at)
        if ready:
            page.wait_for_selector(".dg-card img")
            page.wait_for_selector("#dg-samples img")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def shown(page):
    return page.get_attribute(AFTER, "src")


def until(page, where, holds, value=None):
    """Wait for an element of which ``holds(element, value)`` is true; Gradio builds panels late, and anew."""
    there = f"([where, value]) => (e => e !== null && ({holds})(e, value))(document.querySelector(where))"
    page.wait_for_function(there, arg=[where, value])


def slide(page, which, value):
    """Move a slider, as a hand does; returns the seconds until another picture is there."""
    before, start = shown(page), time.perf_counter()
    page.locator(f"#dg-slider-{which} input[type=range]").evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )
    another(page, before)
    return time.perf_counter() - start


def another(page, before):
    until(page, AFTER, "(e, old) => e.src !== old", before)


def becomes(page, picture):
    until(page, AFTER, "(e, src) => e.src === src", picture)


def download(page, button):
    with page.expect_download() as event:
        page.click(button)
    return event.value


@pytest.mark.slow
def test_a_slider_changes_the_picture_and_both_can_be_saved(visit, tmp_path, shipped):
    page = visit(color_scheme="light")
    original = page.get_attribute(".dg-figures figure:nth-child(1) img", "src")
    assert shown(page) == original
    assert page.locator(".dg-card").count() == 4
    assert page.locator(".dg-bar").count() == 14
    took = slide(page, 1, 1.5)
    print(f"\na slider move took {took:.2f} s")
    assert took < 6, "2 s on a quiet machine; a busy one is slower"
    alone = shown(page)
    slide(page, 2, -1)
    assert shown(page) not in (alone, original)
    assert page.locator(".dg-bar u").evaluate_all("bars => bars.some(bar => parseFloat(bar.style.width) > 1)")
    page.click("#dg-again button")
    page.wait_for_selector("#dg-command .cm-line")
    command = page.locator("#dg-command .cm-content").inner_text()
    assert "'weights=[1.5,-1]'" in " ".join(command.split())
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "explorer_light.png", full_page=True)

    picture = download(page, "#dg-save-picture")
    assert picture.suggested_filename == "diffgeo_seed_0_t499.png"
    opened = Image.open(picture.path())
    assert opened.size == (32, 32)
    assert "weights=[1.5,-1]" in opened.text["Comment"]
    direction = download(page, "#dg-save-direction")
    direction.save_as(tmp_path / direction.suggested_filename)
    found = diffgeo.load_directions(tmp_path / "diffgeo_seed_0_t499.safetensors")
    found.check(shipped, t=499, block="mid", pool=None)
    torch.testing.assert_close(found.U.norm(dim=0), torch.ones(1))
    assert found.provenance["weights"][:2] == [1.5, -1]

    page.click("#dg-undo")
    becomes(page, alone)
    page.wait_for_url("**weights=1.5")
    linked = visit(at=page.url)
    assert shown(linked) == alone, "the page's address says what is shown"
    assert linked.input_value("#dg-slider-1 input[type=number]") == "1.5"
    page.click("#dg-reset")
    becomes(page, original)
    page.click("#dg-undo")
    becomes(page, alone)


@pytest.mark.slow
def test_another_picture_and_place_are_picked(visit):
    page = visit(color_scheme="dark")
    seed_0 = shown(page)
    page.click("#dg-samples button:has(img[alt='seed 1'])")
    another(page, seed_0)
    assert "seed 1" in page.locator(".dg-figures").inner_text()
    page.get_by_label("shared by several pictures").check()
    page.wait_for_selector(".dg-stale")
    page.click("#dg-find")
    page.wait_for_selector(".dg-card >> text=fit")
    page.wait_for_selector(".dg-stale", state="detached")
    slide(page, 1, 1)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "explorer_dark.png", full_page=True)
    track = page.locator("#dg-strength input[type=range]")
    place = track.bounding_box()
    clip = {"x": place["x"] + 0.7 * place["width"], "y": place["y"], "width": 20, "height": place["height"]}
    seen = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("L")
    assert seen.getextrema()[1] < 160, "what is not filled of a slider is dark in the dark"


@pytest.mark.slow
def test_an_upload_is_inverted_and_not_kept_and_others_are_refused(visit, tmp_path):
    page = visit(viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out on a phone"
    picture, first = (page.locator(where).bounding_box()["y"] for where in ("#dg-figures", "#dg-slider-1"))
    controls = page.locator("#dg-strength").bounding_box()["y"]
    assert picture < first < controls, "the picture comes before its sliders, and both before the settings"
    page.locator("#dg-slider-4").scroll_into_view_if_needed()
    page.mouse.wheel(0, 200)
    top = page.locator("#dg-figures").bounding_box()["y"]
    assert 0 <= top <= 5, "the picture stays in sight while its sliders are moved"
    Image.linear_gradient("L").resize((40, 50)).save(tmp_path / "grey.png")
    (tmp_path / "fake.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    before = shown(page)
    page.set_input_files("#dg-upload ~ input, input[type=file]", tmp_path / "grey.png")
    another(page, before)
    assert "grey.png, reconstructed" in page.locator(".dg-figures").text_content()
    assert "Suggested for this upload" in page.locator("#dg-strength").text_content()
    assert "?" not in page.url, "no link to an upload, which is not kept"
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "explorer_phone.png", full_page=True)
    page.set_input_files("#dg-upload ~ input, input[type=file]", tmp_path / "fake.png")
    page.wait_for_selector("text=no PNG, JPEG or WebP")
    kept = [p.read_bytes() for p in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if p.is_file()]
    for name in ("grey.png", "fake.png"):
        start = (tmp_path / name).read_bytes()[:64]
        assert [content for content in kept if content.startswith(start)] == []


# masks

MASK = "#dg-mask textarea, #dg-mask input"
MOUTH = ((0.36, 0.69), (0.5, 0.75), (0.64, 0.69))
"""A stroke over the mouth, in shares of the picture."""


def opened_board(page):
    """Opens the panel for painting; gives ``place(x, y)``, shares of the picture in pixels of the window."""
    page.click("#dg-paint button")
    until(page, "#dg-canvas", "e => e.width > 1")
    canvas = page.locator("#dg-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    return lambda x, y: {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}


def painted(page):
    """The mask that the page would ask for, boolean."""
    return mask_of(page.input_value(MASK), 32, 32).numpy()


def becomes_painted(page, before=""):
    until(page, MASK.partition(",")[0], "(e, old) => e.value !== old", before)


def pixels(page, which):
    data = page.get_attribute(f".dg-figures figure:nth-child({which}) img", "src").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def ask_inside_and_move(page, mask):
    """Asks for directions in the mask, and moves the first: the picture must change there more than elsewhere."""
    page.click("#dg-inside")
    page.wait_for_selector("#dg-picture >> text=/passes: (in the mask|outside it), [12] of 2/")
    page.wait_for_selector(".dg-outline")
    assert page.get_by_label("those that act in the painted mask").is_checked()
    slide(page, 1, 1.5)
    change = np.abs(pixels(page, 2) - pixels(page, 1)).mean(axis=-1)
    assert change[mask].mean() > 4, "of 255"
    assert change[mask].mean() > 2.5 * change[~mask].mean()
    assert "inside the mask" in page.locator("#dg-picture").inner_text()


@pytest.mark.slow
def test_a_mask_is_painted_by_mouse_and_its_directions_act_there(visit):
    page = visit(color_scheme="light")
    original, place = shown(page), opened_board(page)
    page.click("#dg-inside")
    page.wait_for_selector("text=Nothing is painted. Paint where the edit should act")
    for x, y in MOUTH:
        page.mouse.move(**place(x, y), steps=3)
        page.mouse.down()
    page.mouse.up()
    becomes_painted(page)
    mask = painted(page)
    assert mask[22, 12:20].all()
    assert not mask[:18].any()
    assert 30 < mask.sum() < 90
    page.wait_for_selector(f"text=Painted: {100 * mask.mean():.0f} % of the picture.")
    ask_inside_and_move(page, mask)
    alone, address = shown(page), page.url
    assert "&mask=32x32," in address
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "explorer_mask_light.png", full_page=True)
    linked = visit(at=address)
    assert shown(linked) == alone, "the page's address has the mask"
    opened_board(linked)
    linked.wait_for_selector(f"text=Painted: {100 * mask.mean():.0f} % of the picture.")
    page.click("#dg-undo")
    becomes(page, original)
    assert page.locator(".dg-outline").count() == 3, "undo takes back the slider, not the mask"
    page.click("#dg-whole")
    page.wait_for_selector(".dg-outline", state="detached")
    assert page.get_by_label("this picture's own").is_checked()
    assert "mask" not in page.url
    assert (painted(page) == mask).all(), "it is still there to be taken again"


@pytest.mark.slow
def test_a_mask_is_painted_by_touch_on_a_phone(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark")
    place = opened_board(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"
    assert page.locator("#dg-canvas").bounding_box()["width"] > 250, "large enough for a finger"
    for button in ("#dg-erase", "#dg-unstroke", "#dg-clear", "#dg-inside", "#dg-whole"):
        assert page.locator(button).bounding_box()["height"] >= 28
    before, touch = page.evaluate("scrollY"), page.context.new_cdp_session(page)
    start, *others = [place(x, y) for x, y in MOUTH]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [start]})
    for point in others:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    becomes_painted(page)
    assert page.evaluate("scrollY") == before, "a finger on the picture paints, and does not scroll"
    mask = painted(page)
    assert mask[22, 12:20].all()
    assert not mask[:18].any()
    ask_inside_and_move(page, mask)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#dg-canvas").scroll_into_view_if_needed()
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "explorer_mask_phone.png")


@pytest.mark.slow
def test_strokes_are_taken_back_and_made_by_pen_and_keys(visit):
    page = visit()
    place, texts = opened_board(page), [""]

    def done():
        becomes_painted(page, texts[-1])
        texts.append(page.input_value(MASK))
        return texts[-1]

    pen = page.context.new_cdp_session(page)
    for kind, buttons in (("mousePressed", 1), ("mouseMoved", 1), ("mouseReleased", 0)):
        event = {**place(0.3, 0.3 if kind == "mousePressed" else 0.6), "button": "left", "pointerType": "pen"}
        pen.send("Input.dispatchMouseEvent", {"type": kind, "buttons": buttons, "clickCount": 1, **event})
    done()
    assert painted(page)[10:19, 9].all()
    page.mouse.click(**place(0.8, 0.8))
    first, second = texts[1], done()
    assert painted(page)[25, 25]
    page.click("#dg-unstroke")
    assert done() == first
    page.click("#dg-clear")
    assert done() == "32x32,1024"
    page.wait_for_function("document.querySelector('#dg-painted').innerText === 'Nothing is painted.'")
    page.click("#dg-unstroke")
    assert done() == first, "clearing is taken back, too"
    page.click("#dg-erase")
    page.mouse.click(**place(0.3, 0.45))
    done()
    assert not painted(page)[14, 9]
    assert painted(page)[10, 9]
    page.click("#dg-erase")
    page.focus("#dg-canvas")
    page.keyboard.press("Space")
    done()
    assert painted(page)[16, 16]
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
        done()
    assert painted(page)[16, 16:21].all()
    page.keyboard.press("Control+z")
    assert done() == texts[-3]
    page.locator("#dg-brush").fill("40")
    page.mouse.click(**place(0.5, 0.5))
    done()
    assert painted(page).sum() > 120, "a wide brush"
    page.mouse.click(**place(0.5, 0.5), button="right")
    assert page.input_value(MASK) == texts[-1]
    assert second not in texts[3:]
    page.wait_for_timeout(300)  # nothing that is painted asks for anything by itself
    assert page.locator(".dg-outline").count() == 0


@pytest.mark.slow
def test_all_painted_is_refused_in_words(visit, explorer):
    page = visit()
    place = opened_board(page)
    page.locator("#dg-brush").fill("40")
    page.mouse.move(**place(0.1, 0.1))
    page.mouse.down()
    for y in (0.1, 0.4, 0.7, 0.95):
        page.mouse.move(**place(0.02, y), steps=2)
        page.mouse.move(**place(0.98, y), steps=4)
    page.mouse.up()
    becomes_painted(page)
    assert page.input_value(MASK) == "32x32,0,1024"
    page.click("#dg-inside")
    page.wait_for_selector("text=The painted mask has every pixel inside. Paint where the edit should act")
    page.locator(MASK).first.evaluate(
        "(e) => { e.value = '16x16,100,9,147'; e.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    page.click("#dg-inside")
    page.wait_for_selector("text=The painted mask has 16 × 16 pixels, the model's pictures 32 × 32")


@pytest.mark.slow
def test_visitors_queue_and_see_it(visit, explorer, monkeypatch):
    first, busy, edit = visit(), threading.Event(), explorer.edit

    def slow_edit(*args, **options):
        assert busy.wait(WAIT / 1000)
        return edit(*args, **options)

    monkeypatch.setattr(explorer, "edit", slow_edit)
    before = shown(first)
    first.locator("#dg-slider-1 input[type=range]").evaluate(
        "e => { e.value = 1; e.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    second = visit(ready=False)
    second.wait_for_selector("#dg-picture >> text=/queue/")
    second.screenshot(path=SHOTS / "explorer_queue.png")
    assert shown(first) == before
    busy.set()
    another(first, before)
    second.wait_for_selector(".dg-card img")
    assert shown(second) == before, "what one visitor does is not seen by another"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/gradio_api/file=/etc/hostname", "/gradio_api/file=pyproject.toml"])
def test_no_file_of_the_machine_is_served(address, path):
    assert httpx.get(address.rstrip("/") + path).status_code in (403, 404)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/etc/hostname", "https://example.com/a.png"])
def test_a_crafted_request_reads_no_file_and_no_address(address, path):
    wired = httpx.get(f"{address}config").json()["dependencies"]
    (event,) = [d for d in wired if any(kind == "upload" for _, kind in d["targets"])]
    given = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [given, *[None] * (len(event["inputs"]) - 1)], "fn_index": event["id"], "session_hash": "crafted"}
    httpx.post(f"{address}gradio_api/queue/join", json=body).raise_for_status()
    with httpx.stream("GET", f"{address}gradio_api/queue/data?session_hash=crafted", timeout=WAIT / 1000) as answer:
        done = json.loads(next(line for line in answer.iter_lines() if "process_completed" in line)[len("data: ") :])
    assert not done["success"]
    assert "uploaded" in done["output"]["error"]


@pytest.mark.slow
def test_the_page_lets_nothing_in_or_out(address):
    answer = httpx.get(address)
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert httpx.get(address, headers={"Host": "elsewhere.example"}).status_code == 400, "DNS rebinding"
    upload = f"{address.rstrip('/')}/gradio_api/upload"
    sent = {"files": {"files": ("a.png", b"x", "image/png")}, "headers": {"Origin": "https://elsewhere.example"}}
    assert httpx.post(upload, **sent).status_code == 403, "a page elsewhere may not send, either"
    assert httpx.get(f"{address}gradio_api/info").json()["named_endpoints"] == {}


# the command


def says(capsys, *words):
    code = 0
    with mock.patch.object(sys, "argv", ["diffgeo-explore", *map(str, words)]):
        try:
            explore_command.main()
        except SystemExit as stop:
            code = stop.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def tiny(tiny_pipeline):
    return ["model=local", f"model.path={tiny_pipeline}", "schedule.steps=8", "svd.rank=3", "device=cpu"]


def test_one_edit_without_the_page(capsys, tmp_path, tiny):
    out, again = tmp_path / "edit", tmp_path / "again"
    code, said, err = says(capsys, *tiny, "weights=[1,0,-0.5]", f"out={out}")
    assert code == 0, err
    assert said.strip() == str(out)
    facts = json.loads((out / "edit.json").read_text())
    assert facts["weights"] == [1, 0, -0.5]
    pictures = {name: (out / f"{name}.png").read_bytes() for name in ("before", "after", "difference")}
    assert Image.open(io.BytesIO(pictures["after"])).size == (16, 16)
    assert pictures["before"] != pictures["after"]
    line = next(line for line in facts["command"].splitlines() if line.startswith("diffgeo-explore"))
    words = [f"out={again}" if word == "out=edit" else word for word in shlex.split(line)[1:]]
    assert says(capsys, *words)[0] == 0
    assert {name: (again / f"{name}.png").read_bytes() for name in pictures} == pictures
    code, _, err = says(capsys, *tiny, f"directions={out / 'direction.safetensors'}", "weights=[1]", f"out={again}")
    assert code == 0, err
    assert json.loads((again / "edit.json").read_text())["choice"]["source"] == "file"


@pytest.mark.slow
def test_one_edit_in_a_mask_without_the_page(capsys, tmp_path, tiny):
    out, again = tmp_path / "edit", tmp_path / "again"
    code, _, err = says(capsys, *tiny, "mask=16x16,70,4,12,4,166", "weights=[1,-0.5]", f"out={out}")
    assert code == 0, err
    mask = np.asarray(Image.open(out / "mask.png").convert("L")) > 127
    assert mask.sum() == 8
    assert not (out / "direction.safetensors").exists()
    line = json.loads((out / "edit.json").read_text())["command"].splitlines()[1]
    words = [f"out={again}" if word == "out=edit" else word for word in shlex.split(line)[1:]]
    assert "mask=16x16,70,4,12,4,166" in words
    assert says(capsys, *words)[0] == 0
    assert (again / "after.png").read_bytes() == (out / "after.png").read_bytes()
    own = [*tiny, f"data.masks={out / 'mask.png'}", "weights=[1,-0.5]", f"out={tmp_path / 'file'}"]
    assert says(capsys, *own)[0] == 0
    assert (tmp_path / "file" / "after.png").read_bytes() == (out / "after.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["weights=[1]", "out=x", "mask=16x16,256"], 4, "the painted mask has no pixel inside"),
        (["weights=[1]", "out=x", "mask=16x16,0,256"], 4, "the painted mask has every pixel inside"),
        (["weights=[1]", "out=x", "mask=8x8,3,4,57"], 4, "the model's pictures 16 × 16"),
        (["weights=[1]", "out=x", "mask=nonsense"], 4, "is no mask's text"),
        (["mask=16x16,3,4,249", "directions=global"], 2, "leave one of them out"),
        (["nonsense"], 2, "nonsense is no argument of diffgeo-explore"),
        (["port=x"], 2, "port=x is not possible; allowed: 0 to 65535"),
        (["preview=0"], 2, "preview=0 is not possible"),
        (["weights=[1]"], 2, "belong together"),
        (["weights=[a]", "out=x"], 2, "weights=[a] is not possible"),
        (["host=300.1.1.1"], 2, "is no address of this machine"),
        (["weights=[1]", "out=x", "svd.rnak=3"], 2, "there is no setting svd.rnak did you mean svd.rank?"),
        (["weights=[1]", "out=x", "directions=nowhere.safetensors"], 7, "does not exist"),
        (["weights=[1]", "out=x", "edit=shooting"], 2, "cannot mix several"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(capsys, tmp_path, monkeypatch, tiny, words, code, said):
    monkeypatch.chdir(tmp_path)
    found, _, err = says(capsys, *words, *(tiny if "out=x" in words else []))
    assert found == code
    assert " ".join(said.lower().replace(";", " ").split()) in " ".join(err.lower().split())
    assert len(err.strip().splitlines()) == 2
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_a_port_that_is_taken_is_said(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = says(capsys, f"port={taken.getsockname()[1]}")
    assert code == 2
    assert "cannot listen on 127.0.0.1" in err
    assert "port=0" in err


def test_without_gradio_it_says_what_to_install(capsys, monkeypatch):
    for module in ("app", "panels", "actions", "serving"):
        monkeypatch.delitem(sys.modules, f"diffgeo.explore.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = says(capsys, "port=0")
    assert code == 2
    assert "Install it with pip install 'diffgeo[explore]'" in err


def test_help_and_the_end(capsys, tiny, monkeypatch):
    assert "host=127.0.0.1" in says(capsys, "--help")[1]
    monkeypatch.setattr(explore_command, "_wait", mock.Mock(side_effect=KeyboardInterrupt))
    code, out, err = says(capsys, *tiny, "port=0", "host=127.0.0.2")
    assert code == 0
    assert out.startswith("http://127.0.0.2:")
    assert "lets others in" not in err, "all of 127.0.0.0/8 is this machine"
    monkeypatch.setattr("diffgeo.explore.serving.is_local", lambda _: False)
    code, out, err = says(capsys, *tiny, "port=0", "host=127.0.0.2")
    assert "Warning: host=127.0.0.2 lets others in" in err
    assert "Ended." in err

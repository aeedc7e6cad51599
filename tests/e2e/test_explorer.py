"""The page of ``diffgeo-explore`` in a real browser, on the shipped model; and the command without the page."""

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
import pytest
import torch
from PIL import Image

import diffgeo
from diffgeo.cli import explore as explore_command
from diffgeo.composition import composed
from diffgeo.explore import Explorer
from diffgeo.explore.commands import with_defaults
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


def slide(page, which, value):
    """Move a slider, as a hand does; returns the seconds until another picture is there."""
    before, start = shown(page), time.perf_counter()
    page.locator(f"#dg-slider-{which} input[type=range]").evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )
    another(page, before)
    return time.perf_counter() - start


def another(page, before):
    page.wait_for_function("([where, old]) => document.querySelector(where).src !== old", arg=[AFTER, before])


def becomes(page, picture):
    page.wait_for_function("([where, src]) => document.querySelector(where).src === src", arg=[AFTER, picture])


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


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
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

"""The page of a real run in a real browser: from disk, without network, by mouse and by keyboard.

Slow, as a run of eight studies takes; ``test_page_opens`` opens a smaller page.
"""

import base64
import csv
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of torch.jit, about itself
]

SCREENSHOTS = Path(__file__).resolve().parents[2] / "outputs" / "screenshots"
STUDIES = "discovery,spectrum,frequency,global_consistency,curvedness,tangent_distance,ablation,disentanglement"


class Colours(nn.Module):
    """Logits: each channel's mean, ten times."""

    def forward(self, x):
        return 10 * x.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A run of every study that needs no prompt, on the tiny model with a predictor of three colours."""
    network = tmp_path_factory.mktemp("network") / "colours.pt"
    torch.jit.save(torch.jit.trace(Colours(), torch.zeros(2, 3, 16, 16)), network)
    folder = tmp_path_factory.mktemp("page") / "run"
    outcome = tiny_run(
        *(f"study=[{STUDIES}]", "scale=smoke", "data.samples=4", "schedule.edit=[1.0,0.5]", "svd.rank=6"),
        *("predictor=classifier", f"predictor.path={network}", "predictor.names=[red,green,dark_blue]"),
        *("predictor.size=16", "study.disentanglement.min_spread=1e-4", "study.disentanglement.draws=5"),
        *("study.curvedness.paths=[lerp,slerp]", "study.curvedness.pairs=1", "study.ablation.variants=[local,random]"),
        *("study.disentanglement.samples=4", "study.disentanglement.methods=[local,random]"),
        *("study.disentanglement.codes=12", "study.global_consistency.methods=[nearest]"),
        folder=folder,
    )
    assert outcome.code == 0, outcome.err
    from diffgeo.report.page import write_page

    write_page(folder)
    return outcome


@dataclass
class Opened:
    """A page in the browser, and what it said and asked for."""

    page: object
    said: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def check(self):
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []
        assert len([url for url in self.asked if url.startswith("file:")]) == 1, "one file and nothing beside it"


@pytest.fixture(scope="module")
def show(chromium):
    """``show(path, width=1280, dark=False)``: the file in a fresh window."""
    windows = []

    def opened(path, width=1280, dark=False):
        window = chromium.new_context(
            viewport={"width": width, "height": 844}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        window.grant_permissions(["clipboard-read", "clipboard-write"])
        windows.append(window)
        found = Opened(window.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.goto(path.as_uri())
        found.page.wait_for_selector(".card canvas[data-frame]")
        return found

    yield opened
    for window in windows:
        window.close()


@pytest.fixture(scope="module")
def desk(show, run):
    """The page on a desk, in daylight; tests leave it open, as a reader does."""
    return show(run.folder / "report.html")


def scroll(page):
    """To the end in steps, so that every chart is drawn."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for y in range(0, height, 800):
        page.evaluate(f"scrollTo(0, {y})")
        page.wait_for_timeout(60)
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].every(p => !p.offsetParent || p.querySelector('svg'))"
    )


def pixels(canvas):
    """What a canvas shows, (H, W, 3)."""
    data = canvas.evaluate("c => c.toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def screenshot(element):
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"), float)


def keep(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_a_page_opens_from_disk_with_every_chart_and_without_a_request(desk, run):
    path = run.folder / "report.html"
    assert path.stat().st_size < 2e6
    page = desk.page
    keep(page, "page_first_screen")
    scroll(page)
    assert page.locator(".plot").count() >= 20
    assert page.locator("main > section").count() == 1 + len(STUDIES.split(",")) + 2
    keep(page, "page_end")
    desk.check()


def test_the_first_screen_says_what_was_run_and_what_was_found(desk, run):
    page = desk.page
    assert "tiny_ddpm" in page.locator("h1").inner_text()
    assert "seed 0" in page.locator(".what").inner_text()
    page.evaluate("scrollTo(0, 0)")
    sentences = page.locator(".findings li")
    assert sentences.count() >= 8
    for i in range(sentences.count()):
        assert re.search(r"\d", sentences.nth(i).inner_text())
        assert page.locator(sentences.nth(i).locator("a").get_attribute("href")).count() == 1
    assert sentences.first.bounding_box()["y"] < 844


def test_the_contents_stay_on_the_screen_and_cover_no_heading(desk, run):
    page = desk.page
    page.emulate_media(reduced_motion="reduce")  # a link jumps at once
    contents = page.locator("nav.contents")
    for link in contents.locator("a").all():
        link.click()
        box = contents.bounding_box()
        assert 0 <= box["y"] < 1, "at the top of the window"
        heading = page.locator(f"{link.get_attribute('href')}-title").bounding_box()
        assert heading["y"] >= box["height"]
    keep(page, "page_contents")


def test_every_slider_shows_its_frames_pixel_by_pixel(desk, run):
    frames = load_file(run.folder / "tensors" / "discovery.safetensors")["frames"].permute(0, 2, 3, 1).numpy()
    table = pd.read_parquet(run.folder / "tables" / "discovery_traversals.parquet")
    page = desk.page
    viewer = page.locator("#viewer-traversals")
    for (sample, t), part in table[table["sample"].isin([0, 3])].groupby(["sample", "t"]):
        viewer.locator(f"input[name=viewer-traversals-sample][value='{sample}']").check(force=True)
        viewer.locator(f"input[name=viewer-traversals-time][value='{t}']").check(force=True)
        assert viewer.locator(".card").count() == part["direction"].nunique()
        for direction, rows in part.groupby("direction"):
            card = viewer.locator(f".card[data-direction='{direction + 1}']")
            slider, canvas = card.locator("input[type=range]"), card.locator(".stage > canvas")
            assert slider.get_attribute("max") == str(len(rows) - 1)
            for place, frame in enumerate(rows["frame"]):
                slider.fill(str(place))
                card.locator(f".stage > canvas[data-frame='{place}']").wait_for()
                np.testing.assert_array_equal(pixels(canvas), frames[frame])
    desk.check()


def test_moving_a_slider_by_keyboard_changes_the_picture_and_what_is_said(desk, run):
    page = desk.page
    card = page.locator("#viewer-traversals .card").first
    slider, canvas = card.locator("input[type=range]"), card.locator(".stage > canvas")
    card.scroll_into_view_if_needed()
    card.locator(".stage > canvas[data-frame='2']").wait_for()
    before, said = screenshot(canvas), slider.get_attribute("aria-valuetext")
    moved = r"(red|green|dark blue) [+−]?[\d.]+"
    assert re.fullmatch(rf"γ = \+[\d.]+, since γ = −[\d.]+: {moved}, {moved}", said)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert re.fullmatch(rf"γ = 0, since γ = −[\d.]+: {moved}, {moved}", slider.get_attribute("aria-valuetext"))
    page.keyboard.press("ArrowLeft")
    card.locator(".stage > canvas[data-frame='0']").wait_for()
    assert re.fullmatch(r"γ = −[\d.]+, the first picture", slider.get_attribute("aria-valuetext"))
    assert np.abs(screenshot(canvas) - before).mean() > 1
    assert "γ = −" in canvas.get_attribute("aria-label")
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == said
    desk.check()


def test_sliders_move_together_if_asked_and_by_their_pictures(desk, run):
    page = desk.page
    sliders = page.locator("#viewer-traversals input[type=range]")
    page.get_by_label("Move all sliders together").check()
    sliders.first.fill("0")
    assert [sliders.nth(i).input_value() for i in range(sliders.count())] == ["0"] * sliders.count()
    page.locator("#viewer-traversals .card").first.locator(".film canvas").nth(1).click()
    assert sliders.last.input_value() == "1"


def test_one_slider_moves_all_held_out_samples(desk, run):
    frames = load_file(run.folder / "tensors" / "global_consistency.safetensors")["frames"].permute(0, 2, 3, 1).numpy()
    table = pd.read_parquet(run.folder / "tables" / "global_consistency_edits.parquet")
    page = desk.page
    t = int(table["t"].min())
    page.locator(f"input[name=viewer-global-time][value='{t}']").check(force=True)
    card = page.locator("#viewer-global .card[data-direction='2']")
    rows = table[(table["t"] == t) & (table["direction"] == 1)].sort_values("held_out")
    for place in (0, 2):
        card.locator("input[type=range]").fill(str(place))
        for i, frame in enumerate(rows["frame"]):
            canvas = card.locator(".faces canvas").nth(i)
            page.wait_for_function("([c, f]) => c.dataset.frame === f", arg=[canvas.element_handle(), str(place)])
            np.testing.assert_array_equal(pixels(canvas), frames[frame + place])


def test_tables_sort_by_every_column(desk, run):
    page = desk.page
    table = page.locator("#table-labels table")
    heads = table.locator("thead th")
    column = heads.all_inner_texts().index("σ")

    def values():
        return [float(x) for x in table.locator(f"tbody tr td:nth-child({column + 1})").all_inner_texts()]

    heads.nth(column).locator("button").click()
    assert heads.nth(column).get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    heads.nth(column).locator("button").press("Enter")
    assert heads.nth(column).get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)


def test_every_column_of_every_whole_table_sorts(show, run):
    opened = show(run.folder / "report.html")
    page, clicked = opened.page, 0
    truths = {}
    for details in page.locator("details.raw").all():
        details.evaluate("node => { node.open = true; }")
        details.locator("table").wait_for()
        heads = details.locator("thead th")
        for i, heading in enumerate(heads.all_inner_texts()):
            for order in ("ascending", "descending"):
                heads.nth(i).locator("button").evaluate("button => button.click()")
                assert heads.nth(i).get_attribute("aria-sort") == order
            clicked += 1
            cells = details.locator(f"tbody tr td:nth-child({i + 1})").all_inner_texts()
            if set(cells) <= {"true", "false"}:
                truths[heading] = cells
    assert clicked > 50
    assert opened.said == []
    assert {"converged", "matched"} <= set(truths)
    assert all(cells == sorted(cells, reverse=True) for cells in truths.values()), "as sorted last, falling"


def test_copied_csv_holds_no_formula(show, run):
    opened = show(run.folder / "report.html")
    page = opened.page
    block = page.locator("#table-spectrum-means")
    cells = '["=1+1", "-2+3+cmd", "@SUM(A1)", "-1.5", "-inf", "+1e-3", ""]'
    block.locator("tbody td").first.evaluate("(cell, csv) => { cell.dataset.csv = csv; }", cells)
    block.get_by_role("button", name="Copy CSV").click()
    page.locator("#toast.shown").wait_for()
    rows = list(csv.reader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    assert rows[1][:7] == ["'=1+1", "'-2+3+cmd", "'@SUM(A1)", "-1.5", "-inf", "+1e-3", ""]


def test_tables_are_copied_as_csv_with_all_digits_in_the_order_shown(desk, run):
    page = desk.page
    block = page.locator("#table-spectrum-means")
    block.locator("thead th button").nth(1).click()
    block.get_by_role("button", name="Copy CSV").click()
    page.locator("#toast.shown", has_text="Copied 2 rows as CSV").wait_for()
    rows = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    spectrum = pd.read_parquet(run.folder / "tables" / "spectrum.parquet")
    means = spectrum.groupby("t_frac")["effective_dimension"].mean()
    assert [float(r["effective_dimension"]) for r in rows] == pytest.approx(sorted(means), rel=1e-12)
    for row in rows:
        assert float(row["effective_dimension_low"]) <= float(row["effective_dimension"])
    with page.expect_download() as download:
        block.get_by_role("button", name="Save CSV").click()
    assert download.value.suggested_filename == "spectrum-means.csv"
    assert list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))) == rows
    desk.check()


def test_tables_are_copied_as_latex_that_a_paper_can_hold(desk, run):
    page = desk.page
    block = page.locator("#table-scorecard")
    block.get_by_role("button", name="Copy LaTeX").click()
    page.locator("#toast.shown").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "% needs \\usepackage{booktabs}"
    for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\end{table}"):
        assert lines.count(rule) == 1
    body = lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")]
    assert len(body) == block.locator("tbody tr").count()
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1]
    assert {line.count(" & ") for line in body} == {len(columns) - 1}
    assert all(line.endswith("\\\\") for line in body)
    assert text.isascii(), "what a default LaTeX can set"


def test_copying_falls_back_where_the_clipboard_is_closed(desk, run):
    page = desk.page
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('closed')); }")
    page.locator("button[data-copy-text]").click()
    page.locator("#toast.shown", has_text="Copied the command").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("diffgeo model=local ")
    assert copied.endswith("seed=0")


def test_whole_tables_open_on_demand(desk, run):
    page = desk.page
    details = page.locator("details.raw[data-table=spectrum]")
    details.locator("summary").click()
    stored = pd.read_parquet(run.folder / "tables" / "spectrum.parquet")
    assert details.locator("tbody tr").count() == len(stored)
    details.get_by_role("button", name="Copy CSV").click()
    page.locator("#toast.shown").wait_for()
    copied = pd.read_csv(io.StringIO(page.evaluate("navigator.clipboard.readText()")))
    for column in stored.select_dtypes("number"):
        if column in copied:
            np.testing.assert_allclose(copied[column], stored[column], rtol=1e-12)
    assert copied["residual"].between(0, 1e-3, inclusive="neither").all() if "residual" in copied else True


def test_a_timestep_is_picked_for_the_rescoring_matrix(desk, run):
    page = desk.page
    panels = page.locator("[data-panel^='chart-rescoring']")
    assert [panels.nth(i).is_visible() for i in range(panels.count())] == [True, False]
    page.locator("[data-tabs]", has=panels).locator("input").nth(1).check(force=True)
    assert [panels.nth(i).is_visible() for i in range(panels.count())] == [False, True]
    panels.nth(1).locator("svg").first.wait_for()


def test_dark_follows_the_system_and_the_button(show, run):
    opened = show(run.folder / "report.html", dark=True)
    page = opened.page
    assert screenshot(page.locator("h1")).mean() < 80
    chart = page.locator("#chart-spectrum-flatness .plot")
    chart.scroll_into_view_if_needed()
    chart.locator("svg").first.wait_for()
    assert screenshot(chart).mean() < 80
    keep(page, "page_dark")
    page.locator("#theme").click()
    assert page.locator("#theme").get_attribute("aria-label") == "Switch to dark colours"
    assert screenshot(page.locator("h1")).mean() > 200
    page.wait_for_timeout(300)
    assert screenshot(chart).mean() > 200
    opened.check()


def test_a_chart_says_its_values_on_hover(desk, run):
    page = desk.page
    chart = page.locator("#chart-spectrum-flatness .plot")
    chart.scroll_into_view_if_needed()
    chart.locator("svg").wait_for()
    means = pd.read_parquet(run.folder / "tables" / "spectrum.parquet").groupby("t_frac")["flatness"].mean()
    chart.locator(".mark-symbol path").last.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    said = dict(re.findall(r"(t / T|mean)\s+([\d.]+)", tooltip.inner_text()))
    assert float(said["mean"]) == pytest.approx(means[float(said["t / T"])], rel=5e-3)
    desk.check()


def test_a_chart_zooms_and_goes_back(desk, run):
    page = desk.page
    chart = page.locator("#chart-spectrum-flatness .plot")
    chart.scroll_into_view_if_needed()
    chart.locator("svg").wait_for()
    ticks = chart.locator(".role-axis-label text")
    before, place, at = sorted(ticks.all_text_contents()), chart.bounding_box(), page.evaluate("scrollY")
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 100)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    labels = "[...node.querySelectorAll('.role-axis-label text')].map(t => t.textContent).sort().join()"
    changed = f"([node, before]) => {labels} !== before"
    page.wait_for_function(changed, arg=[chart.element_handle(), ",".join(before)])
    page.mouse.dblclick(place["x"] + place["width"] / 2, place["y"] + 100)
    page.wait_for_function(changed.replace("!==", "==="), arg=[chart.element_handle(), ",".join(before)])
    page.mouse.wheel(0, 200)  # without Ctrl the page scrolls, not the chart
    page.wait_for_function("at => scrollY > at", arg=at)
    assert sorted(ticks.all_text_contents()) == before
    desk.check()


def test_a_series_is_picked_in_the_legend(desk, run):
    page = desk.page
    chart = page.locator("#chart-spectrum-values .plot")
    chart.scroll_into_view_if_needed()
    chart.locator("svg").wait_for()
    lines = chart.locator(".mark-line path")
    assert [lines.nth(i).get_attribute("opacity") for i in range(lines.count())] in ([None] * 2, ["1"] * 2)
    chart.locator(".role-legend-symbol path").first.click()
    page.wait_for_function(
        "n => [...n.querySelectorAll('.mark-line path')].some(p => p.getAttribute('opacity') < 0.5)",
        arg=chart.element_handle(),
    )
    assert [float(lines.nth(i).get_attribute("opacity")) > 0.5 for i in range(2)] == [True, False]
    desk.check()


def test_a_chart_is_saved_as_svg(desk, run):
    page = desk.page
    figure = page.locator("#chart-spectrum-flatness")
    figure.scroll_into_view_if_needed()
    figure.locator("svg").wait_for()
    with page.expect_download() as download:
        figure.get_by_role("button", name="Save SVG").click()
    assert download.value.suggested_filename == "spectrum-flatness.svg"
    assert Path(download.value.path()).read_text().startswith("<svg")
    desk.check()


def test_a_phone_never_scrolls_sideways(show, run):
    opened = show(run.folder / "report.html", width=390)
    page = opened.page
    scroll(page)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    page.locator("details.raw table").last.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#viewer-traversals").scroll_into_view_if_needed()
    keep(page, "page_phone")
    opened.check()


def test_charts_are_named_and_described_for_a_screen_reader(desk, run):
    page = desk.page
    for plot in page.locator(".plot").all():
        assert plot.get_attribute("role") == "img"
        name, alt = (page.locator(f"#{plot.get_attribute(key)}") for key in ("aria-labelledby", "aria-describedby"))
        assert name.text_content().strip()
        assert re.search(r"\d", alt.text_content())
    for control in page.locator("input, button").all():
        named = control.evaluate("e => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent")
        assert named.strip(), control.evaluate("e => e.outerHTML")


def test_the_page_of_an_ordinary_run_opens_too(show, good):
    opened = show(good.folder / "report.html")
    scroll(opened.page)
    assert opened.page.locator(".bars").count() == 0, "the tiny model has no predictor"
    opened.check()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["study=[discovery]", "data.samples=1", "svd.rank=5"], id="discovery"),
        pytest.param([], id="all default studies", marks=pytest.mark.nightly),
    ],
)
def test_the_shipped_model_has_a_page_on_which_every_slider_works(show, command, tmp_path, words):
    folder = tmp_path / "run"
    outcome = command("scale=smoke", "tracking=none", f"hydra.run.dir={folder}", *words, folder=folder)
    assert outcome.code == 0, outcome.err
    path = Path(outcome.out.splitlines()[-1])
    assert path == folder / "report.html"
    opened = show(path)
    for card in opened.page.locator(".card").all():
        slider, canvas = card.locator("input[type=range]"), card.locator("canvas").first
        shown = []
        for place in ("0", slider.get_attribute("max")):
            slider.fill(place)
            opened.page.wait_for_function("([c, f]) => c.dataset.frame === f", arg=[canvas.element_handle(), place])
            shown.append(screenshot(canvas))
        assert np.abs(shown[0] - shown[1]).mean() > 1
    scroll(opened.page)
    keep(opened.page, "page_shipped")
    opened.check()


def test_a_label_agrees_with_the_bars_beside_it(show, tmp_path):
    """An attribute that rises from −γ to +γ may lie below the unedited picture's at +γ."""
    from diffgeo.report.page import write_page

    folder = tmp_path / "run"
    (folder / "tables").mkdir(parents=True)
    (folder / "tensors").mkdir()
    where = {"sample": 0, "name": "seed 0", "t_frac": 1.0, "t": 999, "direction": 0}
    hue, smile = (-0.8, 0.9, 0.2), (0.3, 0.0, -0.1)
    direction = where | {"singular_value": 2.0, "rank": 1, "converged": True, "label": "hair_hue +, smile −"}
    pd.DataFrame([direction | {"delta_hair_hue": 1.0, "delta_smile": -0.4}]).to_parquet(
        folder / "tables/discovery.parquet"
    )
    frames = [where | {"frame": i, "gamma": 2.0 * (i - 1), "hair_hue": hue[i], "smile": smile[i]} for i in range(3)]
    pd.DataFrame(frames).to_parquet(folder / "tables/discovery_traversals.parquet")
    save_file({"frames": torch.zeros(3, 3, 8, 8, dtype=torch.uint8)}, folder / "tensors/discovery.safetensors")
    facts = {"status": "completed", "settings": {"study": {"discovery": {}}, "seed": 0}, "versions": {"diffgeo": "1"}}
    (folder / "run.json").write_text(
        json.dumps(facts | {"files": [str(f.relative_to(folder)) for f in folder.rglob("*.*")]})
    )
    opened = show(write_page(folder))
    card = opened.page.locator(".card").first
    assert card.locator(".label").inner_text().split() == ["hair", "hue", "+,", "smile", "−"]
    assert card.locator(".since").inner_text() == "change from γ = −2.0 to +2.0"
    assert card.locator(".bar .value").all_inner_texts() == ["+1.00", "−0.40"], "the label's order and signs"
    slider = card.locator("input[type=range]")
    slider.focus()
    opened.page.keyboard.press("ArrowLeft")
    assert card.locator(".since").inner_text() == "change from γ = −2.0 to 0"
    assert card.locator(".bar .value").all_inner_texts() == ["+1.70", "−0.30"]
    opened.check()

"""Take the pictures of the page and of the explorer for docs/images/: python tools/docs_screenshots.py RUN_FOLDER.

RUN_FOLDER is a default run of the shipped model. Needs Chromium, Playwright and Gradio (the extra ``dev``).
"""

import argparse
import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from diffgeo.cli.explore import free_port, read, settings
from diffgeo.explore import Explorer
from diffgeo.explore.serving import LOCAL, serving
from diffgeo.runner.prepare import prepare
from diffgeo.session.progress import Interruption

FOLDER = Path(__file__).parent.parent / "docs" / "images"
WORDS = ["seed=7", "schedule.edit=[0.7]", "edit.strength=0.03", "svd.rank=8"]
SLIDERS = {2: 1.2, 5: -1}
AFTER = ".dg-figures figure:nth-child(2) img"
MOUTH = ((0.36, 0.69), (0.5, 0.75), (0.64, 0.69))
"""A stroke over it, in shares of the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="run folder, for its report.html")
    run = parser.parse_args().run.resolve()
    where = os.environ.get("DIFFGEO_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-gpu"])
        page = window(browser, 800)
        page.goto((run / "report.html").as_uri())
        keep(page, "page")
        wanted = read(WORDS)
        explorer = Explorer(prepare(settings(wanted), Interruption()), overrides=wanted.overrides)
        with serving(explorer, LOCAL, free_port(LOCAL, 0)) as address:
            page = window(browser, 900)
            page.goto(address)
            page.wait_for_selector(".dg-card img")
            page.wait_for_selector("#dg-samples img")
            for which, value in SLIDERS.items():
                slide(page, which, value)
            keep(page, "explorer", whole=True)
            page.goto(f"{address}?sample=0&t_frac=0.5&rank=4&strength=0.06")
            page.wait_for_selector(".dg-card img")
            inside_mask(page)
            keep(page, "explorer_mask", part="#dg-right")
        browser.close()


def window(browser: Browser, height: int) -> Page:
    """A fresh window 1280 pixels wide, in light colours."""
    page = browser.new_context(viewport={"width": 1280, "height": height}, color_scheme="light").new_page()
    page.set_default_timeout(600_000)
    return page


def slide(page: Page, which: int, value: float) -> None:
    """Move a slider, and wait for the picture."""
    before = page.get_attribute(AFTER, "src")
    page.locator(f"#dg-slider-{which} input[type=range]").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )
    page.wait_for_function("([where, old]) => document.querySelector(where).src !== old", arg=[AFTER, before])


def inside_mask(page: Page) -> None:
    """Paint over the mouth, and move the first direction there."""
    page.click("#dg-paint button")
    page.wait_for_function("() => document.getElementById('dg-canvas').width > 1")
    canvas = page.locator("#dg-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for x, y in MOUTH:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        page.mouse.down()
    page.mouse.up()
    page.click("#dg-inside")
    page.wait_for_selector(".dg-outline")
    slide(page, 1, 1.5)


def keep(page: Page, name: str, *, whole: bool = False, part: str | None = None) -> None:
    """Save what is seen, or all there is, or one part of the page, in 256 colours."""
    path = FOLDER / f"{name}.png"
    page.wait_for_timeout(1000)
    if part is None:
        page.screenshot(path=path, full_page=whole)
    else:
        page.locator(part).screenshot(path=path)
    with Image.open(path) as opened:
        opened.convert("RGB").quantize(256).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()

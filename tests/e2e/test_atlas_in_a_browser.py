"""The committed atlas in a real browser, wide and on a phone: no requests, and a cell always tells what it is of."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ATLAS = Path(__file__).resolve().parents[2] / "docs" / "results" / "atlas.html"
SCREENSHOTS = Path(__file__).resolve().parents[2] / "outputs" / "screenshots"


@pytest.fixture(params=[1440, 390], ids=["wide", "phone"])
def opened(chromium, request):
    """The page at a width in pixels, and what it said and asked for."""
    window = chromium.new_context(viewport={"width": request.param, "height": 844})
    page, heard = window.new_page(), []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda asked: heard.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    page.goto(ATLAS.as_uri())
    yield page, request.param, heard
    window.close()


def test_the_atlas_opens_without_an_error_or_a_request(opened):
    page, width, heard = opened
    assert page.locator("#claims tbody tr").count() >= 25
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"atlas_{width}.png")
    assert heard == []


def test_a_cell_tells_its_claim_and_its_network_wherever_one_scrolls(opened):
    page, width, _ = opened
    page.evaluate("document.querySelector('.atlas-box').scrollLeft = 10000")
    claim = page.locator("#claims tbody th").first.bounding_box()
    assert claim["x"] >= 0
    assert page.locator("#claims tbody td .network").first.is_visible() == (width == 390)


def test_what_limits_a_verdict_is_a_click_away(opened):
    page, _, _ = opened
    limits = page.locator("#claims td details.more-of").first
    limits.locator("summary").click()
    assert "Holm" in limits.inner_text()

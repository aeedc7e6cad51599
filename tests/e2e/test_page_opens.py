"""The page of a small run in a real browser; ``test_page_in_a_browser`` tries all that a page can do."""


def test_a_page_opens_from_disk_without_a_request_and_its_slider_works(chromium, good):
    page, said, asked = chromium.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((good.folder / "report.html").as_uri())
    card = page.locator(".card").first
    card.locator("canvas[data-frame]").first.wait_for()
    card.locator("input[type=range]").fill("0")
    card.locator(".stage > canvas[data-frame='0']").wait_for()
    page.evaluate("document.querySelector('.plot').scrollIntoView()")
    page.locator(".plot svg").first.wait_for()
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1, "one file and nothing beside it"

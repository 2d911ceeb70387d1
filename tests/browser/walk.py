"""Walk through a real link on a phone, in Arabic, and print what was seen as JSON. tests/stack/test_page.py runs it.

The link needs an access code and works twice: ready, a wrong code, the cards twice, used up.
"""

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

from browser.chromium import find_chromium

PHONE = {"width": 320, "height": 640}
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def seen(page: Page, name: str, response: Response | None, pictures: Path | None) -> dict[str, Any]:
    """Say what stands on the page, and take a picture of it if asked for."""
    if pictures is not None:
        page.screenshot(path=pictures / f"{name}.png", full_page=True)
    return {
        "name": name,
        "status": None if response is None else response.status,
        "heading": page.locator("h1").inner_text(),
        "direction": page.evaluate("getComputedStyle(document.body).direction"),
        "isTooWide": page.evaluate(TOO_WIDE),
        "values": page.locator("[data-secret=value]").all_text_contents(),
        "serials": page.locator("[data-secret=serial]").all_text_contents(),
    }


def walk(url: str, code: str, pictures: Path | None) -> dict[str, Any]:
    """Walk through all states of a link."""
    steps = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_context(viewport=PHONE, device_scale_factor=2, has_touch=True).new_page()  # type: ignore[arg-type]
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))

        def press(name: str, typed: str) -> None:
            page.fill("#code", typed)
            with page.expect_navigation() as answer:
                page.tap("main button.button")
            steps.append(seen(page, name, answer.value, pictures))

        steps.append(seen(page, "ready", page.goto(url), pictures))
        press("wrong code", "0000")
        press("shown", code)
        steps.append(seen(page, "ready again", page.reload(), pictures))
        press("shown again", code)
        steps.append(seen(page, "used up", page.reload(), pictures))
        storage = page.context.storage_state()
        browser.close()
    return {"steps": steps, "asked": asked, "storage": storage}


if __name__ == "__main__":
    link, access_code, *folder = sys.argv[1:]
    print(json.dumps(walk(link, access_code, Path(folder[0]) if folder else None)))  # noqa: T201

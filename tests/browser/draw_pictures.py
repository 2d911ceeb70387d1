"""Draw the pictures of the buyer's page in docs/pictures. Run with `make pictures`; it needs the tests' browser."""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from browser.chromium import find_chromium
from giftcards.presentation.page import render_page
from support.page_samples import page_content

ROOT = Path(__file__).parents[2]

PHONE, DESKTOP = 320, 1280
PICTURES = [
    ("READY", "ar", PHONE, "light"),
    ("SHOWN", "ar", PHONE, "light"),
    ("READY", "fr", PHONE, "dark"),
    ("SHOWN", "fr", PHONE, "dark"),
    ("WRONG_CODE", "ar", PHONE, "light"),
    ("READY", "en", DESKTOP, "light"),
    ("SHOWN", "en", DESKTOP, "light"),
]


def draw(browser: Browser, state: str, language: str, width: int, scheme: str) -> Path:
    """Draw one picture with few colours, so that it stays small, and return its path."""
    page = browser.new_page(
        viewport={"width": width, "height": 560}, device_scale_factor=2 if width == PHONE else 1, color_scheme=scheme
    )
    page.set_content(render_page(page_content(state, language)))
    device = "phone" if width == PHONE else "desktop"
    path = ROOT / f"docs/pictures/{state.lower().replace('_', '-')}-{language}-{device}.png"
    picture = Image.open(io.BytesIO(page.screenshot(full_page=width == PHONE)))
    picture.convert("RGB").quantize(32, dither=Image.Dither.NONE).save(path, optimize=True)
    page.close()
    return path


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for picture in PICTURES:
            print(draw(chromium, *picture).relative_to(ROOT))  # noqa: T201

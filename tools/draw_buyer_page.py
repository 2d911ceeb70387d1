"""Draw the pictures of the buyer's page in docs/pictures. Run with `make pictures`; it needs the tests' browser."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "layers/core"), str(ROOT / "tests")]

from browser.chromium import find_chromium  # noqa: E402
from giftcards.presentation.page import render_page  # noqa: E402
from support.page_samples import page_content  # noqa: E402

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
            print(draw(chromium, *picture).relative_to(ROOT))

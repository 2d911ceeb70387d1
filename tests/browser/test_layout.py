"""Every state in every language fits its screen, complains about nothing and reaches nobody else."""

from collections.abc import Callable

import pytest

from browser.conftest import Tab
from browser.page_server import PageServer
from giftcards.presentation.page import STATUS, ShownCard
from giftcards.rules.languages import LANGUAGES
from support.page_samples import shown_cards

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
KEPT = "document.cookie.length + localStorage.length + sessionStorage.length"


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("state", STATUS)
def test_page_fits_and_keeps_to_itself(new_tab: Callable[..., Tab], server: PageServer, state: str, has_script: bool):
    tab = new_tab(java_script_enabled=has_script)
    server.on_get = (state, {})
    for language in LANGUAGES:
        tab.open(language)
        for width in (320, 1280):
            tab.page.set_viewport_size({"width": width, "height": 800})
            assert tab.page.evaluate(OVERFLOW) == 0, f"{language}, {width} px"
        assert tab.page.locator("h1").is_visible()
        assert tab.page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
        assert tab.page.locator(".copy").count() == (4 if state == "SHOWN" and has_script else 0)
        assert tab.page.evaluate(KEPT) == 0
        if has_script:
            assert tab.page.evaluate("violations") == []

    assert tab.asked == [server.link(language) for language in LANGUAGES]
    assert tab.page.context.cookies() == []
    assert tab.complaints == []


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_long_words_break_on_a_small_telephone(
    new_tab: Callable[..., Tab], server: PageServer, language: str, has_script: bool
):
    tab = new_tab(320, java_script_enabled=has_script)
    long = "W" * 120
    cards = (ShownCard(1, "8" * 300, "7" * 300), *shown_cards(2, 200))
    changes = {"label": long, "shop_name": long, "shop_contact": f"{long}@shop.example"}
    server.on_get = ("SHOWN", changes | {"cards": cards, "quantity": 1000})
    tab.open(language)

    assert tab.page.evaluate(OVERFLOW) == 0
    assert tab.page.locator("[data-secret]").count() == 400


@pytest.mark.parametrize("change", ["<style>p{color:red}</style>", "<script>1</script>", "<p style='color:red'>"])
def test_what_the_policy_does_not_allow_is_noticed(tab: Tab, server: PageServer, change: str):
    server.change = lambda html: html.replace("</body>", f"{change}</body>")
    tab.open()

    assert tab.page.evaluate("violations.length") == 1
    assert tab.complaints != []


@pytest.mark.parametrize("state", ["READY", "SHOWN", "WRONG_CODE"])
@pytest.mark.parametrize("width", [320, 1280])
def test_buttons_and_fields_are_as_high_as_a_finger(
    new_tab: Callable[..., Tab], server: PageServer, state: str, width: int
):
    tab = new_tab(width)
    server.on_get = (state, {"quantity": 401})
    tab.open("fr")
    heights = [
        box["height"]
        for element in tab.page.locator("main button, main input:not([type=hidden]), .languages a").all()
        if (box := element.bounding_box())
    ]

    assert heights
    assert min(heights) >= 42


def test_arabic_page_runs_from_right_to_left_and_codes_from_left_to_right(
    new_tab: Callable[..., Tab], server: PageServer
):
    tab = new_tab(1280)
    server.on_get = ("SHOWN", {})
    tab.open("ar")

    def left(selector: str) -> float:
        box = tab.page.locator(selector).first.bounding_box()
        assert box
        return box["x"]

    assert left("header svg") > left("header p")
    assert left(".copy") < left("[data-secret]")
    assert tab.page.locator("[data-secret]").first.evaluate("e => getComputedStyle(e).direction") == "ltr"


def test_page_is_dark_where_the_reader_wants_it(new_tab: Callable[..., Tab]):
    backgrounds = set()
    for scheme in ("light", "dark"):
        tab = new_tab(color_scheme=scheme)
        tab.open()
        backgrounds.add(tab.page.locator("main").evaluate("e => getComputedStyle(e).backgroundColor"))

    assert len(backgrounds) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_mail_fits_a_small_telephone_and_names_its_direction(
    new_tab: Callable[..., Tab], mail_html: Callable[[str], str], language: str
):
    tab = new_tab(320)
    tab.page.set_content(mail_html(language))
    aligned = tab.page.locator("p").evaluate_all("all => all.map(p => getComputedStyle(p).textAlign + p.dir)")

    assert tab.page.evaluate(OVERFLOW) == 0
    assert tab.asked == []
    assert set(aligned) <= ({"startrtl", "rightltr"} if language == "ar" else {"startltr", "leftltr"})

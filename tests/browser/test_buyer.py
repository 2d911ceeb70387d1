"""What a buyer does with the page: press, copy, go back, reload, leaf through."""

import time
from collections.abc import Callable

import pytest

from browser.conftest import Tab
from browser.page_server import PageServer
from support.page_samples import CODES, SERIALS, shown_cards

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
REFUSING_CLIPBOARD = "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))"
THROWING_CLIPBOARD = "navigator.clipboard.writeText = () => { throw new Error('no') }"
BOTH = pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])


@BOTH
def test_opening_sends_no_form_and_pressing_sends_one(
    new_tab: Callable[..., Tab], server: PageServer, has_script: bool
):
    tab = new_tab(java_script_enabled=has_script)
    tab.open("ar")
    tab.page.wait_for_load_state("networkidle")
    assert (server.count("GET"), server.count("POST")) == (1, 0)

    tab.page.click("main .button")

    tab.page.wait_for_selector(".cards")
    assert (server.count("GET"), server.count("POST")) == (1, 1)
    assert server.received[-1].query == {"l": ["ar"]}
    assert server.received[-1].form == {}
    assert tab.page.locator("[data-secret=value]").all_text_contents() == list(CODES)
    assert tab.page.locator("[data-secret=serial]").all_text_contents() == list(SERIALS)


@BOTH
def test_access_code_travels_in_the_form_alone(new_tab: Callable[..., Tab], server: PageServer, has_script: bool):
    tab = new_tab(java_script_enabled=has_script)
    server.on_get = ("READY", {"needs_code": True})
    tab.open()
    tab.page.fill("#code", "٤٢٤٢")
    tab.page.click("main .button")
    tab.page.wait_for_selector(".cards")

    assert server.received[-1].form == {"code": ["٤٢٤٢"]}
    assert not any("code" in url for url in tab.asked)


def test_empty_access_code_is_not_sent(tab: Tab, server: PageServer):
    server.on_get = ("READY", {"needs_code": True})
    tab.open()
    tab.page.click("main .button")

    assert tab.page.evaluate("document.activeElement.id") == "code"
    assert server.count("POST") == 0


def test_second_press_takes_no_second_use(tab: Tab, server: PageServer):
    server.post_seconds = 1
    tab.open()
    box = tab.page.locator("main .button").bounding_box()
    assert box
    tab.page.mouse.click(box["x"] + 20, box["y"] + 20)  # a locator would wait for the answer before it presses again
    deadline = time.monotonic() + 10
    while not server.count("POST") and time.monotonic() < deadline:
        time.sleep(0.01)
    tab.page.mouse.click(box["x"] + 20, box["y"] + 20)
    tab.page.wait_for_selector(".cards")

    assert server.count("POST") == 1


@pytest.mark.parametrize("state", ["SHOWN", "WRONG_CODE", "LATER"])
def test_reload_after_an_answer_gives_the_button_again(tab: Tab, server: PageServer, state: str):
    server.on_post = (state, {})
    tab.show()
    tab.page.reload()

    assert tab.page.locator("main button.button").is_visible()
    assert tab.page.locator("[data-secret]").count() == 0
    assert server.count("POST") == 1


@pytest.mark.parametrize("way", ["back", "away and back"])
def test_back_gives_the_button_again(tab: Tab, server: PageServer, way: str):
    tab.show()
    if way == "away and back":
        tab.page.goto(f"{server.origin}/elsewhere")
    tab.page.go_back()

    tab.page.wait_for_selector("main button.button")
    assert tab.page.locator("[data-secret]").count() == 0
    assert server.count("POST") == 1


def test_page_from_the_browsers_memory_is_loaded_again(tab: Tab, server: PageServer):
    tab.show()
    with tab.page.expect_navigation():
        tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")

    assert tab.page.locator("main button.button").is_visible()
    assert server.count("POST") == 1


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_copy_puts_exactly_the_code_into_the_clipboard_and_says_so(new_tab: Callable[..., Tab], which: int):
    tab = new_tab(permissions=["clipboard-read", "clipboard-write"])
    tab.show("fr")
    tab.page.locator(".copy").nth(which).click()
    tab.page.wait_for_selector(".done")

    secret = (CODES[0], SERIALS[0], CODES[1], SERIALS[1])[which]
    assert tab.page.evaluate("navigator.clipboard.readText()") == secret
    assert str(tab.page.locator(".done").text_content()).startswith("Copié – ")
    assert tab.page.locator(".done").count() == 1
    assert tab.page.locator("[role=status]").text_content() == "Copié"


@pytest.mark.parametrize("clipboard", [NO_CLIPBOARD, REFUSING_CLIPBOARD, THROWING_CLIPBOARD])
def test_copy_that_fails_selects_the_code_and_never_says_copied(tab: Tab, clipboard: str):
    tab.page.add_init_script(clipboard)
    tab.show("fr")
    tab.page.locator(".copy").first.click()
    tab.page.wait_for_selector(".hint")

    assert tab.page.evaluate("getSelection().toString()") == CODES[0]
    assert "Copié" not in tab.page.inner_text("body")
    assert tab.page.locator(".hint").text_content() == "Sélectionné. Appuyez longuement pour copier."
    assert tab.complaints == []


def test_copied_is_said_for_a_few_seconds(new_tab: Callable[..., Tab]):
    tab = new_tab(permissions=["clipboard-write"])
    tab.page.clock.install()
    tab.show()
    tab.page.locator(".copy").first.click()
    tab.page.wait_for_selector(".done")
    tab.page.clock.run_for(5_000)

    assert tab.page.locator(".done").count() == 0
    assert str(tab.page.locator(".copy").first.text_content()).startswith("Copy – ")


@BOTH
def test_one_press_on_a_code_selects_all_of_it(new_tab: Callable[..., Tab], has_script: bool):
    tab = new_tab(java_script_enabled=has_script)
    tab.show()
    tab.page.locator("[data-secret]").first.click()

    assert tab.page.evaluate("getSelection().toString()") == CODES[0]


@BOTH
def test_further_pages_of_a_view_show_its_ticket(new_tab: Callable[..., Tab], server: PageServer, has_script: bool):
    tab = new_tab(java_script_enabled=has_script)
    server.on_post = ("SHOWN", {"quantity": 401, "cards": shown_cards(1, 200)})
    tab.show()
    server.on_post = ("SHOWN", {"quantity": 401, "cards": shown_cards(201, 400), "page_number": 2})
    tab.page.click("text=Card 201–400")
    tab.page.wait_for_selector("text=Card 201 >> visible=true")

    assert server.received[-1].form == {"view": ["ticket"], "page": ["2"]}
    assert tab.page.locator("[data-secret=value]").count() == 200


@BOTH
def test_other_language_of_a_view_shows_its_ticket(new_tab: Callable[..., Tab], server: PageServer, has_script: bool):
    tab = new_tab(java_script_enabled=has_script)
    tab.show("ar")
    tab.page.click("text=Français")
    tab.page.wait_for_selector("h1:text('Vos cartes cadeaux')")

    assert server.received[-1].form == {"view": ["ticket"], "page": ["1"]}
    assert server.received[-1].query == {"l": ["fr"]}


def test_other_language_of_an_unopened_link_is_a_link(tab: Tab, server: PageServer):
    tab.open("ar")
    tab.page.click("text=English")
    tab.page.wait_for_selector("h1:text('Your gift cards are ready')")

    assert (server.count("GET"), server.count("POST")) == (2, 0)


def test_try_again_asks_for_the_button_and_sends_nothing(tab: Tab, server: PageServer):
    server.on_post = ("LATER", {})
    tab.show()
    tab.page.click("main a.button")
    tab.page.wait_for_selector("main button.button")

    assert server.count("POST") == 1


def test_no_page_of_a_visit_keeps_anything_or_reaches_anyone_else(tab: Tab, server: PageServer):
    tab.show()
    tab.page.reload()

    assert {url.split("/c/")[0] for url in tab.asked} == {server.origin}
    assert {request.path for request in server.received} == {"/c/abcdefghijklmnopqrstuvwxyz234567"}
    assert tab.page.context.storage_state() == {"cookies": [], "origins": []}

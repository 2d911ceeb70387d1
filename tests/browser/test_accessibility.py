"""axe finds nothing to object to, in any language, light and dark."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe

from browser.conftest import Tab
from browser.page_server import PageServer
from giftcards.presentation.page import STATUS
from giftcards.rules.languages import LANGUAGES


def violations(tab: Tab) -> list[str]:
    found = Axe().run(tab.page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("state", STATUS)
def test_axe_finds_no_violation(new_tab: Callable[..., Tab], server: PageServer, state: str):
    tab = new_tab()
    server.on_get = (state, {"quantity": 401} if state == "SHOWN" else {})
    found = {}
    for language in LANGUAGES:
        tab.page.emulate_media(color_scheme="light")
        tab.open(language)
        found[language] = violations(tab)
    tab.page.emulate_media(color_scheme="dark")
    found["dark"] = violations(tab)

    assert not any(found.values()), found


@pytest.mark.parametrize("is_allowed", [True, False], ids=["copied", "selected"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_no_violation_after_copying(
    new_tab: Callable[..., Tab], server: PageServer, language: str, is_allowed: bool
):
    tab = new_tab(permissions=["clipboard-write"] if is_allowed else [])
    if not is_allowed:
        tab.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    server.on_get = ("SHOWN", {})
    tab.open(language)
    tab.page.locator(".copy").first.click()
    tab.page.wait_for_selector(".done" if is_allowed else ".hint")

    assert violations(tab) == []


def test_a_violation_is_noticed(tab: Tab, server: PageServer):
    server.change = lambda html: html.replace("<button class", "<button aria-label='Other' aria-checked='x' class")
    tab.open()

    assert violations(tab) != []


def test_field_with_the_wrong_code_has_the_focus_and_its_reason(tab: Tab, server: PageServer):
    server.on_post = ("WRONG_CODE", {})
    server.on_get = ("READY", {"needs_code": True})
    tab.open()
    tab.page.fill("#code", "1234")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("[role=alert]")

    assert tab.page.evaluate("document.activeElement.id") == "code"
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "wrong"
    assert tab.page.locator("#wrong").is_visible()


def test_link_is_used_with_the_keyboard_alone(tab: Tab):
    tab.open()
    tab.page.keyboard.press("Tab")
    while tab.page.evaluate("document.activeElement.tagName") != "BUTTON":
        tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".cards")


def test_copy_buttons_name_their_card(tab: Tab, server: PageServer):
    server.on_get = ("SHOWN", {})
    tab.open()
    names = [f"Copy – {what}, Card {i}" for i in (1, 2) for what in ("Code", "Serial number")]

    assert tab.page.locator(".copy").evaluate_all("all => all.map(b => b.textContent)") == names

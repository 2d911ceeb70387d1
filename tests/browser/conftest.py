"""Tests of the buyer's page in a real browser. They have a separate environment; see the Makefile."""

import email
import email.policy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from browser.chromium import NoBrowserError, find_chromium
from browser.page_server import PageServer
from giftcards.presentation.mail import render_mail
from support.page_samples import mail_content

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', event => window.violations.push(event.violatedDirective));
"""


@dataclass
class Tab:
    """A page of the browser, with its requests and its console messages."""

    page: Page
    server: PageServer
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, language: str = "en") -> None:
        """Open the link as a buyer does."""
        self.page.goto(self.server.link(language))

    def show(self, language: str = "en") -> None:
        """Open the link and press the button."""
        self.open(language)
        self.page.click("main .button")
        self.page.wait_for_selector(".cards, .error, main .button[href]")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the browser once."""
    try:
        path = find_chromium()
    except NoBrowserError as problem:
        pytest.exit(str(problem), returncode=1)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def running_server() -> Iterator[PageServer]:
    """Start the server once."""
    server = PageServer()
    yield server
    server.shutdown()


@pytest.fixture
def server(running_server: PageServer) -> PageServer:
    """Return the server in its first state."""
    running_server.on_get = ("READY", {})
    running_server.on_post = ("SHOWN", {})
    running_server.post_seconds = 0.0
    running_server.change = lambda html: html
    running_server.received.clear()
    return running_server


@pytest.fixture
def new_tab(browser: Browser, server: PageServer) -> Iterator[Callable[..., Tab]]:
    """Return a function that opens an empty tab of a new browser profile with a width, a colour scheme and so on."""
    contexts: list[BrowserContext] = []

    def new(width: int = 390, **options: Any) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        context.set_default_timeout(15_000)
        context.add_init_script(WATCH)
        tab = Tab(context.new_page(), server)
        tab.page.on("request", lambda request: tab.asked.append(request.url))
        tab.page.on("console", lambda message: _note(tab, message))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        return tab

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def tab(new_tab: Callable[..., Tab]) -> Tab:
    """Return a tab as wide as a phone."""
    return new_tab()


def _note(tab: Tab, message: ConsoleMessage) -> None:
    is_status = message.text.startswith("Failed to load resource: the server responded with a status of")
    if message.type in {"error", "warning"} and not is_status:
        tab.complaints.append(message.text)


@pytest.fixture(scope="session")
def mail_html() -> Callable[[str], str]:
    """Return a function that gives the HTML part of the mail in a language."""

    def html(language: str) -> str:
        message = email.message_from_bytes(render_mail(mail_content(language)), policy=email.policy.default)
        part = message.get_body(("html",))
        assert part is not None
        return str(part.get_content())

    return html

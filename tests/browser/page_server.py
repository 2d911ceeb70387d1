"""A server on this machine that answers with the buyer's page and its headers, from sample content."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from giftcards.presentation.page import STATUS, headers_of, render_page
from giftcards.presentation.texts import choose_language
from support.page_samples import page_content

PATH = "/c/abcdefghijklmnopqrstuvwxyz234567"


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    form: dict[str, list[str]] = field(default_factory=dict)


class PageServer(ThreadingHTTPServer):
    """Answers GET with one state and POST with another.

    Attributes
    ----------
    on_get, on_post
        State, and what differs from the sample content.
    post_seconds
        How long a POST takes.
    change
        Applied to the HTML, to break it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.on_get: tuple[str, dict[str, Any]] = ("READY", {})
        self.on_post: tuple[str, dict[str, Any]] = ("SHOWN", {})
        self.post_seconds = 0.0
        self.change: Callable[[str], str] = lambda html: html
        self.received: list[Received] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def link(self, language: str) -> str:
        """Return the address of the page in a language."""
        return f"{self.origin}{PATH}?l={language}"

    def count(self, method: str) -> int:
        """Return how many requests came with a method."""
        return sum(request.method == method for request in self.received)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        self._note({})
        self._answer(*self.server.on_get)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True)
        self._note(form)
        time.sleep(self.server.post_seconds)
        self._answer(*self.server.on_post)

    def _note(self, form: dict[str, list[str]]) -> None:
        address = urlsplit(self.path)
        self.server.received.append(Received(self.command, address.path, parse_qs(address.query), form))

    def _answer(self, state: str, changes: dict[str, Any]) -> None:
        address = urlsplit(self.path)
        language = choose_language(parse_qs(address.query).get("l", [None])[0], None, "ar")
        html = self.server.change(render_page(page_content(state, language, **changes))).encode()
        self.send_response(STATUS[state] if address.path == PATH else 404)
        for name, value in headers_of(state).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(html)))
        self.end_headers()
        self.wfile.write(html)

    def log_message(self, *_: object) -> None:
        """Stay silent."""

"""ServePage: answer a browser. GET and HEAD change nothing; only a form's POST shows cards."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from giftcards.adapters.link_table import LinkTable
from giftcards.presentation.page import (
    HEADERS,
    ROBOTS_TXT,
    STATUS,
    PageContent,
    ShownCard,
    headers_of,
    render_page,
)
from giftcards.presentation.texts import choose_language
from giftcards.rules.links import CARDS_PER_PAGE, MAX_CODE_TRIES, Link, LinkState, hash_of, token_in

MAX_FORM_BYTES = 4096


@dataclass(frozen=True)
class PageRequest:
    """What a browser asks for.

    Attributes
    ----------
    route
        The API's route, such as ``POST /c/{token}``.
    token
        What stands in the path, as it came.
    language
        Query parameter ``l``.
    form
        Fields of a POST, the first value of each.
    """

    route: str
    token: str
    language: str | None
    form: Mapping[str, str]

    @classmethod
    def from_http(cls, event: Mapping[str, Any]) -> "PageRequest":
        """Read an event of API Gateway, payload format 2.0. Whatever cannot be read is left out."""
        body = event.get("body") or ""
        try:
            raw = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
            form = parse_qs(raw[:MAX_FORM_BYTES].decode(), max_num_fields=10)
        except ValueError:
            form = {}
        return cls(
            route=str(event.get("routeKey", "")),
            token=str((event.get("pathParameters") or {}).get("token", "")),
            language=(event.get("queryStringParameters") or {}).get("l"),
            form={name: values[0] for name, values in form.items()},
        )


@dataclass(frozen=True)
class PageAnswer:
    """What the browser gets; ``state`` and ``link_id`` are for the log."""

    status: int
    headers: Mapping[str, str]
    body: str
    state: str
    link_id: str | None = None

    def __repr__(self) -> str:
        """Leave the body out: it can hold cards."""
        return f"PageAnswer({self.status}, {self.state})"


@dataclass(frozen=True)
class LinkPage:
    """Serves the page of a link.

    Attributes
    ----------
    redeem
        Calls RedeemLink with a request and returns its answer, both as JSON documents.
    language
        Where neither the buyer nor the shop has chosen one.
    """

    links: LinkTable
    redeem: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    shop_name: str
    shop_contact: str
    language: str

    def serve(self, request: PageRequest, *, now: datetime) -> PageAnswer:
        """Answer one request."""
        method, _, path = request.route.partition(" ")
        if path == "/robots.txt":
            return PageAnswer(200, {**HEADERS, "Content-Type": "text/plain; charset=utf-8"}, ROBOTS_TXT, "ROBOTS")
        token = token_in(request.token) if path == "/c/{token}" else None
        if token is None:
            return self._answer(LinkState.NOT_FOUND, request, None)
        link = self.links.get_link(hash_of(token))
        if link is None:
            return self._answer(LinkState.NOT_FOUND, request, None)
        if method == "POST":
            return self._show(token, link, request)
        return self._answer(link.state(now), request, link)

    def later(self, request: PageRequest) -> PageAnswer:
        """Answer that something failed."""
        return self._answer(LinkState.LATER, request, None)

    def _show(self, token: str, link: Link, request: PageRequest) -> PageAnswer:
        page = request.form.get("page", "")
        answer = self.redeem(
            {
                "token": token,
                "code": request.form.get("code"),
                "page": int(page) if re.fullmatch("[1-9][0-9]{0,3}", page) else 1,
                "view": request.form.get("view"),
            }
        )
        return self._answer(LinkState(answer["state"]), request, link, answer)

    def _answer(
        self, state: LinkState, request: PageRequest, link: Link | None, redeemed: Mapping[str, Any] | None = None
    ) -> PageAnswer:
        facts: dict[str, Any] = {}
        redeemed = redeemed or {}
        if link is not None:
            facts = {
                "label": link.label,
                "quantity": link.quantity,
                "fulfilled_quantity": link.fulfilled_quantity,
                "needs_code": link.code_hash is not None,
                "uses": redeemed.get("uses", link.uses),
                "max_uses": link.max_uses,
                "last_used_at": link.last_used_at,
                "expires_at": link.expires_at,
                "tries_left": max(0, MAX_CODE_TRIES - redeemed.get("codeTries", link.code_tries)),
            }
        cards = [ShownCard(card["index"], card["value"], card["serial"]) for card in redeemed.get("cards", [])]
        content = PageContent(
            state=state,
            shop_name=self.shop_name,
            shop_contact=self.shop_contact,
            language=choose_language(request.language, None if link is None else link.language, self.language),
            cards=cards,
            page_number=redeemed.get("page", 1),
            page_size=CARDS_PER_PAGE,
            view=redeemed.get("view"),
            **facts,
        )
        body = "" if request.route.startswith("HEAD ") else render_page(content)
        return PageAnswer(STATUS[state], headers_of(state), body, state, None if link is None else link.link_id)

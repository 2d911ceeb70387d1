"""The page behind a link: the state of the link, or its cards, as one HTML file with the headers that protect it."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from markupsafe import Markup

from giftcards.presentation.engine import source, template
from giftcards.presentation.texts import Catalogue, catalogue, filled
from giftcards.rules.languages import LANGUAGES

STATUS = {
    "READY": 200,
    "SHOWN": 200,
    "WRONG_CODE": 403,
    "CODE_LOCKED": 403,
    "NOT_FOUND": 404,
    "EXPIRED": 410,
    "USED_UP": 410,
    "REPLACED": 410,
    "CARDS_EXPIRED": 410,
    "LATER": 503,
}
"""The HTTP status of each state."""

RETRY_AFTER_SECONDS = 120

ROBOTS_TXT = "User-agent: *\nDisallow: /\n"

_STYLE = source("page.css")
_SCRIPT = source("page.js")
_PAGE = template("page.html")


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash_source(_STYLE)}; script-src {_hash_source(_SCRIPT)}; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive, nosnippet",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Strict-Transport-Security": "max-age=63072000",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "clipboard-write=(self), camera=(), geolocation=(), microphone=(), browsing-topics=()",
}
"""The headers of every page. ``headers_of`` adds those of a state."""


@dataclass(frozen=True)
class ShownCard:
    """One card in clear. ``index`` counts from 1 over all cards of the order."""

    index: int
    value: str = field(repr=False)
    serial: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PageContent:
    """What a page says. Of what is None or empty, the page says nothing.

    Attributes
    ----------
    state
        A key of ``STATUS``.
    shop_contact
        A mail address, a phone number, an https address (these become links), or any other text.
    language
        One of ``LANGUAGES``.
    label
        What was bought, in the shop's words.
    quantity, fulfilled_quantity
        Cards ordered and cards supplied.
    needs_code
        Whether the shop gave the buyer an access code.
    tries_left
        Attempts at the access code that are left, after a wrong one.
    uses, max_uses
        How often the cards were shown, this time included, and how often they may be.
    last_used_at
        When they were last shown before.
    expires_at
        End of the link.
    cards
        The cards of this page of the view, in the order of the cards.
    page_number, page_size
        Which page of the cards this is, from 1, and how many cards a full one holds.
    view
        Ticket with which the other pages and languages of this view are shown without another use.
    """

    state: str
    shop_name: str
    shop_contact: str
    language: str
    label: str | None = None
    quantity: int | None = None
    fulfilled_quantity: int | None = None
    needs_code: bool = False
    tries_left: int | None = None
    uses: int | None = None
    max_uses: int | None = None
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    cards: Sequence[ShownCard] = field(default=(), repr=False)
    page_number: int = 1
    page_size: int = 200
    view: str | None = field(default=None, repr=False)


def headers_of(state: str) -> dict[str, str]:
    """Return all headers of a state's page; LATER says when to try again."""
    return HEADERS | ({"Retry-After": str(RETRY_AFTER_SECONDS)} if state == "LATER" else {})


def render_page(content: PageContent) -> str:
    """Return the page as HTML.

    Raises
    ------
    KeyError
        The state is no key of ``STATUS``, or the language none of ``LANGUAGES``.
    """
    texts = catalogue(content.language)
    return _PAGE.render(
        style=Markup(_STYLE),  # noqa: S704, our own file
        script=Markup(_SCRIPT),  # noqa: S704, our own file
        content=content,
        kind=_kind(content.state),
        texts=texts,
        title=_title(content.state, texts),
        count=_count(content, texts),
        partial=_partial(content, texts),
        seen=_seen(content, texts),
        wrong_code=_wrong_code(content, texts),
        left=_left(content, texts),
        contact=_contact(content.shop_contact, texts),
        card_titles=[filled(texts.page["card"], i=card.index) for card in content.cards],
        other_pages=_other_pages(content, texts),
        other_languages=[catalogue(language) for language in LANGUAGES if language != content.language],
    )


def _kind(state: str) -> str:
    """Return which of the three pages a state has: the button, the cards, or why there are none."""
    return {"READY": "ready", "WRONG_CODE": "ready", "SHOWN": "shown"}.get(state, "refused")


def _title(state: str, texts: Catalogue) -> str:
    kind = _kind(state)
    return texts.states[state]["title"] if kind == "refused" else texts.page[kind]


def _supplied(content: PageContent) -> int | None:
    return content.quantity if content.fulfilled_quantity is None else content.fulfilled_quantity


def _is_partial(content: PageContent) -> bool:
    supplied = _supplied(content)
    return content.quantity is not None and supplied is not None and supplied < content.quantity


def _count(content: PageContent, texts: Catalogue) -> Markup | None:
    supplied = _supplied(content)
    return None if supplied is None or _is_partial(content) else filled(texts.page["count"], n=supplied)


def _partial(content: PageContent, texts: Catalogue) -> Markup | None:
    if not _is_partial(content):
        return None
    return filled(texts.page["partial"], n=_supplied(content), of=content.quantity)


def _seen(content: PageContent, texts: Catalogue) -> Markup | None:
    if not content.uses or content.last_used_at is None:
        return None
    return filled(texts.page["seen"], times=content.uses, date=texts.date(content.last_used_at))


def _wrong_code(content: PageContent, texts: Catalogue) -> Markup | None:
    if content.state != "WRONG_CODE":
        return None
    return filled(texts.page["wrong_code"], left=content.tries_left or 0)


def _left(content: PageContent, texts: Catalogue) -> Markup | None:
    if content.expires_at is None or content.max_uses is None:
        return None
    left = max(0, content.max_uses - (content.uses or 0))
    return filled(texts.page["left"], date=texts.date(content.expires_at), left=left)


def _contact(contact: str, texts: Catalogue) -> Markup | None:
    if not contact:
        return None
    address = _address_of(contact)
    shown = Markup('<a href="{}"><bdi>{}</bdi></a>').format(address, contact) if address else contact
    return filled(texts.page["contact"], contact=shown)


def _address_of(contact: str) -> str | None:
    if re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", contact, re.ASCII):
        return f"mailto:{contact}"
    if re.fullmatch(r"\+?[0-9][0-9 ().-]{5,20}", contact):
        return "tel:" + re.sub(r"[^+0-9]", "", contact)
    return contact if re.fullmatch(r"https://[!-~]+", contact) else None


def _other_pages(content: PageContent, texts: Catalogue) -> list[tuple[int, Markup]]:
    """Return number and label of each page of the cards but this one."""
    supplied, size = _supplied(content) or 0, content.page_size
    return [
        (number, filled(texts.page["card"], i=_span((number - 1) * size + 1, min(number * size, supplied))))
        for number in range(1, -(-supplied // size) + 1)
        if number != content.page_number
    ]


def _span(first: int, last: int) -> Markup:
    text = str(first) if first == last else f"{first}–{last}"
    return Markup('<bdi dir="ltr">{}</bdi>').format(text)

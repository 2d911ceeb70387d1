"""Sample content of the buyer's page and mail, for tests and pictures. It needs nothing but the presentation."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from giftcards.presentation.mail import MailContent
from giftcards.presentation.page import PageContent, ShownCard

END = datetime(2026, 12, 26, 18, tzinfo=UTC)
LAST_USE = datetime(2026, 11, 24, 9, tzinfo=UTC)
CODES = ("XKCD-93QF-PLM0-7TZA", "B7GH-2MNV-QQ81-O0LI")
SERIALS = ("00418236410937", "00418236410938")
URL = "https://cards.eldjazair.example/c/abcdefghijklmnopqrstuvwxyz234567"
ORDER: dict[str, Any] = {
    "label": "2 × PlayStation Store 20 $",
    "quantity": 2,
    "uses": 0,
    "max_uses": 10,
    "expires_at": END,
}
SHAPES: dict[str, dict[str, Any]] = {
    "READY": {},
    "WRONG_CODE": {"needs_code": True, "tries_left": 4, "uses": 2, "last_used_at": LAST_USE, "fulfilled_quantity": 1},
    "SHOWN": {"uses": 1, "view": "ticket", "cards": tuple(map(ShownCard, (1, 2), CODES, SERIALS))},
}


def page_content(state: str, language: str = "en", **changes: Any) -> PageContent:
    """Return what the page says in a state, of an order of two cards. A refused link has no order."""
    content = PageContent(state, "Boutique El Djazair", "aide@eldjazair.example", language)
    if state in SHAPES:
        content = replace(content, **(ORDER | SHAPES[state]))
    return replace(content, **changes)


def shown_cards(first: int, last: int) -> tuple[ShownCard, ...]:
    """Return cards with numbers as codes, as long as real ones."""
    return tuple(ShownCard(i, f"CODE-{i:04}-ABCD-EFGH", f"{i:014}") for i in range(first, last + 1))


def mail_content(language: str = "en", **changes: Any) -> MailContent:
    """Return what a mail says about two cards."""
    content = MailContent(
        to="alice@buyer.example",
        mail_from="cards@eldjazair.example",
        shop_name="Boutique El Djazair",
        shop_contact="aide@eldjazair.example",
        language=language,
        url=URL,
        quantity=2,
        until=END,
        link_id="0123456789abcdef",
    )
    return replace(content, **changes)

"""A buyer's link: its token, its access code, and what state it is in.

Plain dataclasses and the standard library only: the public page imports this module on its cold start.
"""

import base64
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_LINKS = 20
"""Open links of an order, not counting the mailed one. Only a program that creates them in a loop needs more."""
MAX_CODE_TRIES = 5
"""Wrong access codes that a link takes in all; a right one starts the count again."""
CARDS_PER_PAGE = 200
VIEW_SECONDS = 3600
"""How long the other pages of a large order can be shown without another use of the link."""
ROW_RETENTION = timedelta(days=90)
"""How long a link's row outlives the link, so that "expired" and "never existed" differ."""
MAIL_CHANNEL = "mail"
"""The channel of the link that ``SendLink`` sends."""

_TOKEN_BYTES = 20
_TOKEN = re.compile(r"[a-z2-7]{32}(?![a-z0-9])")
_DIGITS = re.compile(r"[0-9]{4,12}")
_BIDIRECTIONAL_CONTROLS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029}


class LinkState(StrEnum):
    """What a buyer's link answers."""

    READY = "READY"
    SHOWN = "SHOWN"
    WRONG_CODE = "WRONG_CODE"
    CODE_LOCKED = "CODE_LOCKED"
    NOT_FOUND = "NOT_FOUND"
    EXPIRED = "EXPIRED"
    USED_UP = "USED_UP"
    REPLACED = "REPLACED"
    CARDS_EXPIRED = "CARDS_EXPIRED"
    LATER = "LATER"
    """Anything else that fails; the use is returned."""


@dataclass(frozen=True)
class Link:
    """The row of one link. It never holds the token, only its hash.

    Attributes
    ----------
    hash
        SHA-256 of the token, 64 hex digits.
    generation
        Raised by each replacement and revocation of the order's links; links of an older one are replaced.
    mac_tail
        The part of the token's MAC that is not in the token, in hex. With the token, it proves that the row names the
        order, user, channel and generation that the link was issued for.
    label
        What the shop calls the order; None shows none.
    quantity, fulfilled_quantity
        Cards ordered and delivered.
    expires_at
        End of the link, never later than the end of the cards.
    cards_expire_at
        When the cards are deleted; None keeps them.
    code_hash
        HMAC-SHA-256 of the access code with the token as key, in hex; None where the link needs no code.
    code_tries
        Access codes compared since the last right one.
    view_hash, view_until
        SHA-256 of the ticket that shows the other pages of the last view, and until when it does.
    viewed_at
        When the shop was notified of the first view.
    mail_bounce
        What SES reported about a mail with this link; None: nothing.
    """

    hash: str
    order_id: str
    user_id: str
    channel: str
    generation: int
    mac_tail: str
    language: str
    label: str | None
    quantity: int
    fulfilled_quantity: int
    created_at: datetime
    expires_at: datetime
    cards_expire_at: datetime | None
    max_uses: int
    uses: int = 0
    last_used_at: datetime | None = None
    code_hash: str | None = None
    code_tries: int = 0
    replaced_at: datetime | None = None
    view_hash: str | None = None
    view_until: datetime | None = None
    viewed_at: datetime | None = None
    mail_bounce: str | None = None

    @property
    def link_id(self) -> str:
        """Name the link in logs, events, audit records and lists."""
        return self.hash[:16]

    @property
    def row_expires_at(self) -> datetime:
        """When DynamoDB may delete the row."""
        return self.expires_at + ROW_RETENTION

    @property
    def pages(self) -> int:
        """How many pages its cards fill."""
        return max(1, -(-self.fulfilled_quantity // CARDS_PER_PAGE))

    def state(self, now: datetime) -> LinkState:
        """Tell whether the link shows cards, or why not."""
        if self.replaced_at is not None:
            return LinkState.REPLACED
        if self.cards_expire_at is not None and self.cards_expire_at <= now:
            return LinkState.CARDS_EXPIRED
        if self.expires_at <= now:
            return LinkState.EXPIRED
        if self.uses >= self.max_uses:
            return LinkState.USED_UP
        if self.code_hash is not None and self.code_tries >= MAX_CODE_TRIES:
            return LinkState.CODE_LOCKED
        return LinkState.READY

    def shows_page_again(self, ticket: str | None, now: datetime) -> bool:
        """Tell whether a ticket shows another page of the last view, so that it costs no further use."""
        if ticket is None or self.view_hash is None or self.view_until is None or self.view_until <= now:
            return False
        return self.replaced_at is None and hmac.compare_digest(hash_of(ticket), self.view_hash)

    def accepts(self, token: str, code: str) -> bool:
        """Compare an access code (digits as ``digits_of`` gives them) in constant time."""
        return self.code_hash is not None and hmac.compare_digest(code_hash(token, code), self.code_hash)


@dataclass(frozen=True)
class LinkOptions:
    """What a new link is like.

    Attributes
    ----------
    code
        Access code, 4 to 12 ASCII digits; None needs none.
    uses
        How often it shows the cards, 1 to 100.
    days
        How long it works, 1 to 365.
    """

    channel: str
    language: str
    label: str | None
    uses: int
    days: int
    code: str | None = None


@dataclass(frozen=True)
class Delivery:
    """What a link needs to know of a delivered order.

    Attributes
    ----------
    cards_expire_at
        When the cards are deleted; None keeps them.
    """

    order_id: str
    user_id: str
    quantity: int
    fulfilled_quantity: int
    cards_expire_at: datetime | None


def new_link(mac: bytes, generation: int, delivery: Delivery, options: LinkOptions, now: datetime) -> Link:
    """Make the link of a MAC. It ends with the cards if they end earlier."""
    token = token_of(mac)
    now = now.replace(microsecond=0)
    expires_at = now + timedelta(days=options.days)
    if delivery.cards_expire_at is not None:
        expires_at = min(expires_at, delivery.cards_expire_at)
    return Link(
        hash=hash_of(token),
        order_id=delivery.order_id,
        user_id=delivery.user_id,
        channel=options.channel,
        generation=generation,
        mac_tail=mac[_TOKEN_BYTES:].hex(),
        language=options.language,
        label=options.label,
        quantity=delivery.quantity,
        fulfilled_quantity=delivery.fulfilled_quantity,
        created_at=now,
        expires_at=expires_at,
        cards_expire_at=delivery.cards_expire_at,
        max_uses=options.uses,
        code_hash=None if options.code is None else code_hash(token, options.code),
    )


def differing_options(link: Link, token: str, asked: Mapping[str, object]) -> Sequence[str]:
    """Name the options that were asked for and that an existing link does not have; those not asked for are None."""
    days = (link.expires_at - link.created_at).days
    is_cut = link.expires_at == link.cards_expire_at
    code = asked.get("code")
    differs = {
        "language": asked.get("language") not in {None, link.language},
        "label": asked.get("label") not in {None, link.label},
        "uses": asked.get("uses") not in {None, link.max_uses},
        "days": not is_cut and asked.get("days") not in {None, days},
        "code": code is not None and not link.accepts(token, str(code)),
    }
    return [name for name, is_different in differs.items() if is_different]


def token_message(order_id: str, user_id: str, channel: str, generation: int) -> bytes:
    """Write what a token is the MAC of. No part can hold a blank, so that no two links share a message."""
    return f"giftcards-link-1 {order_id} {user_id} {channel} {generation}".encode()


def token_of(mac: bytes) -> str:
    """Make the token: the first 160 bits in letters and digits that survive mail programs and changes of case."""
    return base64.b32encode(mac[:_TOKEN_BYTES]).decode().lower()


def mac_of(token: str, mac_tail: str) -> bytes:
    """Put the MAC of a link together again."""
    return base64.b32decode(token.upper()) + bytes.fromhex(mac_tail)


def token_in(path: str) -> str | None:
    """Read the token that a path begins with; whatever a mail program has appended to the link is ignored."""
    found = _TOKEN.match(path.lower())
    return found and found.group()


def hash_of(token: str) -> str:
    """Hash a token: what is stored of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def digits_of(code: str) -> str | None:
    """Read an access code of 4 to 12 digits, Arabic-Indic ones too; None where it cannot be one."""
    if len(code) > 64:
        return None
    digits = "".join(
        str(unicodedata.digit(character)) if unicodedata.category(character) == "Nd" else character
        for character in code
        if not character.isspace() and unicodedata.category(character) not in {"Pd", "Cf"}
    )
    return digits if _DIGITS.fullmatch(digits) else None


def code_hash(token: str, code: str) -> str:
    """Bind an access code to its link: only who holds the link can try codes against what is stored."""
    return hmac.new(token.encode(), code.encode(), hashlib.sha256).hexdigest()


def is_label(text: str) -> bool:
    """Tell whether a text can stand in a page and a mail: 1 to 120 characters that change nothing around them."""
    return 0 < len(text) <= 120 and not any(
        unicodedata.category(character) in {"Cc", "Cs"} or ord(character) in _BIDIRECTIONAL_CONTROLS
        for character in text
    )

"""The mail that brings a buyer's link: when it is due, and what happened to it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAIL_LEASE_SECONDS = 120
"""How long a claim keeps other senders away. One attempt takes at most a minute, the function's timeout."""
REFUSED_AFTER = timedelta(days=1)
"""How long SES may refuse a mail before the shop is notified. Verifying a domain can take hours."""


class MailFailure(StrEnum):
    """Why no mail is sent any more."""

    INVALID_RECIPIENT = "INVALID_RECIPIENT"
    REFUSED = "REFUSED"
    SUPPRESSED = "SUPPRESSED"
    EXPIRED = "EXPIRED"


class BounceKind(StrEnum):
    """What the recipient's side said after SES had accepted the mail."""

    PERMANENT = "PERMANENT"
    TRANSIENT = "TRANSIENT"
    COMPLAINT = "COMPLAINT"


@dataclass(frozen=True)
class MailPolicy:
    """What the mail and its link are like.

    Attributes
    ----------
    page_url
        What links begin with, without a slash at the end.
    link_days, link_uses
        How long, and how often, a link works.
    recipient_retention
        How long an address may be kept, and so how long sending is retried.
    card_retention
        After which cards are deleted; None keeps them.
    """

    page_url: str
    shop_name: str
    shop_contact: str
    language: str
    link_days: int
    link_uses: int
    recipient_retention: timedelta
    card_retention: timedelta | None


@dataclass(frozen=True)
class Mail:
    """The mail of one order and user, as its row holds it.

    Attributes
    ----------
    is_revoked
        Whether the order's links were revoked or replaced since the mail was due.
    recipient
        The sealed address; None once it is no longer needed.
    recipient_at
        When the shop named the recipient.
    language, label
        What the shop chose; None leaves it to the defaults.
    delivery_id, quantity, fulfilled_quantity, cards_expire_at
        The delivery; None before it.
    attempts
        How often sending was begun.
    refused_at
        When SES first refused it.
    sent_at, link_id, link_expires_at
        Set once SES has accepted the mail.
    failure
        Set once no mail is sent any more.
    """

    order_id: str
    user_id: str
    is_revoked: bool = False
    recipient: bytes | None = None
    recipient_at: datetime | None = None
    language: str | None = None
    label: str | None = None
    delivery_id: str | None = None
    quantity: int | None = None
    fulfilled_quantity: int | None = None
    cards_expire_at: datetime | None = None
    attempts: int = 0
    due_at: datetime | None = None
    refused_at: datetime | None = None
    sent_at: datetime | None = None
    link_id: str | None = None
    link_expires_at: datetime | None = None
    failure: MailFailure | None = None

    def has_expired(self, now: datetime, recipient_retention: timedelta) -> bool:
        """Tell whether the address has been kept for as long as it may be."""
        return self.recipient_at is not None and self.recipient_at + recipient_retention <= now

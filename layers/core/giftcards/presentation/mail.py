"""The mail that brings a link to the buyer. It holds no card."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from giftcards.presentation.engine import template
from giftcards.presentation.texts import catalogue, filled

_MAIL = template("mail.html")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
"""A mail address as HTML's ``input type=email`` takes it, with a dot in the domain
(https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address).
"""
MAX_ADDRESS_LENGTH = 254
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
_OVERRIDES = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class MailContent:
    """What a mail says.

    Attributes
    ----------
    to, mail_from
        Bare mail addresses, without a display name.
    shop_contact
        Where it is a mail address, answers go there.
    language
        One of ``LANGUAGES``.
    quantity
        Cards that the link shows.
    until
        End of the link.
    """

    to: str = field(repr=False)
    mail_from: str
    shop_name: str
    shop_contact: str
    language: str
    url: str = field(repr=False)
    quantity: int
    until: datetime
    link_id: str


def is_mail_address(text: str) -> bool:
    """Say whether a text is one bare ASCII mail address."""
    return len(text) <= MAX_ADDRESS_LENGTH and _ADDRESS.fullmatch(text) is not None


def render_mail(content: MailContent) -> bytes:
    """Return the mail as MIME. The same content gives the same bytes: SES adds Date and Message-ID.

    Raises
    ------
    ValueError
        ``to`` or ``mail_from`` is no mail address, or the URL has a character that no URL has.
    KeyError
        The language is none of ``LANGUAGES``.
    """
    if not is_mail_address(content.to) or not is_mail_address(content.mail_from):
        raise ValueError("to and mail_from must each be one bare ASCII mail address")
    if not re.fullmatch(r"https?://[!-~]+", content.url):
        raise ValueError("the URL of a link must be absolute and ASCII, without spaces")
    texts = catalogue(content.language)
    shop, contact = one_line(content.shop_name), one_line(content.shop_contact)
    until = texts.date(content.until)
    lines = {
        "greeting": texts.mail["greeting"],
        "order": texts.mail["order"].format(n=content.quantity),
        "open": texts.mail["open"],
        "until": texts.mail["until"].format(until=until),
        "never": texts.mail["never"],
    }
    message = EmailMessage(policy=SMTP)
    # The email package decodes an encoded word in a display name, line breaks and all, and writes it out decoded.
    message["From"] = Address(display_name=shop.replace("=?", "= ?"), addr_spec=content.mail_from)
    message["To"] = Address(addr_spec=content.to)
    message["Subject"] = texts.mail["subject"]
    if is_mail_address(contact):
        message["Reply-To"] = Address(addr_spec=contact)
    message["Auto-Submitted"] = "auto-generated"
    question = texts.page["contact"].format(contact=contact) if contact else ""
    end = "\n".join(line for line in (question, shop) if line)
    text = "\n\n".join(
        [lines["greeting"], lines["order"], lines["open"], content.url, lines["until"], lines["never"], end]
    )
    message.set_content(text + "\n", cte="base64")
    html = _MAIL.render(
        texts=texts,
        lines=lines | {"order": filled(texts.mail["order"], n=content.quantity)},
        url=content.url,
        contact=filled(texts.page["contact"], contact=contact) if contact else None,
        shop=shop,
    )
    message.add_alternative(html, subtype="html", cte="base64")
    message["Content-Language"] = content.language  # set_content drops what began with Content- before
    message.set_boundary(hashlib.sha256(content.link_id.encode()).hexdigest()[:32])
    return message.as_bytes()


def one_line(text: str) -> str:
    """Return a text as one line, without control characters and marks that reverse the reading order."""
    kept = (
        character if unicodedata.category(character) not in _UNSAFE else " "
        for character in text
        if character not in _OVERRIDES
    )
    return " ".join("".join(kept).split())

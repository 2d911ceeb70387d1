"""The buyer's side: what names a recipient, what asks for a link, and what a link answers."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    SecretStr,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
)

from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.workflow import Level
from giftcards.rules.languages import Language
from giftcards.rules.links import digits_of, is_label

_LOCAL_PART = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_DOMAIN_PART = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_LOCAL_PART}@{_DOMAIN_PART}(\.{_DOMAIN_PART})+")


def _address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    local_part = text.partition("@")[0]
    if len(text) > 254 or len(local_part) > 64 or not _ADDRESS.fullmatch(text):
        raise ValueError("must be one address of at most 254 ASCII characters, without a display name")
    return value


def _label(value: str) -> str:
    if not is_label(value):
        raise ValueError("must be 1 to 120 characters without control or bidirectional-override characters")
    return value


def _code(value: SecretStr) -> SecretStr:
    digits = digits_of(value.get_secret_value())
    if digits is None:
        raise ValueError("must be 4 to 12 digits")
    return SecretStr(digits)


Address = Annotated[
    SecretStr, AfterValidator(_address), WithJsonSchema({"type": "string", "format": "email", "maxLength": 254})
]
"""A mail address of at most 254 ASCII characters, without a display name. Never logged or stored in clear."""
Label = Annotated[str, AfterValidator(_label), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 120})]
AccessCode = Annotated[SecretStr, AfterValidator(_code)]
Channel = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class RecipientSet(Contract):
    """In: the address that the link to an order's cards is mailed to. The first one for an order and user counts.

    It may arrive before or after the delivery. After LinkMailFailed, or LinkMailBounced with PERMANENT, another one may
    follow.
    """

    detail_type: ClassVar[str] = "RecipientSet"

    order_id: Identifier = Field(description="The supplier's order id")
    user_id: Identifier = Field(description="The user the cards belong to")
    email: Address = Field(description="One ASCII address without a display name. It is stored encrypted")
    language: Language | None = Field(
        default=None, description="Language of the mail and the page. Ignored if it is not one of these"
    )
    label: Label | None = Field(
        default=None,
        description="What the page calls the order. Ignored if it has control or direction-override characters",
    )

    @field_validator("language", "label", mode="wrap")
    @classmethod
    def _ignore_if_invalid(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Leave out what only decorates: a buyer must not go without a mail for it."""
        try:
            return validate(value)
        except ValueError:
            return None


class LinkRequest(Contract):
    """What CreateLink is called with."""

    order_id: Identifier
    user_id: Identifier
    channel: Channel = "shop"
    language: Language | None = None
    label: Label | None = None
    code: AccessCode | None = None
    uses: Annotated[int, Field(ge=1, le=100)] | None = None
    days: Annotated[int, Field(ge=1, le=365)] | None = None
    replace: bool = False
    mail: Address | None = None


class LinkCreated(Contract):
    """A link: apart from a mail, the only answer that ever holds its url."""

    order_id: str
    user_id: str
    url: str
    link_id: str
    channel: str
    expires_at: AwareDatetime
    uses: int = Field(description="How often the link shows the cards, in all")


class LinkOutcome(StrEnum):
    """What a request for a link results in."""

    CREATED = "CREATED"
    EXISTS = "EXISTS"
    INVALID_REQUEST = "INVALID_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    """No such order, or another user's: the same answer, so that nobody can probe for orders."""
    NOT_DELIVERED = "NOT_DELIVERED"
    CARDS_EXPIRED = "CARDS_EXPIRED"
    ENDED = "ENDED"
    OTHER_OPTIONS = "OTHER_OPTIONS"
    TOO_MANY_LINKS = "TOO_MANY_LINKS"
    MAIL_DISABLED = "MAIL_DISABLED"
    MAIL_NOT_SENT = "MAIL_NOT_SENT"
    BUSY = "BUSY"

    @property
    def level(self) -> Level:
        """How loud its line in the log is."""
        return "INFO" if self in {LinkOutcome.CREATED, LinkOutcome.EXISTS} else "WARNING"


class RedeemRequest(Contract):
    """What ServePage passes on from a buyer. ``page`` counts from 1."""

    token: SecretStr
    code: SecretStr | None = None
    page: Annotated[int, Field(ge=1)] = 1
    view: SecretStr | None = None


class SesEventMail(Contract):
    """Of SES's report on a mail, its tags."""

    tags: Mapping[str, Sequence[str]] = Field(default_factory=dict)


class SesBounce(Contract):
    """Why a mail bounced."""

    bounce_type: str = ""
    bounce_sub_type: str = ""


class SesEventDetail(Contract):
    """Of SES's report, what is read; never an address.

    https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
    """

    mail: SesEventMail = SesEventMail()
    bounce: SesBounce = SesBounce()


class SesEvent(Contract):
    """A report of SES on a mail, as EventBridge hands it over."""

    detail_type: str = Field(alias="detail-type")
    time: datetime
    detail: SesEventDetail

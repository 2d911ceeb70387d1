"""The shop's HTTP API: what its calls send and get. docs/openapi.yaml is written from these models."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationError, WithJsonSchema

from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.events import HeldReason
from giftcards.contracts.links import AccessCode, Address, Channel, Label
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.languages import LANGUAGES, Language

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _rfc_3339(value: Any) -> datetime:
    """Refuse the other forms that pydantic reads, such as a number of seconds."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("must be a time with its offset from UTC")
    return datetime.fromisoformat(value.upper())


PlacedAt = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc_3339),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _whole(value: Any) -> Any:
    """Accept 5.0 as 5, because they are the same number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Uses = Annotated[int, Field(ge=1, le=100), BeforeValidator(_whole)]
Days = Annotated[int, Field(ge=1, le=365), BeforeValidator(_whole)]
ShownLabel = Annotated[
    Label,
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 120,
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+$",
        }
    ),
]
GivenCode = Annotated[AccessCode, WithJsonSchema({"type": "string", "pattern": "^[0-9]{4,12}$", "writeOnly": True})]
"""Other digits, spaces and hyphens are accepted too: a shop may pass on what a person typed."""


class OrderRecipient(Contract):
    """Where the service mails the link. It is stored encrypted, and ignored by a stack that sends no mail."""

    email: Address = Field(description="One ASCII address without a display name")
    language: Language | None = Field(default=None, description="Language of the mail and the page")
    label: ShownLabel | None = Field(default=None, description="What the page calls the order")


class OrderBody(Contract):
    """An order that the shop has placed and paid at the supplier."""

    order_id: Identifier = Field(description="The supplier's order id")
    user_id: Identifier = Field(description="The user who owns the cards")
    placed_at: PlacedAt | None = Field(default=None, description="When the order was placed, RFC 3339")
    recipient: OrderRecipient | None = None


class OrderTaken(Contract):
    """The order is on the order bus."""

    order_id: Identifier


class OrderView(Contract):
    """An order, without its cards."""

    order_id: Identifier
    user_id: Identifier
    status: OrderStatus
    quantity: int | None = Field(default=None, description="Cards ordered; from the delivery or refund on")
    fulfilled_quantity: int | None = Field(default=None, description="Cards delivered")
    refunded_quantity: int | None = Field(default=None, description="Cards that the supplier refunded")
    delivery_id: str | None = Field(default=None, description="The same in every event about the delivery")
    delivered_at: AwareDatetime | None = None
    refunded_at: AwareDatetime | None = None
    held_reason: HeldReason | None = Field(default=None, description="Why an order with status HELD needs a person")


class LinkMail(Contract):
    """Where to mail the link. The address is not stored."""

    email: Address


class LinkBody(Contract):
    """What the link should be like. The same body gives the same link."""

    user_id: Identifier = Field(description="The user who owns the cards")
    channel: Channel | None = Field(default=None, description="Each channel of an order has one link; `shop` if absent")
    language: Language | None = Field(default=None, description="Language of the page")
    label: ShownLabel | None = Field(default=None, description="What the page calls the order")
    code: GivenCode | None = Field(default=None, description="Access code, given to the buyer by another way")
    uses: Uses | None = Field(default=None, description="How often it shows the cards")
    days: Days | None = Field(default=None, description="Days until it expires")
    replace: bool = Field(default=False, description="Close all links of the order, and create a new one")
    mail: LinkMail | None = None

    def as_request(self, order_id: str) -> dict[str, Any]:
        """Return the request of CreateLink, a JSON document that holds the address and the code in clear."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"code", "mail"})
        secrets = {"code": self.code, "mail": None if self.mail is None else self.mail.email}
        clear = {name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None}
        return {"orderId": order_id, **document, **clear}


class FieldError(Contract):
    """One invalid field of a request."""

    field: str = Field(description="Its name, such as `recipient.email`; `body` for the whole body")
    message: str


ProblemReason = Literal["NOT_DELIVERED", "ENDED", "OTHER_OPTIONS", "TOO_MANY_LINKS", "MAIL_NOT_SENT"]
PROBLEM_REASONS: tuple[str, ...] = get_args(ProblemReason)


class Problem(Contract):
    """An error in the form of RFC 9457 (https://www.rfc-editor.org/rfc/rfc9457). It never quotes a value."""

    type: Literal["about:blank"] = Field(default="about:blank", description="The status says all")
    title: str
    status: int
    detail: str = Field(description="What happened, and what to do")
    reason: ProblemReason | None = Field(default=None, description="Of 409 only: why there is no link")
    errors: tuple[FieldError, ...] | None = Field(default=None, description="Of 400 only: the invalid fields")


LIMITS: Mapping[str, str] = {
    "body": "a JSON object",
    "orderId": "1 to 128 visible ASCII characters",
    "userId": "1 to 128 visible ASCII characters",
    "placedAt": "a time with its offset from UTC, such as 2026-11-26T12:00:00Z",
    "recipient": "an object with email, and language and label if you like",
    "email": "one address of at most 254 ASCII characters, without a display name",
    "language": f"one of {', '.join(LANGUAGES)}",
    "label": "1 to 120 characters, without control or direction-override characters",
    "channel": "1 to 32 lower-case letters, digits or hyphens",
    "code": "4 to 12 digits",
    "uses": "a whole number from 1 to 100",
    "days": "a whole number from 1 to 365",
    "replace": "true or false",
    "mail": "an object with email",
}
"""What each field must be, by the last part of its name."""


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Return one error for each invalid field, sorted by name. pydantic's own messages are not used: they may quote."""
    found = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        names = [str(part) for part in problem["loc"]] or ["body"]
        limit = f"must be {LIMITS[names[-1]]}"
        found[".".join(names)] = f"is missing; it {limit}" if problem["type"] == "missing" else limit
    return tuple(FieldError(field=name, message=message) for name, message in sorted(found.items()))

"""CountEvents: measure the events that the workflow itself publishes."""

from collections.abc import Sequence

from pydantic import Field

from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.events import (
    CardsViewed,
    HeldReason,
    LinkMailBounced,
    LinkMailFailed,
    LinkMailSent,
    OrderDelayed,
    OrderDisputed,
    OrderHeld,
    OrderRepeated,
    OutgoingEvent,
)
from giftcards.contracts.workflow import Level
from giftcards.metrics import Meter, Metric
from giftcards.rules.mails import MailFailure

_COUNTED: dict[type[OutgoingEvent], Metric] = {
    OrderHeld: Metric.ORDER_HELD,
    OrderDelayed: Metric.ORDER_DELAYED,
    OrderDisputed: Metric.ORDER_DISPUTED,
    OrderRepeated: Metric.ORDER_REPEATED,
    LinkMailSent: Metric.MAIL_SENT,
    LinkMailFailed: Metric.MAIL_FAILED,
    LinkMailBounced: Metric.MAIL_BOUNCED,
    CardsViewed: Metric.CARDS_VIEWED,
}
_BY_TYPE = {event.detail_type: metric for event, metric in _COUNTED.items()}
_LEVELS: dict[str, Level] = {
    OrderRepeated.detail_type: "INFO",
    OrderDelayed.detail_type: "WARNING",
    LinkMailSent.detail_type: "INFO",
    LinkMailFailed.detail_type: "WARNING",
    LinkMailBounced.detail_type: "WARNING",
    CardsViewed.detail_type: "INFO",
}
"""Log levels of events that need no operator; ERROR for the others."""
COUNTED = tuple(_BY_TYPE)
"""The detail-types that are counted."""


class _Detail(Contract):
    order_id: Identifier | None = None
    reason: HeldReason | MailFailure | None = None


class CountedEvent(Contract):
    """An event with the part of its detail that is measured and logged."""

    detail_type: str = Field(alias="detail-type", pattern=f"^({'|'.join(COUNTED)})$")
    resources: Sequence[str] = ()
    detail: _Detail

    @property
    def level(self) -> Level:
        """Level of its log line."""
        return _LEVELS.get(self.detail_type, "ERROR")

    @property
    def execution(self) -> str | None:
        """Name of the execution that published it; None if the event does not name one."""
        return next((arn.rpartition(":")[2] for arn in self.resources if ":execution:" in arn), None)


def count(event: CountedEvent, measure: Meter) -> None:
    """Measure one event. An event that is delivered twice counts twice.

    A mail that expired is not a failure of mail: its order was refunded, or its links were revoked. If it was due for
    long, ``MailsDueAlarm`` has fired.
    """
    if event.detail.reason is MailFailure.EXPIRED:
        return
    measure(_BY_TYPE[event.detail_type], 1)
    if isinstance(event.detail.reason, HeldReason):
        measure(Metric.of_hold(event.detail.reason), 1)

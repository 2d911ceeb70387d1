"""The order bus."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from giftcards.contracts.events import SOURCE, OrderPlaced, OutgoingEvent
from giftcards.contracts.links import RecipientSet

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef


_TRANSIENT = {"InternalException", "InternalFailure", "ThrottlingException"}
"""Error codes of entries that can be retried
(https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html)."""


class EventNotPublishedError(Exception):
    """EventBridge accepted the call but not the event.

    Attributes
    ----------
    is_transient
        Whether EventBridge failed or throttled; if not, the event or a permission is wrong.
    """

    def __init__(self, detail_type: str, codes: Sequence[str]) -> None:
        super().__init__(f"EventBridge did not accept {detail_type}: {', '.join(codes)}")
        self.is_transient = set(codes) <= _TRANSIENT


class EventBus:
    """Publishes events. ``PutEvents`` returns 200 even if it rejects entries, so ``FailedEntryCount`` is checked."""

    def __init__(self, bus_name: str, events: "EventBridgeClient") -> None:
        self._bus_name = bus_name
        self._events = events

    def publish(self, event: OutgoingEvent | OrderPlaced, *, source: str = SOURCE) -> None:
        """Publish one event.

        Raises
        ------
        EventNotPublishedError
            If EventBridge did not accept it. The message has only its error code.
        """
        self.publish_detail(event.detail_type, event.model_dump_json(by_alias=True, exclude_none=True), source=source)

    def publish_recipient(self, recipient: RecipientSet, *, source: str) -> None:
        """Publish the address of an order's buyer, in clear. Only StoreRecipient gets the event.

        Raises
        ------
        EventNotPublishedError
            As ``publish``.
        """
        document = recipient.model_dump(mode="json", by_alias=True, exclude_none=True)
        detail = json.dumps(document | {"email": recipient.email.get_secret_value()})
        self.publish_detail(recipient.detail_type, detail, source=source)

    def publish_detail(self, detail_type: str, detail: str, *, source: str) -> None:
        """Publish an event whose detail is JSON already.

        Raises
        ------
        EventNotPublishedError
            As ``publish``.
        """
        entry: PutEventsRequestEntryTypeDef = {
            "EventBusName": self._bus_name,
            "Source": source,
            "DetailType": detail_type,
            "Detail": detail,
        }
        response = self._events.put_events(Entries=[entry])
        if response["FailedEntryCount"]:
            codes = [entry.get("ErrorCode", "?") for entry in response["Entries"]]
            raise EventNotPublishedError(detail_type, codes)

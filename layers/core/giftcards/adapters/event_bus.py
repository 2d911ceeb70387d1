"""The order bus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from giftcards.contracts.events import SOURCE, OrderPlaced, OutgoingEvent

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


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
        response = self._events.put_events(
            Entries=[
                {
                    "EventBusName": self._bus_name,
                    "Source": source,
                    "DetailType": event.detail_type,
                    "Detail": event.model_dump_json(by_alias=True, exclude_none=True),
                }
            ]
        )
        if response["FailedEntryCount"]:
            codes = [entry.get("ErrorCode", "?") for entry in response["Entries"]]
            raise EventNotPublishedError(event.detail_type, codes)

"""The order bus."""

from typing import TYPE_CHECKING

from giftcards.events import SOURCE, Announcement, OrderPlaced

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class EventNotPublishedError(Exception):
    """EventBridge took the call but not the event; publish it again."""


class EventBus:
    """Publishes events. ``PutEvents`` answers 200 for entries that it did not take, so the count is looked at."""

    def __init__(self, bus_name: str, events: "EventBridgeClient") -> None:
        self._bus_name = bus_name
        self._events = events

    def publish(self, event: Announcement | OrderPlaced, *, source: str = SOURCE) -> None:
        """Publish one event.

        Raises
        ------
        EventNotPublishedError
            If EventBridge did not take it. The message holds its error code only.
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
            codes = ", ".join(entry.get("ErrorCode", "?") for entry in response["Entries"])
            raise EventNotPublishedError(f"EventBridge did not take {event.detail_type}: {codes}")

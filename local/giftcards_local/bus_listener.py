"""Records the events that the service publishes on the local cloud's bus."""

import json
from typing import Any

import boto3

from giftcards.contracts.events import SOURCE


class BusListener:
    """A rule and a queue that keep every event the service publishes after this object is created."""

    def __init__(self, session: boto3.Session, endpoint_url: str, bus_name: str) -> None:
        self._sqs = session.client("sqs", endpoint_url=endpoint_url)
        self._queue_url = self._sqs.create_queue(QueueName="bus-listener")["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])
        events = session.client("events", endpoint_url=endpoint_url)
        events.put_rule(Name="bus-listener", EventBusName=bus_name, EventPattern=json.dumps({"source": [SOURCE]}))
        target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
        events.put_targets(Rule="bus-listener", EventBusName=bus_name, Targets=[target])  # type: ignore[list-item]
        self._events: list[dict[str, Any]] = []

    def events(self) -> list[dict[str, Any]]:
        """Return every event so far, with its envelope."""
        while True:
            messages = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10).get("Messages", [])
            for message in messages:
                self._events.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
            if not messages:
                return self._events

    def events_about(self, order_id: str) -> list[dict[str, Any]]:
        """Return every event of one order so far."""
        return [event for event in self.events() if event["detail"].get("orderId") == order_id]

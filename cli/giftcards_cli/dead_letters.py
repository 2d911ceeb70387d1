"""The dead-letter queue of OrderPlaced events that could not start the workflow."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

VISIBILITY_SECONDS = 120
"""How long SQS hides a received message from other readers: enough to republish ten of them."""
MAX_WAIT_SECONDS = 1
"""Any wait above 0 makes SQS query all its servers instead of a subset.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""
_MAX_MESSAGES = 10


@dataclass(frozen=True)
class DeadLetter:
    """A message in the queue.

    Attributes
    ----------
    message_id
        The same each time SQS delivers the message.
    receipt
        Differs with each delivery.
    body
        The event, as EventBridge wrote it.
    """

    message_id: str
    receipt: str
    body: str = field(repr=False)


class DeadLetterQueue:
    """Receives, deletes and releases messages."""

    def __init__(self, url: str, sqs: Any) -> None:
        self._url = url
        self._sqs = sqs

    def receive(self) -> Iterator[DeadLetter]:
        """Yield the waiting messages until the queue is empty.

        SQS returns only an estimate of their number, and new messages can arrive all the time. So the number of calls
        is limited to what it takes to receive the waiting messages one by one: the loop always ends.
        """
        for _ in range(self._estimated_count() + 1):
            messages = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_MAX_MESSAGES,
                VisibilityTimeout=VISIBILITY_SECONDS,
                WaitTimeSeconds=MAX_WAIT_SECONDS,
            ).get("Messages", [])
            if not messages:
                return
            for message in messages:
                yield DeadLetter(message["MessageId"], message["ReceiptHandle"], message["Body"])

    def delete(self, letter: DeadLetter) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt)

    def release(self, letter: DeadLetter) -> None:
        """Make a message visible again, to other readers and to the alarm."""
        self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=letter.receipt, VisibilityTimeout=0)

    def _estimated_count(self) -> int:
        name = "ApproximateNumberOfMessages"
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
        return int(answer["Attributes"][name])

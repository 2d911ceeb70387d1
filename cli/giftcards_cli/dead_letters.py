"""The queue of announcements that could not start the workflow."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

VISIBILITY_SECONDS = 120
"""How long SQS keeps a message from other readers: long enough for ten of them to be put back on the bus."""
MAX_WAIT_SECONDS = 1
"""How long SQS may look for messages. Any wait has it ask all its servers, not a few of them (SQS, long polling)."""
_AT_ONCE = 10


@dataclass(frozen=True)
class DeadLetter:
    """A message of the queue.

    Attributes
    ----------
    message_id
        The same whenever SQS delivers it.
    receipt
        Of this delivery.
    body
        The event that could not be delivered, as EventBridge wrote it.
    """

    message_id: str
    receipt: str
    body: str = field(repr=False)


class DeadLetterQueue:
    """Reads the queue.

    Parameters
    ----------
    url
        Of the queue.
    sqs
        A client of SQS.
    """

    def __init__(self, url: str, sqs: Any) -> None:
        self._url = url
        self._sqs = sqs

    def receive(self) -> Iterator[DeadLetter]:
        """Yield what is waiting, until there is nothing more.

        SQS only estimates how much is waiting, and somebody may send at the same time. So this asks as often as it
        takes to get what is waiting one by one, and no more: it ends whatever comes in meanwhile.
        """
        for _ in range(self._waiting() + 1):
            messages = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_AT_ONCE,
                VisibilityTimeout=VISIBILITY_SECONDS,
                WaitTimeSeconds=MAX_WAIT_SECONDS,
            ).get("Messages", [])
            if not messages:
                return
            for message in messages:
                yield DeadLetter(message["MessageId"], message["ReceiptHandle"], message["Body"])

    def delete(self, letter: DeadLetter) -> None:
        """Delete a message."""
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt)

    def give_back(self, letter: DeadLetter) -> None:
        """Let others, and the alarm, see a message again."""
        self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=letter.receipt, VisibilityTimeout=0)

    def _waiting(self) -> int:
        name = "ApproximateNumberOfMessages"
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])
        return int(answer["Attributes"][name])

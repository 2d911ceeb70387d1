"""The audit table: who asked to see cards, and who accepted them. Rows are added and never changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.orders import Acceptance, Order

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class AuditRecord:
    """One request to see cards.

    Attributes
    ----------
    requested_by, reason
        As stated by the caller.
    request_id
        Id of the function's invocation, which leads to the caller in CloudTrail.
    """

    order_id: str
    user_id: str
    requested_by: str
    request_id: str
    reason: str
    outcome: str
    at: datetime


class AuditTable:
    """Adds audit records."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb = dynamodb

    def add(self, record: AuditRecord) -> None:
        """Write a record. Call this before the answer is given."""
        self._dynamodb.put_item(
            TableName=self._table_name,
            Item={
                "pk": f"ORDER#{record.order_id}",
                "sk": f"REVEAL#{timestamp(record.at)}#{record.request_id}",
                "orderId": record.order_id,
                "userId": record.user_id,
                "requestedBy": record.requested_by,
                "requestId": record.request_id,
                "reason": record.reason,
                "outcome": record.outcome,
                "at": timestamp(record.at),
            },
            ConditionExpression="attribute_not_exists(pk)",
        )

    def add_acceptance(self, order: Order, acceptance: Acceptance, request_id: str) -> None:
        """Record that an operator accepts an order, before the order row says so; the next hold clears it there.

        These rows have a separate partition key, so that IAM can let operators add them without letting them forge or
        overwrite the record of a reveal (``dynamodb:LeadingKeys``).
        """
        ordered = {} if acceptance.ordered is None else {"ordered": acceptance.ordered}
        self._dynamodb.put_item(
            TableName=self._table_name,
            Item={
                "pk": f"ACCEPT#{order.order_id}",
                "sk": f"{timestamp(acceptance.at)}#{request_id}",
                "orderId": order.order_id,
                "userId": order.user_id,
                "requestedBy": acceptance.by,
                "requestId": request_id,
                "reason": acceptance.reason,
                "cards": acceptance.cards,
                "at": timestamp(acceptance.at),
                **ordered,
            },
            ConditionExpression="attribute_not_exists(pk)",
        )

"""``giftcards restore``: copy missing orders from a table that was restored from a backup of the card table."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from giftcards.adapters.order_table import OrderTable, card_keys, order_key
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import FIELDS_OF_CLOSED_ORDERS, Order
from giftcards_cli import output
from giftcards_cli.arguments import ORDER_ID, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME

Row = dict[str, Any]
_ORDER_SORT_KEY = order_key("")["sk"]
_DELIVERY_ATTRIBUTES = {str(Order.model_fields[name].alias) for name in FIELDS_OF_CLOSED_ORDERS}
_EXECUTION_ATTRIBUTES = {"executionArn", "sweptAt"}


def restore(
    copy: Annotated[str, typer.Option("--from", metavar="TABLE", help="The table restored from the backup.")],
    order_id: Annotated[str | None, ORDER_ID] = None,
    stack: StackName = STACK_NAME,
) -> None:
    """Copy missing orders from a table restored from a backup, or the cards of one ORDER_ID."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        restoration = Restoration(deployed.orders, deployed.outputs["CardTableName"], copy, deployed.dynamodb)
        if order_id is not None:
            output.say(f"cards restored: {restoration.restore_cards(order_id)}")
        else:
            restoration.restore_missing()
            output.say(f"orders restored: {restoration.restored}")
    if restoration.reopened:
        output.say(
            f"restored as open, because the copy lacks some of their cards: {', '.join(restoration.reopened)}\n"
            "SweepOrders resumes them within 15 minutes, and their cards are fetched from the supplier again."
        )
    if restoration.unreadable:
        raise CommandError(f"not restored, because the copy's row is invalid: {', '.join(restoration.unreadable)}")


@dataclass
class Restoration:
    """Restores rows from a copy of the card table. An order that has a row keeps it.

    Attributes
    ----------
    table, copy
        Names of the card table and of its copy.
    dynamodb
        A client that converts to and from Python types.
    restored
        Number of restored orders.
    reopened
        Ids of the restored orders that are closed in the copy but lack cards there.
    unreadable
        Ids of the orders whose row in the copy is invalid.
    """

    orders: OrderTable
    table: str
    copy: str
    dynamodb: Any
    restored: int = 0
    reopened: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def restore_missing(self) -> None:
        """Restore every order that has no row, with all its cards."""
        for row in self._copied_orders():
            if self._row(self.table, row) is None:
                self._restore_order(row)

    def restore_cards(self, order_id: str) -> int:
        """Restore the cards of one order from the copy, and return how many there are.

        Raises
        ------
        CommandError
            If the copy does not hold the same delivery of the order, with all its cards.
        """
        key = order_key(order_id)
        current, copied = self._row(self.table, key), self._row(self.copy, key)
        if copied is None or copied.get("deliveryId") is None:
            raise CommandError(f"the copy has no delivered order {order_id!r}")
        if current is None:
            return self._restore_order(copied)
        order = self._readable(copied)
        if order is None:
            return 0
        cards = self._cards(copied, order)
        if cards is None:
            raise CommandError(
                f"the copy lacks some cards of order {order_id}; nothing was changed. Restore a backup of another time"
            )
        # The deliveryId does not tell: it is the same for all deliveries of an order. Their time is not.
        if not self.orders.restore_cards(order, cards):
            raise CommandError(
                f"order {order_id} differs from its copy (delivered later, or not delivered yet); nothing was changed"
            )
        return (order.fulfilled_quantity or 0) if cards else 0

    def _restore_order(self, row: Row) -> int:
        """Restore an order that has no row, and return the number of its cards."""
        order = self._readable(row)
        if order is None:
            return 0
        cards = self._cards(row, order) if order.status.is_final else []
        if not self.orders.restore(row if cards is not None else _reopened(row), cards or []):
            return 0
        self.restored += 1
        if cards is None:
            self.reopened.append(order.order_id)
        return (order.fulfilled_quantity or 0) if cards else 0

    def _readable(self, row: Row) -> Order | None:
        try:
            return Order.model_validate(row)
        except ValidationError:
            self.unreadable.append(row["pk"].removeprefix(order_key("")["pk"]))
            return None

    def _cards(self, row: Row, order: Order) -> list[Row] | None:
        """Return the card rows of a closed order; None if the copy lacks any that has not expired.

        A backup can contain a part of the transaction that closed the order: some card rows are missing or are of an
        earlier delivery. Those of the right one have the order's ``deliveredAt``.
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
        """
        stored = {card["sk"]: card for card in self._copied_rows(row["pk"])}
        expected = [stored.get(key["sk"]) for key in card_keys(order).values()]
        cards = [card for card in expected if card is not None and card.get("deliveredAt") == row.get("deliveredAt")]
        are_expired = order.cards_expire_at is not None and order.cards_expire_at <= datetime.now(UTC)
        return cards if are_expired or len(cards) == len(expected) else None

    def _row(self, table: str, key: Row) -> Row | None:
        row: Row | None = self.dynamodb.get_item(
            TableName=table, Key={"pk": key["pk"], "sk": key["sk"]}, ConsistentRead=True
        ).get("Item")
        return row

    def _copied_rows(self, pk: str) -> Iterator[Row]:
        yield from self._read_copy("query", KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": pk})

    def _copied_orders(self) -> Iterator[Row]:
        yield from self._read_copy(
            "scan", FilterExpression="sk = :order", ExpressionAttributeValues={":order": _ORDER_SORT_KEY}
        )

    def _read_copy(self, operation: str, **condition: Any) -> Iterator[Row]:
        for page in self.dynamodb.get_paginator(operation).paginate(TableName=self.copy, **condition):
            yield from page["Items"]


def _without(row: Row, attributes: set[str]) -> Row:
    return {name: value for name, value in row.items() if name not in attributes}


def _reopened(row: Row) -> Row:
    """Return the row of an open order without delivery and execution, which SweepOrders resumes."""
    is_open = {"status": str(OrderStatus.HANDLING), "openStatus": str(OrderStatus.HANDLING)}
    return _without(row, _DELIVERY_ATTRIBUTES | _EXECUTION_ATTRIBUTES) | is_open

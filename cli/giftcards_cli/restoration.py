"""``giftcards restore``: rows of orders, from a copy of the card table that was made from a backup."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from giftcards.adapters.order_table import OrderTable, card_keys, order_key
from giftcards.rules.orders import Order, OrderStatus
from giftcards_cli import output
from giftcards_cli.arguments import ORDER_ID, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors

Row = dict[str, Any]
_ORDER = order_key("")["sk"]
_OF_A_DELIVERY = {
    "quantity",
    "fulfilledQuantity",
    "fulfilledAmount",
    "pricePerCard",
    "deliveryId",
    "deliveryAttempt",
    "deliveredAt",
    "cardsExpireAt",
    "announcedAt",
}
_OF_AN_EXECUTION = {"executionArn", "sweptAt"}


def restore(
    copy: Annotated[str, typer.Option("--from", metavar="TABLE", help="The copy of the card table.")],
    order_id: Annotated[str | None, ORDER_ID] = None,
    stack: StackName = "giftcards",
) -> None:
    """Put back from a copy of the card table every order that is missing, or the cards of one ORDER_ID."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        restoration = Restoration(deployed.orders, deployed.outputs["CardTableName"], copy, deployed.dynamodb)
        if order_id is not None:
            _say(f"cards put back: {restoration.restore_cards(order_id)}")
        else:
            restoration.restore_missing()
            _say(f"orders put back: {restoration.put_back}")
    if restoration.reopened:
        _say(
            f"put back open, because the copy lacks some of their cards: {', '.join(restoration.reopened)}\n"
            "The next sweep resumes them within 15 minutes, and the supplier's cards are delivered again."
        )
    if restoration.unreadable:
        raise CommandError(f"not put back, because the copy's row cannot be read: {', '.join(restoration.unreadable)}")


@dataclass
class Restoration:
    """Copies rows from a copy of the card table. An order that has a row is left as it is.

    Attributes
    ----------
    orders
        Where rows are put back.
    table, copy
        Names of the two tables.
    dynamodb
        A client that speaks Python types.
    put_back
        How many orders were put back.
    reopened
        Those of them that are closed in the copy but lack cards there.
    unreadable
        Orders whose row in the copy is invalid.
    """

    orders: OrderTable
    table: str
    copy: str
    dynamodb: Any
    put_back: int = 0
    reopened: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def restore_missing(self) -> None:
        """Put back every order that is missing, with all its cards."""
        for row in self._orders_of_the_copy():
            if self._row(self.table, row) is None:
                self._put_back(row)

    def restore_cards(self, order_id: str) -> int:
        """Put back the cards of one order as the copy has them, and return how many there are.

        Raises
        ------
        CommandError
            If the copy does not have the order as it was delivered, with all its cards.
        """
        key = order_key(order_id)
        there, copied = self._row(self.table, key), self._row(self.copy, key)
        if copied is None or copied.get("deliveryId") is None:
            raise CommandError(f"the copy has no delivered order {order_id!r}")
        if there is None:
            return self._put_back(copied)
        order = self._readable(copied)
        if order is None:
            return 0
        cards = self._cards(copied, order)
        if cards is None:
            raise CommandError(
                f"the copy lacks some cards of order {order_id}; nothing was changed. Use a copy of another time"
            )
        # Not the deliveryId, which all deliveries of an order have in common: cards are bound to their attempt.
        if not self.orders.restore_cards(order, cards):
            raise CommandError(f"order {order_id} is not the one of the copy: it was delivered later, or not yet")
        return len(cards)

    def _put_back(self, row: Row) -> int:
        """Put back an order that is missing, and return with how many cards."""
        order = self._readable(row)
        if order is None:
            return 0
        cards = self._cards(row, order) if order.status.is_closed else []
        if order.status.is_closed:
            goes_back = row if cards is not None else _reopened(row)
        else:  # a delivery that is in progress must not close the order on cards that are not there
            goes_back = _without(row, {"deliveryAttempt"})
        if not self.orders.restore(goes_back, cards or []):
            return 0
        self.put_back += 1
        if cards is None:
            self.reopened.append(order.order_id)
        return len(cards or [])

    def _readable(self, row: Row) -> Order | None:
        try:
            return Order.model_validate(row)
        except ValidationError:
            self.unreadable.append(row["pk"].removeprefix(order_key("")["pk"]))
            return None

    def _cards(self, row: Row, order: Order) -> list[Row] | None:
        """Return the cards of a closed order; None if the copy lacks any that has not expired.

        A copy can hold a part of the transaction that closed the order: some cards are missing, or are those of an
        earlier attempt. The cards of one attempt have the order's ``deliveredAt``.
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
        """
        stored = {card["sk"]: card for card in self._rows_of(row["pk"])}
        due = [stored.get(key["sk"]) for key in card_keys(order)]
        cards = [card for card in due if card is not None and card.get("deliveredAt") == row.get("deliveredAt")]
        have_expired = order.cards_expire_at is not None and order.cards_expire_at <= datetime.now(UTC)
        return cards if have_expired or len(cards) == len(due) else None

    def _row(self, table: str, key: Row) -> Row | None:
        found: Row | None = self.dynamodb.get_item(
            TableName=table, Key={"pk": key["pk"], "sk": key["sk"]}, ConsistentRead=True
        ).get("Item")
        return found

    def _rows_of(self, pk: str) -> Iterator[Row]:
        yield from self._of_the_copy("query", KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": pk})

    def _orders_of_the_copy(self) -> Iterator[Row]:
        yield from self._of_the_copy(
            "scan", FilterExpression="sk = :order", ExpressionAttributeValues={":order": _ORDER}
        )

    def _of_the_copy(self, operation: str, **condition: Any) -> Iterator[Row]:
        for page in self.dynamodb.get_paginator(operation).paginate(TableName=self.copy, **condition):
            yield from page["Items"]


def _without(row: Row, attributes: set[str]) -> Row:
    return {name: value for name, value in row.items() if name not in attributes}


def _reopened(row: Row) -> Row:
    """Make the row of an order that no delivery and no execution has; the sweep resumes it."""
    is_open = {"status": str(OrderStatus.HANDLING), "openStatus": str(OrderStatus.HANDLING)}
    return _without(row, _OF_A_DELIVERY | _OF_AN_EXECUTION) | is_open


def _say(text: str) -> None:
    output.console.print(text, highlight=False, markup=False, soft_wrap=True)

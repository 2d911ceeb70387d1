"""``giftcards restore``: rows of orders, from a copy of the card table that was made from a backup."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from giftcards.adapters.order_table import order_key
from giftcards_cli import output
from giftcards_cli.arguments import ORDER_ID, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors

Row = dict[str, Any]
_ORDER = order_key("")["sk"]


def restore(
    copy: Annotated[str, typer.Option("--from", metavar="TABLE", help="The copy of the card table.")],
    order_id: Annotated[str | None, ORDER_ID] = None,
    stack: StackName = "giftcards",
) -> None:
    """Put back from a copy of the card table every order that is missing, or the cards of one ORDER_ID."""
    with aws_errors(stack):
        restoration = Restoration(Stack.connect(stack), copy)
        if order_id is not None:
            _say(f"cards put back: {restoration.restore_cards(order_id)}")
        else:
            _say(f"orders put back: {restoration.restore_missing()}")


class Restoration:
    """Copies rows from a copy of the card table. It never changes an order that is there.

    Parameters
    ----------
    stack
        Whose card table is restored.
    copy
        Name of the table that rows come from.
    """

    def __init__(self, stack: Stack, copy: str) -> None:
        self._table = stack.outputs["CardTableName"]
        self._copy = copy
        self._dynamodb = stack.dynamodb

    def restore_missing(self) -> int:
        """Put back every order that is missing with all its cards, and return how many there were."""
        return sum(self._restore_order(order) for order in self._orders_of_the_copy())

    def restore_cards(self, order_id: str) -> int:
        """Put back the cards of one order as the copy has them, and return how many there are.

        Raises
        ------
        CommandError
            If the copy does not have the order as it was delivered.
        """
        key = order_key(order_id)
        order, copied = self._order(self._table, key), self._order(self._copy, key)
        if copied is None or copied.get("deliveryId") is None:
            raise CommandError(f"the copy has no delivered order {order_id!r}")
        # Not the deliveryId, which all deliveries of an order have in common: cards are bound to their attempt.
        if order is not None and order.get("deliveryAttempt") != copied.get("deliveryAttempt"):
            raise CommandError(f"order {order_id} is not the one of the copy: it was delivered later, or not yet")
        cards = self._put_cards(key)
        if order is None:
            self._put(copied)
        return cards

    def _restore_order(self, order: Row) -> bool:
        key = {"pk": order["pk"], "sk": order["sk"]}
        if self._order(self._table, key) is not None:
            return False
        self._put_cards(key)
        self._put(order, ConditionExpression="attribute_not_exists(pk)")  # last: a reader believes this row
        return True

    def _put_cards(self, key: Row) -> int:
        cards = [row for row in self._rows_of(key) if row["sk"] != key["sk"]]
        for card in cards:
            self._put(card)
        return len(cards)

    def _put(self, row: Row, **condition: str) -> None:
        self._dynamodb.put_item(TableName=self._table, Item=row, **condition)

    def _order(self, table: str, key: Row) -> Row | None:
        found: Row | None = self._dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return found

    def _rows_of(self, key: Row) -> Iterator[Row]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._copy, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": key["pk"]}
        )
        for page in pages:
            yield from page["Items"]

    def _orders_of_the_copy(self) -> Iterator[Row]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._copy, FilterExpression="sk = :order", ExpressionAttributeValues={":order": _ORDER}
        )
        for page in pages:
            yield from page["Items"]


def _say(text: str) -> None:
    output.console.print(text, highlight=False, markup=False, soft_wrap=True)

"""The real DeliverCards, with a supplier and a cipher without real cards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.adapters.order_table import OrderTable
from giftcards.contracts.events import OutgoingEvent
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import Card, SettledOrder
from giftcards.contracts.workflow import StepRequest, StepResult
from giftcards.rules.next_step import PollPolicy
from giftcards.rules.orders import Order
from giftcards.rules.schedule import PollSchedule
from giftcards.use_cases.deliver_cards import CardDelivery
from workflow.answers import Closed, Raised
from workflow.engine import client, python_dynamodb

_ORDERED = 2
_CARDS = {OrderStatus.FULFILLED: 2, OrderStatus.PARTIALLY_FILLED: 1}


@dataclass(frozen=True)
class _Supplier:
    status: OrderStatus

    def ask(self, order_id: str, _view: Any) -> SettledOrder:
        cards = [
            {"value": f"value-{index}", "serial": f"serial-{index}"} for index in range(_CARDS.get(self.status, 0))
        ]
        return SettledOrder.model_validate(
            {
                "_id": order_id,
                "status": self.status,
                "quantity": _ORDERED,
                "fulfilled_quantity": len(cards),
                "fulfilled_amount": 1000 * len(cards),
                "price_per_card": 1000,
                "cards": cards,
            }
        )


class _CardCipher:
    def encrypt(self, _order: Order, cards: Sequence[Card]) -> dict[int, bytes]:
        return {1: b"sealed"} if cards else {}


class _DeadBus:
    def publish(self, event: OutgoingEvent) -> None:
        raise EventNotPublishedError(event.detail_type, ["NotAuthorizedForDetailTypeException"])


def close_order(request: StepRequest, closed: Closed, table_name: str, bus_name: str) -> StepResult | Raised:
    """Run DeliverCards for an order, and return its result or what it raises."""
    delivery = CardDelivery(
        supplier=_Supplier(closed.status),
        cipher=_CardCipher(),
        orders=OrderTable(table_name, python_dynamodb()),
        bus=EventBus(bus_name, client("events")) if closed.publishes else _DeadBus(),
        policy=PollPolicy(PollSchedule.parse("60:5"), delayed_after_seconds=30),
        card_retention=None,
        measure=lambda _metric, _value: None,
    )
    try:
        answer = delivery.deliver(request, now=datetime.now(UTC), jitter=0.5)
    except Exception as error:  # noqa: BLE001 - as Lambda does with whatever is raised
        return Raised(type(error).__name__, str(error))
    return closed.then or answer

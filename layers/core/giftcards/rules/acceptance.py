"""Orders whose cards an operator has accepted: the rule behind `giftcards resume --accept-cards`."""

from datetime import datetime

from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import AcceptedOrder, ArrivedOrder, OrderProgress, SettledOrder
from giftcards.contracts.workflow import AcceptedArrival, StepRequest
from giftcards.rules.next_step import MIN_DOUBT_CHECKS, MIN_DOUBT_SECONDS
from giftcards.rules.orders import Acceptance
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure


def judge(
    arrived: ArrivedOrder | SupplierFailure, acceptance: Acceptance, request: StepRequest, now: datetime
) -> tuple[SettledOrder | OrderProgress | SupplierFailure, AcceptedArrival | None]:
    """Decide whether the order is settled as it was accepted, and return what the next step has to know.

    An answer without doubt needs no acceptance. Any other needs the accepted number of cards in three answers over 60
    seconds that agree in status and counts: suppliers are known to list cards one after the other.
    """
    if isinstance(arrived, SupplierFailure) or not arrived.status.is_final:
        return arrived, None
    if arrived.settled is not None:
        return arrived.settled, None
    accepted = settle(arrived, acceptance)
    if isinstance(accepted, SupplierFailure):
        return accepted, None
    arrival = _counted(arrived, acceptance, request.retry_state.accepted, now)
    if arrival.count >= MIN_DOUBT_CHECKS and (now - arrival.since).total_seconds() >= MIN_DOUBT_SECONDS:
        return accepted, arrival
    message = "The accepted cards arrived. They are delivered if the supplier still says the same in a minute."
    return SupplierFailure(FailureKind.BUSY, message), arrival


def _counted(
    arrived: ArrivedOrder, acceptance: Acceptance, before: AcceptedArrival | None, now: datetime
) -> AcceptedArrival:
    first = AcceptedArrival(
        cards=acceptance.cards,
        arrived=len(arrived.arrived),
        status=arrived.status,
        quantity=arrived.quantity,
        fulfilled_quantity=arrived.fulfilled_quantity,
        since=now,
        count=1,
    )
    if before is None or before != first.model_copy(update={"since": before.since, "count": before.count}):
        return first
    return before.model_copy(update={"count": before.count + 1})


def settle(arrived: ArrivedOrder, acceptance: Acceptance) -> AcceptedOrder | SupplierFailure:
    """Read a doubtful answer as the operator accepted it, or return in what it deviates.

    Only a refund that the supplier states is reported. FULFILLED states none. PARTIALLY_FILLED refunds what
    ``fulfilled_quantity`` leaves of ``quantity``, but never a card that is delivered; if that count cannot be read, it
    refunds what is not listed.
    """
    cards, is_refund = arrived.deliverable, arrived.status is OrderStatus.REFUNDED
    if len(cards) != acceptance.cards:
        return _broken(f"An operator accepted {acceptance.cards} cards; {arrived.acceptable}.")
    if not cards and not is_refund:
        return _broken(f"Only a REFUNDED order can be closed without cards; this one is {arrived.status}.")
    quantity = arrived.quantity or acceptance.ordered
    if quantity is None:
        return _broken("The supplier does not say how many cards were ordered; accept the order again with --ordered.")
    if len(cards) > quantity:
        return _broken(
            f"No card is delivered: {len(cards)} cards arrived and only {quantity} were ordered, so some can be "
            "another order's. Ask the supplier to correct the order."
        )
    status, refunded = arrived.status, None
    if status is OrderStatus.PARTIALLY_FILLED:
        fulfilled = len(arrived.arrived) if arrived.fulfilled_quantity is None else arrived.fulfilled_quantity
        refunded = quantity - max(len(cards), fulfilled)
        if refunded < 1:
            status, refunded = OrderStatus.FULFILLED, None
    return AcceptedOrder.model_construct(
        order_id=arrived.order_id,
        status=status,
        quantity=quantity,
        fulfilled_quantity=len(cards),
        fulfilled_amount=arrived.fulfilled_amount,
        price_per_card=arrived.price_per_card,
        cards=cards,  # type: ignore[arg-type] # less strict than a card that needs no operator
        refunded_quantity=refunded,
        undelivered_cards=len(arrived.arrived) - len(cards),
    )


def _broken(message: str) -> SupplierFailure:
    return SupplierFailure(FailureKind.CONTRACT_BROKEN, message)

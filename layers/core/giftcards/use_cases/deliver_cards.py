"""DeliverCards: get the cards, encrypt them in memory, store them, close the order, publish its event.

It is idempotent: one transaction stores all cards and closes the order, only once, and the event is made from the
closed row, so a retry after a crash at any point publishes the same event again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.order_table import CardsTooLargeError, OrderNotOpenError, OrderTable
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import ArrivedOrder, OrderProgress, SettledOrder
from giftcards.contracts.workflow import AcceptedArrival, Outcome, RetryState, StepRequest, StepResult
from giftcards.metrics import Meter, Metric
from giftcards.rules.acceptance import judge
from giftcards.rules.next_step import PollPolicy, next_step_of_delivery
from giftcards.rules.orders import Order, close, event_for, with_card_expiry
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from giftcards.use_cases.gated_supplier import GatedSupplier


class OrderNotClaimedError(Exception):
    """There is no open or closed order with this id for this user, although the workflow has claimed it."""


@dataclass(frozen=True)
class CardDelivery:
    """Closes settled orders: delivers their cards, or records their refund.

    Attributes
    ----------
    card_retention
        None keeps the cards.
    """

    supplier: GatedSupplier
    cipher: CardCipher
    orders: OrderTable
    bus: EventBus
    policy: PollPolicy
    card_retention: timedelta | None
    measure: Meter

    def deliver(self, request: StepRequest, *, now: datetime, jitter: float) -> StepResult:
        """Deliver an order once, however often this is called.

        Raises
        ------
        OrderNotClaimedError
            If the order row is missing, held, or another user's.
        """
        order = self._claimed(request)
        if not order.status.is_final:
            settled, arrival = self._ask(order, request, now)
            if not isinstance(settled, SettledOrder) or not settled.status.is_final:
                return self._try_again(settled, request, now, jitter, arrival)
            closed = self._close(order, settled, request, now)
            if isinstance(closed, SupplierFailure):
                return self._try_again(closed, request, now, jitter, arrival)
            order = closed
        if order.announced_at is None:
            self.bus.publish(event_for(order))
            self.orders.mark_published(order, now)
            self._measure(order, now)
        return StepResult(
            outcome=Outcome.CLOSED,
            message=f"The order is closed: {order.status}.{order.irregularities}",
            age_seconds=max(0, int((now - request.claimed_at).total_seconds())),
            wait_seconds=1,
            announce_delay=False,
            retry_state=RetryState(unanswered_since=now, unanswered_seconds=request.retry_state.unanswered_seconds),
            is_irregular=bool(order.irregularities),
        )

    def _ask(
        self, order: Order, request: StepRequest, now: datetime
    ) -> tuple[OrderProgress | SupplierFailure, AcceptedArrival | None]:
        if order.accept_cards is None:
            return self.supplier.ask(request.order_id, SettledOrder), None
        return judge(self.supplier.ask(request.order_id, ArrivedOrder), order.accept_cards, request, now)

    def _try_again(
        self,
        answer: OrderProgress | SupplierFailure,
        request: StepRequest,
        now: datetime,
        jitter: float,
        arrival: AcceptedArrival | None = None,
    ) -> StepResult:
        result = next_step_of_delivery(answer, request, now=now, policy=self.policy, jitter=jitter)
        if arrival is None:
            return result
        return result.model_copy(update={"retry_state": result.retry_state.model_copy(update={"accepted": arrival})})

    def _measure(self, order: Order, now: datetime) -> None:
        self.measure(Metric.of_status(order.status), 1)
        if order.status.is_delivered:
            self.measure(Metric.CARDS_DELIVERED, order.fulfilled_quantity or 0)
            if order.missing_amounts:
                self.measure(Metric.AMOUNT_MISSING, 1)
            waited = now - order.ordered_at
            self.measure(Metric.TIME_TO_DELIVERY, max(0.0, waited.total_seconds()))

    def _close(
        self, order: Order, settled: SettledOrder, request: StepRequest, now: datetime
    ) -> Order | SupplierFailure:
        closed = with_card_expiry(close(order, settled, now, checks=request.checks), self.card_retention)
        try:
            self.orders.close(closed, self.cipher.encrypt(closed, settled.cards))
        except CardsTooLargeError as error:
            return SupplierFailure(FailureKind.ORDER_REJECTED, str(error))
        except OrderNotOpenError:  # another delivery has closed it, or it was held, and may be resumed already
            current = self._claimed(request)
            resumed = SupplierFailure(FailureKind.BUSY, "The order was held and resumed during this delivery.")
            return current if current.status.is_final else resumed
        return closed

    def _claimed(self, request: StepRequest) -> Order:
        order = self.orders.get(request.order_id)
        if order is None or order.user_id != request.user_id or order.status is OrderStatus.HELD:
            raise OrderNotClaimedError("the order is not claimed for this user, or is held")
        return order

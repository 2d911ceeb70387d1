"""DeliverCards stores encrypted cards once, publishes the event, and recovers from a crash at any point."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from giftcards.adapters import aws, order_table
from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.supplier import SettledOrder
from giftcards.contracts.workflow import Outcome, RetryState, StepResult
from giftcards.rules.orders import Order, close, delivery_id_of
from giftcards.use_cases.deliver_cards import CardDelivery, OrderNotClaimedError
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, POLL_POLICY, USER_ID, step_request
from support.gate import Clock, Measures, supplier_on
from support.secrets import card_data, leaks, plaintext
from support.supplier import SupplierDouble, answered, order_data, refused

Deliver = Callable[..., StepResult]
NOT_TAKEN: dict[str, Any] = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}


@pytest.fixture
def orders(cloud: Cloud) -> OrderTable:
    return OrderTable(cloud.card_table, aws.dynamodb())


@pytest.fixture
def delivery(cloud: Cloud, cipher: CardCipher, orders: OrderTable, supplier: SupplierDouble) -> CardDelivery:
    cloud.set_api_key()
    bus = EventBus(cloud.bus, aws.event_bridge())
    return CardDelivery(
        supplier_on(cloud, supplier, Clock()),
        cipher,
        orders,
        bus,
        POLL_POLICY,
        card_retention=None,
        measure=Measures(),
    )


@pytest.fixture
def deliver(delivery: CardDelivery, cloud: Cloud) -> Deliver:
    """Deliver the order, now or some seconds later."""

    def deliver(*, later: float = 0, **fields: Any) -> StepResult:
        result = delivery.deliver(step_request(**fields), now=NOW + timedelta(seconds=later), jitter=0)
        assert not leaks(repr(result), repr(cloud.announced()), repr(cloud.rows(cloud.card_table)))
        return result

    cloud.forget()
    return deliver


def stored_cards(cloud: Cloud, cipher: CardCipher) -> list[dict[str, str]]:
    sealed = {int(row["sk"].removeprefix("CARDS#")): row["ciphertext"].value for row in cloud.card_rows()}
    read = cipher.decrypt(Order.model_validate(cloud.order_row()), sealed)
    return [plaintext(read[index]) for index in sorted(read)]


# ------------------------------------------------------------------ delivery


def test_fulfilled_order_is_stored_closed_and_published(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    # Given a claimed order that the supplier has fulfilled
    cloud.claim()
    supplier.will(answered(order_data("FULFILLED", 3)))

    # When it is delivered
    result = deliver()

    # Then it is closed, its user can read the cards, and the event is published
    assert (result.outcome, result.level) == (Outcome.CLOSED, "INFO")
    assert cloud.order_row()["status"] == "FULFILLED"
    assert stored_cards(cloud, cipher) == card_data(3)
    assert cloud.announced() == [
        (
            "CardsDelivered",
            {
                "schemaVersion": "1",
                "orderId": ORDER_ID,
                "userId": USER_ID,
                "occurredAt": "2026-03-14T09:26:53Z",
                "deliveryId": delivery_id_of(ORDER_ID),
                "quantity": 3,
                "fulfilledQuantity": 3,
                "fulfilledAmount": 1471.5,
                "pricePerCard": 490.5,
            },
        )
    ]
    assert cloud.open_orders() == []


def test_partially_filled_order_is_delivered_as_far_as_it_came(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim()
    supplier.will(answered(order_data("PARTIALLY_FILLED", 5)))

    assert deliver().outcome is Outcome.CLOSED

    assert stored_cards(cloud, cipher) == card_data(2)
    ((kind, detail),) = cloud.announced()
    assert (kind, detail["fulfilledQuantity"], detail["refundedQuantity"]) == ("CardsPartiallyDelivered", 2, 3)


@pytest.mark.parametrize("status", ["FULFILLED", "REFUNDED"])
def test_closed_order_counts_checks_of_all_executions(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, status: str
):
    cloud.claim(checks=40)  # as a hold leaves it
    supplier.will(answered(order_data(status)))

    deliver(checks=3)

    assert cloud.order_row()["checks"] == 43


def test_refund_needs_no_data_key(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(answered(order_data("REFUNDED")))

    assert deliver().outcome is Outcome.CLOSED

    assert cloud.card_rows() == []
    assert [kind for kind, _ in cloud.announced()] == ["OrderRefunded"]
    assert cloud.sent("GenerateDataKey") == []


def test_delivery_of_ten_cards_uses_one_key_and_three_writes(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(answered(order_data("FULFILLED", 10)))
    cloud.forget()

    deliver()

    assert len(cloud.sent("GenerateDataKey")) == 1
    assert cloud.sent("Decrypt") == []
    assert cloud.writes() == ["TransactWriteItems", "PutEvents", "UpdateItem"]


def test_cards_expire_after_the_retention_parameter(cloud: Cloud, supplier: SupplierDouble, delivery: CardDelivery):
    cloud.claim()
    supplier.will(answered())
    keeping = CardDelivery(**vars(delivery) | {"card_retention": timedelta(days=7)})

    keeping.deliver(step_request(), now=NOW, jitter=0)

    assert {row["expiresAt"] for row in cloud.card_rows()} == {int((NOW + timedelta(days=7)).timestamp())}


def test_age_in_the_result_is_never_negative(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(answered())

    assert deliver(claimed_at=NOW + timedelta(seconds=5)).age_seconds == 0


# --------------------------------------------------------- nothing to deliver


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answered(order_data("HANDLING")), Outcome.PENDING),
        (answered(order_data("LOST")), Outcome.SUPPLIER_CONTRACT_BROKEN),
        (answered(order_data(cards=card_data(1))), Outcome.SUPPLIER_CONTRACT_BROKEN),
        (answered(order_data(_id="another")), Outcome.SUPPLIER_CONTRACT_BROKEN),
        (refused(404, "NOT_FOUND"), Outcome.ORDER_UNKNOWN),
        (refused(400, "ERR_VALIDATION"), Outcome.INVALID_ORDER),
        (refused(503, "SERVICE_UNAVAILABLE"), Outcome.SUPPLIER_BUSY),
        (httpx.ConnectError("no route"), Outcome.SUPPLIER_BUSY),
    ],
)
def test_order_that_cannot_be_delivered_now_is_unchanged(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, answer: Any, outcome: Outcome
):
    cloud.claim()
    supplier.will(answer)
    cloud.forget()

    assert deliver().outcome is outcome

    assert cloud.writes() == []
    assert cloud.sent("GenerateDataKey") == []


def test_order_waits_while_the_gate_is_blocked(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="60"))
    assert deliver().outcome is Outcome.SUPPLIER_BUSY
    cloud.forget()

    result = deliver()

    assert (result.outcome, result.retry_delivery) == (Outcome.GATE_CLOSED, True)
    assert len(supplier.requests) == 1
    assert cloud.writes() == []


# ----------------------------------------------------------- another's order


def refused_delivery(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver) -> None:
    before = cloud.rows(cloud.card_table)
    with pytest.raises(OrderNotClaimedError) as refusal:
        deliver()
    assert ORDER_ID not in str(refusal.value)
    assert cloud.rows(cloud.card_table) == before
    assert (supplier.requests, cloud.announced()) == ([], [])


def test_order_is_not_delivered_to_another_user(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim(user_id="another")

    refused_delivery(cloud, supplier, deliver)


def test_delivered_order_is_not_published_for_another_user(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(answered())
    deliver()

    with pytest.raises(OrderNotClaimedError):
        deliver(user_id="another")
    assert len(cloud.announced()) == 1


def test_held_order_is_not_delivered(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    cloud.hold()

    refused_delivery(cloud, supplier, deliver)


def test_order_that_was_never_claimed_is_not_delivered(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    refused_delivery(cloud, supplier, deliver)


def test_order_held_during_the_fetch_is_not_delivered(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(answered())
    cloud.at_next("TransactWriteItems", cloud.hold)

    with pytest.raises(OrderNotClaimedError):
        deliver()

    assert (cloud.order_row()["status"], cloud.card_rows(), cloud.announced()) == ("HELD", [], [])


# ---------------------------------------------------------------- repetition


def test_repeat_of_a_published_delivery_changes_nothing(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    # Given a delivered order
    cloud.claim()
    supplier.will(answered())
    deliver()
    rows = cloud.rows(cloud.card_table)
    cloud.forget()

    # When it is delivered again, a minute later
    assert deliver(later=60).outcome is Outcome.CLOSED

    # Then nothing changes
    assert len(supplier.requests) == 1
    assert cloud.writes() == []
    assert cloud.rows(cloud.card_table) == rows


@pytest.mark.parametrize("status", ["FULFILLED", "PARTIALLY_FILLED", "REFUNDED"])
def test_repeat_publishes_the_same_event(cloud: Cloud, supplier: SupplierDouble, delivery: CardDelivery, status: str):
    # Given a delivery that is published, but not marked as published
    cloud.claim()
    supplier.will(answered(order_data(status)))
    at = NOW.replace(microsecond=123_456)  # clocks have microseconds, the table does not
    cloud.at_next("UpdateItem", client_error("UpdateItem"), table=cloud.card_table)
    with pytest.raises(ClientError):
        delivery.deliver(step_request(), now=at, jitter=0)

    # When it is repeated, a minute later
    delivery.deliver(step_request(), now=at + timedelta(minutes=1), jitter=0)

    # Then the supplier was called once, and the second event equals the first
    assert len(supplier.requests) == 1
    first, second = cloud.announced()
    assert first == second


def test_overtaken_delivery_publishes_what_the_other_stored(
    cloud: Cloud, cipher: CardCipher, orders: OrderTable, supplier: SupplierDouble, deliver: Deliver
):
    # Given two deliveries of an order, of which the other closes it first, as partially filled
    cloud.claim()
    supplier.will(answered(order_data("FULFILLED", 4)))
    winner = SettledOrder.model_validate(order_data("PARTIALLY_FILLED", 4))

    def overtake() -> None:
        order = orders.get(ORDER_ID)
        assert order is not None
        closed = close(order, winner, NOW - timedelta(seconds=1), checks=12)
        orders.close(closed, cipher.encrypt(closed, winner.cards))

    cloud.at_next("TransactWriteItems", overtake)

    # When it stores its cards
    assert deliver().outcome is Outcome.CLOSED

    # Then the winner's delivery stays and is published
    assert stored_cards(cloud, cipher) == card_data(2)
    ((kind, detail),) = cloud.announced()
    assert (kind, detail["fulfilledQuantity"], detail["occurredAt"]) == (
        "CardsPartiallyDelivered",
        2,
        "2026-03-14T09:26:52Z",
    )


# ------------------------------------------------------------------- crashes


@pytest.mark.parametrize("failure", [client_error("PutEvents"), NOT_TAKEN])
def test_unpublished_order_stays_open_and_a_repeat_publishes_it(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, failure: Any
):
    # Given a delivery that fails to publish its event
    cloud.claim()
    supplier.will(answered())
    cloud.at_next("PutEvents", failure)
    with pytest.raises((ClientError, EventNotPublishedError)):
        deliver()
    assert cloud.order_row()["status"] == "FULFILLED"
    assert cloud.open_orders() == [ORDER_ID]
    cloud.forget()

    # When it is repeated
    deliver(later=60)

    # Then the event is published
    assert [detail["deliveryId"] for _, detail in cloud.announced()] == [delivery_id_of(ORDER_ID)]
    assert cloud.open_orders() == []
    assert len(supplier.requests) == 1


def test_event_that_was_not_recorded_is_published_again(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim()
    supplier.will(answered())
    cloud.at_next("UpdateItem", client_error("UpdateItem"), table=cloud.card_table)
    with pytest.raises(ClientError):
        deliver()

    deliver(later=60)

    first, second = cloud.announced()
    assert first == second
    assert cloud.open_orders() == []


def test_crash_after_closing_needs_no_second_encryption(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim()
    supplier.will(answered())
    cloud.at_next("TransactWriteItems", client_error("TransactWriteItems"), carried_out=True)
    with pytest.raises(ClientError):
        deliver()
    assert cloud.announced() == []

    assert deliver(later=60).outcome is Outcome.CLOSED

    assert len(cloud.sent("GenerateDataKey")) == len(cloud.announced()) == 1
    assert stored_cards(cloud, cipher) == card_data(2)


def test_large_order_is_stored_in_one_write(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim()
    supplier.will(answered(order_data("FULFILLED", 1_000)))

    assert deliver().outcome is Outcome.CLOSED

    assert cloud.writes() == ["TransactWriteItems", "PutEvents", "UpdateItem"]
    assert stored_cards(cloud, cipher) == card_data(1_000)


def test_order_beyond_a_transaction_is_held_before_anything_is_written(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(order_table, "MAX_ORDER_BYTES", 1_000)
    cloud.claim()
    supplier.will(*[answered(order_data("FULFILLED", 20))] * 3)

    first = deliver(retry_state=RetryState())
    second = deliver(later=30, retry_state=first.retry_state)
    held = deliver(later=60, retry_state=second.retry_state)

    assert [result.outcome for result in (first, second, held)] == [
        *(Outcome.SUPPLIER_BUSY, Outcome.SUPPLIER_BUSY, Outcome.INVALID_ORDER)
    ]
    assert "1000 bytes" in held.message
    assert cloud.writes() == []


@pytest.mark.parametrize("operation", ["GetItem", "GetSecretValue", "GenerateDataKey", "TransactWriteItems"])
def test_crash_before_closing_changes_nothing(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, operation: str):
    cloud.claim()
    supplier.will(answered(), answered())
    cloud.at_next(operation, client_error(operation))
    with pytest.raises(Exception) as crash:  # noqa: PT011 - the SDK, boto3 and Powertools each raise their own
        deliver()
    assert not leaks(crash.value, repr(crash.value))
    assert (cloud.order_row()["status"], cloud.card_rows(), cloud.announced()) == ("HANDLING", [], [])

    assert deliver().outcome is Outcome.CLOSED


# ------------------------------------------------------------ irregularities


def numbers(message: str) -> list[int]:
    """Return the numbers in the message of a held order, without the count of doubtful answers and their seconds."""
    return [int(number) for number in re.findall(r"\d+", message)][:-2]


ACCEPTANCE = {"by": "arn:aws:iam::1:user/olga", "reason": "seen in the console", "at": timestamp(NOW)}
FIRST, SECOND, THIRD = card_data(3)


def test_card_without_a_serial_is_stored_and_read_without_one(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim()
    supplier.will(answered(order_data(cards=[FIRST | {"serial": None}, {"value": SECOND["value"]}])))

    assert deliver().outcome is Outcome.CLOSED

    assert stored_cards(cloud, cipher) == [card | {"serial": None} for card in (FIRST, SECOND)]


@pytest.mark.parametrize("status", ["FULFILLED", "PARTIALLY_FILLED"])
@pytest.mark.parametrize("amount", [None, -1, "490 DZD", "NaN", "9" * 60])
def test_order_without_a_readable_amount_is_delivered(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, status: str, amount: Any
):
    cloud.claim()
    supplier.will(answered(order_data(status, 4, fulfilled_amount=amount)))

    result = deliver()

    assert (result.outcome, result.level) == (Outcome.CLOSED, "WARNING")
    assert "fulfilledAmount" in result.message
    assert "pricePerCard" not in result.message
    assert "fulfilledAmount" not in cloud.order_row()
    [(_, event)] = cloud.announced()
    assert ("fulfilledAmount" in event, event["pricePerCard"]) == (False, 490.5)


@pytest.mark.parametrize(
    "contradiction",
    [{"cards": []}, {"fulfilled_quantity": 1}, {"cards": [FIRST]}, {"cards": [FIRST, {"value": " "}]}, {"quantity": 3}],
)
def test_persistent_contradiction_at_delivery_holds_the_order(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, contradiction: dict[str, Any]
):
    cloud.claim()
    supplier.will(*(answered(order_data() | contradiction) for _ in range(3)))

    results, state = [], RetryState()
    for later in (0, 30, 60):
        results.append(deliver(later=later, retry_state=state))
        state = results[-1].retry_state

    assert [result.outcome for result in results] == [
        Outcome.SUPPLIER_BUSY,
        Outcome.SUPPLIER_BUSY,
        Outcome.SUPPLIER_CONTRACT_BROKEN,
    ]
    assert [result.retry_state.doubt and result.retry_state.doubt.at_delivery for result in results] == [True] * 3
    assert cloud.card_rows() == []


def test_cards_that_come_a_moment_after_the_status_are_delivered(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim()
    supplier.will(answered(order_data(cards=[])), answered())

    first = deliver(retry_state=RetryState())
    second = deliver(later=first.wait_seconds, retry_state=first.retry_state)

    assert (first.outcome, second.outcome) == (Outcome.SUPPLIER_BUSY, Outcome.CLOSED)
    assert stored_cards(cloud, cipher) == [FIRST, SECOND]


def acceptance_of(cards: int, **more: int) -> dict[str, Any]:
    return ACCEPTANCE | {"cards": cards} | more


def accepted_three_times(supplier: SupplierDouble, deliver: Deliver, *orders: dict[str, Any]) -> list[StepResult]:
    """Deliver three times in 60 seconds, from one answer or one answer each."""
    results, state = [], RetryState()
    for later, order in zip((0, 30, 60), orders * (3 // len(orders)), strict=True):
        supplier.will(answered(order))
        results.append(deliver(later=later, retry_state=state))
        if results[-1].outcome is Outcome.CLOSED:
            break
        state = results[-1].retry_state
    return results


LONG = {"value": "x" * 3_000, "serial": None}
BLANK = {"value": " \u200b\u2800", "serial": "7"}
CODE_ONLY, OTHER_SERIAL = FIRST | {"serial": None}, FIRST | {"serial": "7-other-serial"}


@pytest.mark.parametrize(
    ("contradiction", "delivered", "counts"),
    [
        ({"fulfilled_quantity": 1}, [FIRST, SECOND], ("FULFILLED", 2, None, None)),
        ({"fulfilled_quantity": "?", "quantity": None}, [FIRST, SECOND], ("FULFILLED", 9, None, None)),
        ({"status": "PARTIALLY_FILLED"}, [FIRST, SECOND], ("FULFILLED", 2, None, None)),
        ({"cards": [FIRST]}, [FIRST], ("FULFILLED", 2, None, None)),
        ({"cards": [FIRST, FIRST]}, [FIRST], ("FULFILLED", 2, None, 1)),
        ({"cards": [FIRST, SECOND, FIRST]}, [FIRST, SECOND], ("FULFILLED", 2, None, 1)),
        ({"cards": [FIRST, CODE_ONLY]}, [FIRST], ("FULFILLED", 2, None, 1)),
        ({"cards": [CODE_ONLY, FIRST]}, [CODE_ONLY], ("FULFILLED", 2, None, 1)),
        ({"cards": [FIRST, FIRST | {"value": f" {FIRST['value']} "}]}, [FIRST], ("FULFILLED", 2, None, 1)),
        ({"cards": [FIRST, OTHER_SERIAL, FIRST]}, [FIRST, OTHER_SERIAL], ("FULFILLED", 2, None, 1)),
        ({"cards": [FIRST, SECOND, SECOND, None]}, [FIRST, SECOND], ("FULFILLED", 2, None, 2)),
        ({"cards": [FIRST, BLANK]}, [FIRST], ("FULFILLED", 2, None, 1)),
        ({"cards": [LONG, SECOND]}, [LONG, SECOND], ("FULFILLED", 2, None, None)),
        ({"cards": [FIRST, {"value": ""}]}, [FIRST], ("FULFILLED", 2, None, 1)),
        ({"cards": [FIRST, "what", None, {"serial": "s"}]}, [FIRST], ("FULFILLED", 2, None, 3)),
        ({"cards": [FIRST, SECOND | {"serial": []}]}, [FIRST, SECOND | {"serial": None}], ("FULFILLED", 2, None, None)),
        ({"status": "PARTIALLY_FILLED", "quantity": 5}, [FIRST, SECOND], ("PARTIALLY_FILLED", 5, None, None)),
        (
            {"status": "PARTIALLY_FILLED", "quantity": 5, "fulfilled_quantity": 3},
            [FIRST, SECOND],
            ("PARTIALLY_FILLED", 5, 2, None),
        ),
        (
            {"status": "PARTIALLY_FILLED", "quantity": 5, "fulfilled_quantity": 0},
            [FIRST, SECOND],
            ("PARTIALLY_FILLED", 5, 3, None),
        ),
        (
            {"status": "PARTIALLY_FILLED", "quantity": 5, "fulfilled_quantity": 3, "cards": [FIRST, SECOND, None, 1]},
            [FIRST, SECOND],
            ("PARTIALLY_FILLED", 5, 2, 2),
        ),
        (
            {"status": "PARTIALLY_FILLED", "quantity": 5, "fulfilled_quantity": "?", "cards": [FIRST, SECOND, None]},
            [FIRST, SECOND],
            ("PARTIALLY_FILLED", 5, 2, 1),
        ),
        (
            {"status": "PARTIALLY_FILLED", "quantity": 5, "fulfilled_quantity": None, "cards": [FIRST, SECOND, None]},
            [FIRST, SECOND],
            ("PARTIALLY_FILLED", 5, 2, 1),
        ),
        (
            {"status": "PARTIALLY_FILLED", "quantity": 5, "fulfilled_quantity": None, "cards": [FIRST, SECOND, FIRST]},
            [FIRST, SECOND],
            ("PARTIALLY_FILLED", 5, 2, 1),
        ),
    ],
)
def test_accepted_cards_are_delivered_as_they_arrive(
    cloud: Cloud,
    cipher: CardCipher,
    supplier: SupplierDouble,
    deliver: Deliver,
    contradiction: dict[str, Any],
    *,
    delivered: list[dict[str, Any]],
    counts: tuple[str, int, int | None, int | None],
):
    acceptance = acceptance_of(len(delivered), ordered=9)
    cloud.claim(acceptCards=acceptance)

    result = accepted_three_times(supplier, deliver, order_data() | contradiction)[-1]

    status, quantity, refunded, undelivered = counts
    row = cloud.order_row()
    assert result.outcome is Outcome.CLOSED
    assert (row["status"], row["quantity"], row.get("undeliveredCards")) == (status, quantity, undelivered)
    assert (row["fulfilledQuantity"], row["acceptCards"]) == (len(delivered), acceptance)
    assert stored_cards(cloud, cipher) == delivered
    [(detail_type, event)] = cloud.announced()
    assert detail_type == ("CardsDelivered" if status == "FULFILLED" else "CardsPartiallyDelivered")
    assert (event["quantity"], event["fulfilledQuantity"]) == (quantity, len(delivered))
    if status == "PARTIALLY_FILLED":
        assert event["refundedQuantity"] == (refunded or quantity - len(delivered))


@pytest.mark.parametrize(
    ("answer", "ordered", "numbers_in_message"),
    [
        ({}, None, [3, 2]),
        ({}, 3, [3, 2]),
        ({"quantity": None}, 2, [3, 2]),
        ({"status": "PARTIALLY_FILLED"}, None, [3, 2]),
        ({"quantity": 1, "cards": [FIRST, FIRST, SECOND, BLANK, THIRD]}, None, [3, 1]),
    ],
)
def test_more_cards_than_ordered_are_never_delivered(
    cloud: Cloud,
    supplier: SupplierDouble,
    deliver: Deliver,
    answer: dict[str, Any],
    *,
    ordered: int | None,
    numbers_in_message: list[int],
):
    cloud.claim(acceptCards=acceptance_of(3) if ordered is None else acceptance_of(3, ordered=ordered))

    surplus = order_data(cards=[FIRST, SECOND, THIRD]) | answer
    result = accepted_three_times(supplier, deliver, surplus)[-1]

    assert result.outcome is Outcome.SUPPLIER_CONTRACT_BROKEN
    assert numbers(result.message)[-2:] == numbers_in_message
    assert (cloud.card_rows(), cloud.announced()) == ([], [])


def test_as_many_cards_as_the_operator_says_were_ordered_are_delivered(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim(acceptCards=acceptance_of(3, ordered=3))

    answer = order_data(cards=[FIRST, SECOND, THIRD]) | {"quantity": None}
    assert accepted_three_times(supplier, deliver, answer)[-1].outcome is Outcome.CLOSED

    assert stored_cards(cloud, cipher) == [FIRST, SECOND, THIRD]


def test_accepted_order_counts_undelivered_cards(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim(acceptCards=acceptance_of(1))

    result = accepted_three_times(supplier, deliver, order_data(cards=[FIRST, {"value": ""}]))[-1]

    assert result.level == "WARNING"
    assert cloud.order_row()["undeliveredCards"] == 1


def test_accepted_cards_are_delivered_at_the_third_same_answer(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim(acceptCards=acceptance_of(1))

    results = accepted_three_times(supplier, deliver, order_data(cards=[FIRST]))

    waits, closed = [Outcome.SUPPLIER_BUSY] * 2, Outcome.CLOSED
    assert [result.outcome for result in results] == [*waits, closed]


@pytest.mark.parametrize("later", [59, 10])
def test_accepted_cards_are_not_delivered_within_a_minute(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, later: int
):
    cloud.claim(acceptCards=acceptance_of(1))
    state = RetryState()
    supplier.will(*[answered(order_data(cards=[FIRST]))] * 4)

    for seconds in (0, 5, 9, later):
        result = deliver(later=seconds, retry_state=state)
        state = result.retry_state

    assert result.outcome is Outcome.SUPPLIER_BUSY
    assert cloud.card_rows() == []


@pytest.mark.parametrize(
    "other",
    [
        {"cards": []},
        {"cards": [FIRST, None]},
        {"quantity": 3},
        {"fulfilled_quantity": 3},
        {"status": "PARTIALLY_FILLED"},
    ],
)
def test_another_answer_restarts_the_wait_for_accepted_cards(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, other: dict[str, Any]
):
    cloud.claim(acceptCards=acceptance_of(1))
    same = order_data(cards=[FIRST])

    results = accepted_three_times(supplier, deliver, same, same | other, same)

    assert [result.outcome for result in results] == [Outcome.SUPPLIER_BUSY] * 3
    assert results[-1].retry_state.accepted is not None
    assert results[-1].retry_state.accepted.count == 1


@pytest.mark.parametrize("accepted", [0, 1, 3])
def test_order_with_another_count_than_accepted_is_held_again(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, accepted: int
):
    cloud.claim(acceptCards=acceptance_of(accepted))

    result = accepted_three_times(supplier, deliver, order_data(fulfilled_quantity=1))[-1]

    assert result.outcome is Outcome.SUPPLIER_CONTRACT_BROKEN
    assert numbers(result.message)[-3:] == [accepted, 2, 2]
    assert cloud.card_rows() == []


def test_answer_without_a_doubt_needs_no_acceptance(
    cloud: Cloud, cipher: CardCipher, supplier: SupplierDouble, deliver: Deliver
):
    cloud.claim(acceptCards=acceptance_of(1))
    supplier.will(answered())

    result = deliver(retry_state=RetryState())

    assert (result.outcome, result.level) == (Outcome.CLOSED, "INFO")
    assert stored_cards(cloud, cipher) == [FIRST, SECOND]


@pytest.mark.parametrize(
    "answer",
    [
        {"_id": "6901616fe9e88196b4eb64b4"},
        {"status": "HANDLING", "quantity": None},
        {"_id": ""},
        {"status": "LOST"},
        {"status": "REFUNDED"},
        {"status": "PARTIALLY_FILLED", "quantity": None},
        {"quantity": 0},
        {"cards": []},
        {"cards": None},
        {"cards": {"value": "v"}},
        {"cards": [{"value": ""}]},
        {"cards": [BLANK, BLANK]},
    ],
)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_acceptance_is_only_about_number_and_values(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, answer: dict[str, Any], count: int
):
    cloud.claim(acceptCards=acceptance_of(count))

    results = accepted_three_times(supplier, deliver, order_data() | answer)

    assert cloud.card_rows() == []
    is_refund = (answer, count) == ({"status": "REFUNDED"}, 0)
    assert (results[-1].outcome is Outcome.CLOSED) is is_refund


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fulfilled_quantity": 1}, [2, 2]),
        ({"cards": [FIRST]}, [1, 1]),
        ({"cards": [FIRST, FIRST]}, [1, 2, 2]),
        ({"cards": [FIRST, SECOND, CODE_ONLY]}, [2, 3, 3]),
        ({"cards": [FIRST] * 14}, [1, 14, *range(2, 12), 3]),
        ({"cards": [FIRST, FIRST, None, SECOND]}, [2, 4, 3, 2]),
        ({"cards": [FIRST, BLANK]}, [1, 2, 2]),
        ({"cards": [FIRST, SECOND, THIRD]}, [0, 3, 2]),
        ({"cards": [FIRST, SECOND, THIRD], "quantity": None}, [3, 3]),
        ({"status": "REFUNDED", "fulfilled_quantity": 0}, [0, 2]),
        ({"cards": [FIRST, {"value": None}]}, [1, 2, 2]),
        ({"cards": [None] * 12 + [FIRST]}, [1, 13, *range(1, 11), 2]),
        ({"status": "REFUNDED"}, [0, 2]),
        ({"status": "REFUNDED", "quantity": 0, "cards": []}, [0, 0]),
    ],
)
def test_held_message_has_the_acceptable_count(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, change: dict[str, Any], expected: list[int]
):
    cloud.claim()

    result = accepted_three_times(supplier, deliver, order_data() | change)[-1]

    assert result.outcome is Outcome.SUPPLIER_CONTRACT_BROKEN
    assert numbers(result.message)[-len(expected) :] == expected


@pytest.mark.parametrize("count", [2, "?", None, -1])
@pytest.mark.parametrize("cards", [[], None])
def test_refund_without_cards_is_a_refund_at_any_count(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, count: Any, cards: Any
):
    cloud.claim()
    supplier.will(answered(order_data("REFUNDED") | {"fulfilled_quantity": count, "cards": cards}))

    assert deliver(retry_state=RetryState()).outcome is Outcome.CLOSED
    [(detail_type, event)] = cloud.announced()
    assert (detail_type, event["quantity"]) == ("OrderRefunded", 2)


@pytest.mark.parametrize("quantity", [None, 0, "?", -1])
def test_refund_without_a_quantity_takes_the_operators(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, quantity: Any
):
    refund = order_data("REFUNDED") | {"quantity": quantity}
    cloud.claim(acceptCards=acceptance_of(0))
    held = accepted_three_times(supplier, deliver, refund)[-1]
    assert "--ordered" in held.message

    cloud.claim(acceptCards=acceptance_of(0, ordered=3))
    assert accepted_three_times(supplier, deliver, refund)[-1].outcome is Outcome.CLOSED

    [(detail_type, event)] = cloud.announced()
    assert (detail_type, event["quantity"]) == ("OrderRefunded", 3)


@pytest.mark.parametrize("acceptance", [{}, {"by": 5}, ACCEPTANCE, ACCEPTANCE | {"cards": -1}, "yes", None, True])
def test_acceptance_without_an_operator_is_ignored(
    cloud: Cloud, supplier: SupplierDouble, deliver: Deliver, acceptance: Any
):
    cloud.claim(acceptCards=acceptance)
    supplier.will(answered(order_data(cards=[FIRST])))

    assert deliver(retry_state=RetryState()).outcome is Outcome.SUPPLIER_BUSY
    assert cloud.card_rows() == []


def test_accepted_refund_without_cards_is_a_refund(cloud: Cloud, supplier: SupplierDouble, deliver: Deliver):
    cloud.claim(acceptCards=acceptance_of(2))
    supplier.will(answered(order_data("REFUNDED")))

    assert deliver().outcome is Outcome.CLOSED
    assert cloud.order_row()["status"] == "REFUNDED"

"""Calls through the gate: what is sent, and how each answer affects the next order."""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import httpx
import pytest
from aws_lambda_powertools.utilities.parameters import base as parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from giftcards.adapters import aws
from giftcards.adapters.api_key import CACHE_SECONDS, ApiKeySource
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import OrderProgress
from giftcards.rules.gate import (
    BLOCK_SECONDS,
    CHECK_SLOT_WAIT,
    DELIVERY_SLOT_WAIT,
    LEASE_SECONDS,
    MAX_CONCURRENT_CALLS,
    MAX_SUSPICION_SECONDS,
    MIN_SUSPICION_SECONDS,
    RATE_LIMIT_SECONDS,
    START_SECONDS,
    Block,
    Slot,
    SlotWait,
    admit,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from giftcards.use_cases.gated_supplier import KEY_LOOK_SECONDS, MAX_ACQUIRE_ATTEMPTS
from support.cloud import Cloud, client_error
from support.examples import ORDER_ID
from support.gate import Clock, GatedDouble, supplier_on
from support.secrets import API_KEY, MARK, leaks
from support.supplier import Meanwhile, SupplierDouble, answered, order_data, refused

PENDING = order_data("HANDLING")
CLOSING = {
    FailureKind.RATE_LIMITED: lambda: refused(429, "RATE_LIMIT_EXCEEDED"),
    FailureKind.KEY_REFUSED: lambda: refused(401, "INVALID_ACCESS_TOKEN"),
    FailureKind.ADDRESS_BLOCKED: lambda: refused(403, "IP_BLOCKED"),
    FailureKind.ACCESS_DENIED: lambda: refused(403, "IP_NOT_ALLOWED"),
}
each_closing_answer = pytest.mark.parametrize("kind", sorted(CLOSING))


def test_answer_of_the_supplier_comes_back_as_it_is(behind_gate: GatedDouble):
    behind_gate.supplier.will(answered(PENDING))

    answer = behind_gate.ask()

    assert isinstance(answer, OrderProgress)
    assert answer.status is OrderStatus.HANDLING
    assert behind_gate.blocks == []


def test_each_call_acquires_and_releases_a_slot(behind_gate: GatedDouble):
    behind_gate.supplier.will(answered(PENDING), answered(PENDING))

    behind_gate.ask()
    behind_gate.ask()

    assert behind_gate.steps == [
        *("acquire", "acquire", "check_order", "accept", "release"),  # the first write finds that no key is accepted
        *("acquire", "check_order", "release"),
    ]
    assert behind_gate.record.read().leases == {}


@each_closing_answer
def test_failure_about_all_orders_blocks_the_gate_once(behind_gate: GatedDouble, kind: FailureKind):
    # Given an answer that blocks the gate
    behind_gate.supplier.will(CLOSING[kind]())
    first = behind_gate.ask()

    # When other orders are checked
    others = [behind_gate.ask(f"order-{number}") for number in range(5)]

    # Then the supplier is called once, and the gate is blocked once
    assert first.kind is kind
    assert {other.kind for other in others} == {FailureKind.GATE_CLOSED}
    assert len(behind_gate.supplier.requests) == 1
    assert [closing.reason for closing in behind_gate.blocks] == [kind]


@each_closing_answer
def test_waiting_orders_get_the_reason_and_no_secret(behind_gate: GatedDouble, kind: FailureKind):
    behind_gate.supplier.will(CLOSING[kind]())

    first, waiting = behind_gate.ask(), behind_gate.ask()

    assert first.message in waiting.message
    assert not leaks(repr(first), repr(waiting), repr(behind_gate.blocks))


@pytest.mark.parametrize("code", ["NOT_FOUND", "ERR_VALIDATION", "INTERNAL_ERROR", "AUTH_UNAVAILABLE"])
def test_failure_about_one_order_does_not_block_the_gate(behind_gate: GatedDouble, code: str):
    status = {"NOT_FOUND": 404, "ERR_VALIDATION": 400, "INTERNAL_ERROR": 500}.get(code, 503)
    behind_gate.supplier.will(refused(status, code), answered(PENDING))

    assert isinstance(behind_gate.ask(), SupplierFailure)
    assert isinstance(behind_gate.ask("another"), SupplierFailure)  # the answer has another order's _id

    assert len(behind_gate.supplier.requests) == 2
    assert behind_gate.blocks == []


def test_retry_after_blocks_all_orders_for_that_long(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="120"), answered(PENDING))
    assert behind_gate.ask().retry_after_seconds == 120

    behind_gate.clock.advance(20)
    waiting = behind_gate.ask()
    behind_gate.clock.advance(100)
    again = behind_gate.ask()

    assert (waiting.kind, waiting.retry_after_seconds) == (FailureKind.GATE_CLOSED, 100)
    assert isinstance(again, OrderProgress)


def test_rate_limit_without_retry_after_blocks_all_orders(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED"), answered(PENDING))
    behind_gate.ask()

    behind_gate.clock.advance(RATE_LIMIT_SECONDS - 1)
    assert behind_gate.ask().retry_after_seconds == 1
    behind_gate.clock.advance(1)
    assert isinstance(behind_gate.ask(), OrderProgress)


def test_refused_key_is_not_presented_again(behind_gate: GatedDouble):
    # Given a refused key
    behind_gate.supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), answered(PENDING))
    behind_gate.ask()

    # When days pass, it is not used again
    behind_gate.clock.advance(30 * 86_400)
    assert behind_gate.ask().kind is FailureKind.GATE_CLOSED
    assert len(behind_gate.supplier.requests) == 1

    # But another version of the secret is used at once
    behind_gate.keys.rotate("version-2")
    assert isinstance(behind_gate.ask(), OrderProgress)


def test_second_bad_key_blocks_the_gate_again(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), refused(401, "INVALID_ACCESS_TOKEN"))
    behind_gate.ask()
    behind_gate.keys.rotate("version-2")

    behind_gate.ask()
    behind_gate.ask()

    assert [closing.key_version for closing in behind_gate.blocks] == ["version-1", "version-2"]
    assert len(behind_gate.supplier.requests) == 2


@pytest.mark.parametrize("kind", [FailureKind.ADDRESS_BLOCKED, FailureKind.ACCESS_DENIED])
def test_blocked_address_blocks_15_minutes_for_any_key(behind_gate: GatedDouble, kind: FailureKind):
    behind_gate.supplier.will(CLOSING[kind](), answered(PENDING))
    behind_gate.ask()

    behind_gate.keys.rotate("version-2")
    behind_gate.clock.advance(BLOCK_SECONDS - 1)
    assert behind_gate.ask().kind is FailureKind.GATE_CLOSED
    behind_gate.clock.advance(1)
    assert isinstance(behind_gate.ask(), OrderProgress)


def test_missing_key_blocks_the_gate_once(behind_gate: GatedDouble):
    behind_gate.keys.value, behind_gate.keys.version = None, None

    first, second = behind_gate.ask(), behind_gate.ask()

    assert (first.kind, second.kind) == (FailureKind.KEY_MISSING, FailureKind.GATE_CLOSED)
    assert behind_gate.supplier.requests == []
    assert [closing.reason for closing in behind_gate.blocks] == [FailureKind.KEY_MISSING]


def test_orders_continue_as_soon_as_a_key_is_set(behind_gate: GatedDouble):
    behind_gate.keys.value, behind_gate.keys.version = None, None
    behind_gate.ask()

    behind_gate.keys.rotate("version-1")
    behind_gate.supplier.will(answered(PENDING))

    assert isinstance(behind_gate.ask(), OrderProgress)
    assert behind_gate.supplier.requests[0].headers["X-Access-Token"] == API_KEY


def test_gate_stays_as_it_is_while_it_is_closed(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="600"))
    behind_gate.ask()
    gate = behind_gate.record.read()
    behind_gate.journal.clear()

    for _ in range(3):
        behind_gate.clock.advance(60)
        behind_gate.ask()

    assert behind_gate.record.read() == gate
    assert behind_gate.steps == ["acquire"] * 3


def test_two_containers_do_not_present_refused_keys_in_turns(cloud: Cloud, supplier: SupplierDouble):
    # Given two containers with different keys, both refused
    supplier.will(*(refused(401, "INVALID_ACCESS_TOKEN") for _ in range(12)))
    first, second = (supplier_on(cloud, supplier, Clock()) for _ in range(2))
    cloud.set_api_key(f"{API_KEY}-1")
    first.ask("order-1", OrderProgress)
    cloud.set_api_key(f"{API_KEY}-2")
    second.ask("order-2", OrderProgress)

    # When both continue, the first with its cached key
    for number in range(5):
        first.ask(f"order-{number}", OrderProgress)
        second.ask(f"order-{number}", OrderProgress)

    # Then each key was used once: the supplier blocks an address after five refusals
    presented = [request.headers["X-Access-Token"] for request in supplier.requests]
    assert presented == [f"{API_KEY}-1", f"{API_KEY}-2"]


def test_secret_is_read_once_after_a_key_was_replaced(cloud: Cloud, supplier: SupplierDouble):
    # Given a gate that is blocked for one key, and another key in the secret
    supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), *(answered(PENDING) for _ in range(5)))
    cloud.set_api_key()
    supplier_on(cloud, supplier, Clock()).ask(ORDER_ID, OrderProgress)
    cloud.set_api_key(f"{API_KEY}-2")
    cloud.forget()

    # When a second container calls with it
    second = supplier_on(cloud, supplier, Clock())
    answers = [second.ask(ORDER_ID, OrderProgress) for _ in range(5)]

    # Then it reads the secret once more, and never again
    assert all(isinstance(answer, OrderProgress) for answer in answers)
    assert len(cloud.sent("GetSecretValue")) == 2


def test_new_key_is_used_seconds_after_it_is_set(cloud: Cloud, supplier: SupplierDouble):
    # Given a refused key, which this container has cached, and orders that look at the gate
    clock = Clock()
    container = supplier_on(cloud, supplier, clock)
    supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), answered(PENDING))
    cloud.set_api_key()
    container.ask(ORDER_ID, OrderProgress)
    assert container.ask(ORDER_ID, OrderProgress).kind is FailureKind.GATE_CLOSED

    # When a person sets another one
    cloud.set_api_key(f"{API_KEY}-2")
    clock.advance(KEY_LOOK_SECONDS)

    # Then it is used at once, and the secret was not read at every look
    assert isinstance(container.ask(ORDER_ID, OrderProgress), OrderProgress)
    assert len(cloud.sent("GetSecretValue")) == 3


def test_refused_key_is_not_read_again_at_every_look(cloud: Cloud, supplier: SupplierDouble):
    clock = Clock()
    container = supplier_on(cloud, supplier, clock)
    supplier.will(refused(401, "INVALID_ACCESS_TOKEN"))
    cloud.set_api_key()
    for _ in range(20):
        container.ask(ORDER_ID, OrderProgress)
        clock.advance(0.2)

    assert len(cloud.sent("GetSecretValue")) == 2


# --------------------------------------------------------------------- slots

REFUSED = SupplierFailure(FailureKind.KEY_REFUSED, "The supplier answered 401 ERR_AUTH.")
BUSY = SupplierFailure(FailureKind.BUSY, "The supplier cannot be reached.")
HANDLING = OrderProgress.model_validate(PENDING)


def prove_the_key(behind_gate: GatedDouble) -> None:
    """Have the supplier accept the key."""
    behind_gate.supplier.will(answered(PENDING))
    behind_gate.ask()
    assert behind_gate.record.read().accepted_version == behind_gate.keys.version
    behind_gate.journal.clear()


def take_before(behind_gate: GatedDouble) -> None:
    """Acquire the first free slot, as another container does."""
    gate = behind_gate.record.read()
    place = admit(gate, behind_gate.clock(), behind_gate.keys.version, "another caller")
    assert isinstance(place, Slot)
    assert behind_gate.record.acquire(place, gate)[0]


def crowd(behind_gate: GatedDouble, callers: int, answer: Any) -> tuple[list[str], list[Any]]:
    """Start this many calls, each while the earlier ones are in progress, and answer all of them alike.

    Returns the keys that were used, and the results of the callers.
    """
    results: list[Any] = []
    waiting = iter(range(callers))

    def others_come_first() -> Any:
        come()
        return answer

    def come() -> None:
        results.extend([container.ask(ORDER_ID, OrderProgress) for _ in waiting])

    supplier = Meanwhile(*[others_come_first] * callers)
    container = behind_gate.container(supplier)
    come()
    return supplier.presented, results


@pytest.mark.parametrize("callers", [1, 2, 10])
def test_unproven_key_is_presented_once(behind_gate: GatedDouble, callers: int):
    presented, results = crowd(behind_gate, callers, REFUSED)

    assert presented == [API_KEY]
    assert [failure.kind for failure in results] == [FailureKind.QUEUED] * (callers - 1) + [FailureKind.KEY_REFUSED]


def test_refused_key_is_used_only_by_calls_in_progress(behind_gate: GatedDouble):
    # Given an accepted key that the supplier refuses during many calls
    prove_the_key(behind_gate)
    presented, results = crowd(behind_gate, 10, REFUSED)

    # Then it was used three times: the supplier blocks an address after five refusals
    assert len(presented) == MAX_CONCURRENT_CALLS == 3
    assert [failure.kind for failure in results] == [FailureKind.QUEUED] * 7 + [FailureKind.KEY_REFUSED] * 3
    assert crowd(behind_gate, 5, HANDLING)[0] == []


def test_accepted_key_lets_three_calls_run_at_once(behind_gate: GatedDouble):
    assert len(crowd(behind_gate, 10, HANDLING)[0]) == 1

    assert len(crowd(behind_gate, 10, HANDLING)[0]) == 3


@each_closing_answer
def test_gate_is_blocked_before_the_slot_is_released(behind_gate: GatedDouble, kind: FailureKind):
    behind_gate.supplier.will(CLOSING[kind]())

    behind_gate.ask()

    assert behind_gate.steps == ["acquire", "acquire", "check_order", "block", "release"]


def test_one_caller_tries_the_key_when_the_block_ends(behind_gate: GatedDouble):
    prove_the_key(behind_gate)
    behind_gate.supplier.will(CLOSING[FailureKind.RATE_LIMITED]())
    behind_gate.ask()

    behind_gate.clock.advance(RATE_LIMIT_SECONDS)

    assert len(crowd(behind_gate, 10, HANDLING)[0]) == 1
    assert len(crowd(behind_gate, 10, HANDLING)[0]) == 3


def test_new_key_is_tried_by_one_caller(behind_gate: GatedDouble):
    prove_the_key(behind_gate)

    behind_gate.keys.rotate("version-2")

    assert len(crowd(behind_gate, 10, HANDLING)[0]) == 1
    assert behind_gate.record.read().accepted_version == "version-2"


def test_unanswered_calls_prove_no_key(behind_gate: GatedDouble):
    assert [len(crowd(behind_gate, 10, BUSY)[0]) for _ in range(2)] == [1, 1]

    assert behind_gate.record.read().accepted_version is None


@pytest.mark.parametrize("order_id", [".", ".."])
def test_order_id_that_is_never_sent_proves_no_key(behind_gate: GatedDouble, order_id: str):
    assert behind_gate.ask(order_id).kind is FailureKind.ORDER_UNKNOWN

    assert behind_gate.supplier.requests == []
    assert behind_gate.record.read().accepted_version is None


def test_answer_overtaken_by_a_refusal_proves_no_key(behind_gate: GatedDouble):
    # Given a call, and another one that is refused meanwhile
    def refused_meanwhile() -> OrderProgress:
        behind_gate.clock.advance(LEASE_SECONDS)
        assert other.ask("another", OrderProgress).kind is FailureKind.KEY_REFUSED
        return HANDLING

    other = behind_gate.container(Meanwhile(lambda: REFUSED))

    # When it is answered
    assert behind_gate.container(Meanwhile(refused_meanwhile)).ask(ORDER_ID, OrderProgress) is HANDLING

    # Then the key stays refused
    assert behind_gate.record.read().accepted_version is None
    assert behind_gate.ask().kind is FailureKind.GATE_CLOSED


@pytest.mark.parametrize("during", ["call", "closing", "acceptance"])
def test_slot_is_not_released_after_an_exception(behind_gate: GatedDouble, cloud: Cloud, during: str):
    def crash() -> Any:
        raise RuntimeError("made by the test")

    def update_fails(answer: Any) -> Callable[[], Any]:
        def fail() -> Any:
            cloud.at_next("UpdateItem", client_error("UpdateItem"))
            return answer

        return fail

    call = {"call": crash, "closing": update_fails(REFUSED), "acceptance": update_fails(HANDLING)}[during]
    with pytest.raises(Exception, match="made by the test"):
        behind_gate.container(Meanwhile(call)).ask(ORDER_ID, OrderProgress)

    assert "release" not in behind_gate.steps
    assert behind_gate.ask().kind is FailureKind.QUEUED


def test_slot_of_a_crashed_caller_is_free_after_its_lease(behind_gate: GatedDouble):
    # Given a caller that died with the only slot
    take_before(behind_gate)

    # When others call, then they queue until its lease ends
    behind_gate.clock.advance(LEASE_SECONDS - 1)
    assert behind_gate.ask().kind is FailureKind.QUEUED
    behind_gate.clock.advance(1)
    behind_gate.supplier.will(answered(PENDING))
    assert isinstance(behind_gate.ask(), OrderProgress)
    assert behind_gate.record.read().leases == {}


def test_caller_that_loses_a_slot_tries_the_next(behind_gate: GatedDouble, cloud: Cloud):
    prove_the_key(behind_gate)
    behind_gate.supplier.will(answered(PENDING))
    cloud.at_next("UpdateItem", lambda: take_before(behind_gate))

    assert isinstance(behind_gate.ask(), OrderProgress)

    assert behind_gate.steps == ["acquire", "acquire", "check_order", "release"]
    assert set(behind_gate.record.read().leases) == {1}


def test_uncontended_call_costs_two_writes_and_no_read(behind_gate: GatedDouble, cloud: Cloud):
    prove_the_key(behind_gate)
    behind_gate.supplier.will(answered(PENDING))
    before = len(cloud.sent("UpdateItem")), len(cloud.sent("GetItem"))

    behind_gate.ask()

    assert (len(cloud.sent("UpdateItem")) - before[0], len(cloud.sent("GetItem")) - before[1]) == (2, 0)


def all_slots_in_use(behind_gate: GatedDouble) -> list[Slot]:
    prove_the_key(behind_gate)
    taken = []
    for number in range(MAX_CONCURRENT_CALLS):
        seen = behind_gate.record.read()
        slot = admit(seen, behind_gate.clock(), behind_gate.keys.version, f"other caller {number}")
        assert isinstance(slot, Slot)
        assert behind_gate.record.acquire(slot, seen)[0]
        taken.append(slot)
    return taken


@pytest.mark.parametrize("slot_wait", [CHECK_SLOT_WAIT, DELIVERY_SLOT_WAIT], ids=["check", "delivery"])
def test_caller_looks_for_a_slot_until_one_is_released(behind_gate: GatedDouble, slot_wait: SlotWait):
    taken = all_slots_in_use(behind_gate)

    def one_is_released() -> None:
        if len(behind_gate.pauses) == 3:
            behind_gate.record.release(taken[1], is_answered=False)

    behind_gate.meanwhile = one_is_released
    answer = behind_gate.container(Meanwhile(lambda: HANDLING), slot_wait).ask(ORDER_ID, OrderProgress)

    assert answer is HANDLING
    assert len(behind_gate.pauses) == 3


@pytest.mark.parametrize("slot_wait", [CHECK_SLOT_WAIT, DELIVERY_SLOT_WAIT], ids=["check", "delivery"])
def test_caller_gives_up_when_its_wait_for_a_slot_ends(behind_gate: GatedDouble, slot_wait: SlotWait):
    all_slots_in_use(behind_gate)

    answer = behind_gate.container(Meanwhile(), slot_wait).ask(ORDER_ID, OrderProgress)

    assert answer.kind is FailureKind.QUEUED
    assert slot_wait.max_seconds <= sum(behind_gate.pauses) < slot_wait.max_seconds + 1


def test_caller_stops_looking_when_calls_are_blocked(behind_gate: GatedDouble):
    all_slots_in_use(behind_gate)
    behind_gate.meanwhile = lambda: behind_gate.record.block(
        Block(FailureKind.RATE_LIMITED, "429", behind_gate.clock(), None, behind_gate.clock() + timedelta(seconds=30))
    )

    answer = behind_gate.container(Meanwhile(), DELIVERY_SLOT_WAIT).ask(ORDER_ID, OrderProgress)

    assert answer.kind is FailureKind.GATE_CLOSED
    assert len(behind_gate.pauses) == 1


def test_caller_that_waits_for_a_slot_presents_the_newest_key(behind_gate: GatedDouble):
    taken = all_slots_in_use(behind_gate)
    supplier = Meanwhile(lambda: HANDLING)

    def key_is_replaced() -> None:
        behind_gate.keys.rotate("version-2", "another-key")
        for slot in taken:
            behind_gate.record.release(slot, is_answered=False)

    behind_gate.meanwhile = key_is_replaced
    assert behind_gate.container(supplier, CHECK_SLOT_WAIT).ask(ORDER_ID, OrderProgress) is HANDLING

    assert supplier.presented == ["another-key"]


def test_caller_that_loses_the_only_slot_queues(behind_gate: GatedDouble, cloud: Cloud):
    cloud.at_next("UpdateItem", lambda: take_before(behind_gate))

    assert behind_gate.ask().kind is FailureKind.QUEUED

    assert behind_gate.supplier.requests == []


def test_caller_that_loses_every_slot_queues(behind_gate: GatedDouble, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(behind_gate.record, "acquire", lambda _slot, seen: (False, seen))

    assert behind_gate.ask().kind is FailureKind.QUEUED

    assert behind_gate.steps == ["acquire"] * MAX_ACQUIRE_ATTEMPTS


@pytest.mark.parametrize("answer", [REFUSED, SupplierFailure(FailureKind.RATE_LIMITED, "m", 60)])
def test_gate_blocked_before_the_slot_prevents_the_call(
    behind_gate: GatedDouble, cloud: Cloud, answer: SupplierFailure
):
    prove_the_key(behind_gate)
    other = behind_gate.container(Meanwhile(lambda: answer))
    cloud.at_next("UpdateItem", lambda: other.ask("another", OrderProgress))

    assert behind_gate.ask().kind is FailureKind.GATE_CLOSED

    assert len(behind_gate.supplier.requests) == 1  # the call that proved the key


def test_key_replaced_during_a_call_readmits_no_refused_one(behind_gate: GatedDouble):
    # Given a call in progress with an accepted key, and a new key that is refused meanwhile
    prove_the_key(behind_gate)

    def new_key_is_refused() -> SupplierFailure:
        behind_gate.keys.rotate("version-2", f"{API_KEY}-2")
        assert newer.ask("another", OrderProgress).kind is FailureKind.KEY_REFUSED
        return REFUSED

    newer = behind_gate.container(Meanwhile(lambda: REFUSED))

    # When the old key is refused after it
    behind_gate.container(Meanwhile(new_key_is_refused)).ask(ORDER_ID, OrderProgress)

    # Then the new key is not used again
    assert behind_gate.ask().kind is FailureKind.GATE_CLOSED
    assert len(behind_gate.supplier.requests) == 1


# ----------------------------------------------- dead callers, refused orders

WRONG_KEY = [(200, "INVALID_ACCESS_TOKEN"), (400, "INVALID_ACCESS_TOKEN"), (403, "ERR_AUTH"), (200, "IP_BLOCKED")]
FORBIDDEN = SupplierFailure(FailureKind.ORDER_REFUSED, "The supplier answered 403 FORBIDDEN.", None, "FORBIDDEN", 403)


@pytest.mark.parametrize(("status", "code"), WRONG_KEY)
def test_code_about_key_or_address_blocks_at_any_status(behind_gate: GatedDouble, status: int, code: str):
    behind_gate.supplier.will(refused(status, code))

    results = [behind_gate.ask(f"order-{number}").kind for number in range(12)]

    assert len(behind_gate.supplier.requests) == 1
    assert set(results[1:]) == {FailureKind.GATE_CLOSED}


def die(behind_gate: GatedDouble) -> None:
    """Use the key in a container that dies before it records the answer."""

    def crash() -> Any:
        raise RuntimeError("made by the test")

    supplier = Meanwhile(crash)
    with pytest.raises(RuntimeError):
        behind_gate.container(supplier).ask(ORDER_ID, OrderProgress)


@pytest.mark.parametrize("is_known", [True, False], ids=["revoked", "new"])
def test_bad_key_is_presented_three_times_at_most(behind_gate: GatedDouble, is_known: bool):
    if is_known:
        prove_the_key(behind_gate)
    for _ in range(MAX_CONCURRENT_CALLS):
        die(behind_gate)
        behind_gate.clock.advance(LEASE_SECONDS)

    assert [behind_gate.ask().kind for _ in range(5)] == [FailureKind.GATE_CLOSED] * 5

    # After 15 minutes one caller tries, and an answer frees all slots
    behind_gate.clock.advance(BLOCK_SECONDS)
    assert len(crowd(behind_gate, 5, HANDLING)[0]) == 1
    assert behind_gate.record.read().leases == {}
    assert len(crowd(behind_gate, 5, HANDLING)[0]) == MAX_CONCURRENT_CALLS


def test_callers_that_die_of_other_causes_block_nothing(behind_gate: GatedDouble):
    prove_the_key(behind_gate)
    for _ in range(10):
        die(behind_gate)
        behind_gate.clock.advance(LEASE_SECONDS)
        behind_gate.supplier.will(answered(PENDING))
        assert isinstance(behind_gate.ask(), OrderProgress)

    assert behind_gate.record.read().leases == {}


def test_another_key_is_tried_after_all_slots_were_lost(behind_gate: GatedDouble):
    for _ in range(MAX_CONCURRENT_CALLS):
        die(behind_gate)
        behind_gate.clock.advance(LEASE_SECONDS)

    behind_gate.keys.rotate("version-2")
    behind_gate.supplier.will(answered(PENDING))

    assert isinstance(behind_gate.ask(), OrderProgress)


def test_lost_answer_to_a_lease_loses_no_slot(behind_gate: GatedDouble, cloud: Cloud):
    prove_the_key(behind_gate)
    cloud.at_next("UpdateItem", client_error("UpdateItem"), carried_out=True)

    with pytest.raises(Exception, match="made by the test"):
        behind_gate.ask()

    assert "check_order" not in behind_gate.steps
    assert behind_gate.record.read().leases == {}


def test_call_that_would_outlast_its_lease_is_not_made(behind_gate: GatedDouble, cloud: Cloud):
    prove_the_key(behind_gate)
    cloud.at_next("UpdateItem", lambda: behind_gate.clock.advance(START_SECONDS + 1))

    assert behind_gate.ask().kind is FailureKind.QUEUED

    assert "check_order" not in behind_gate.steps
    assert behind_gate.record.read().leases == {}


def test_permanently_refused_order_blocks_no_other(behind_gate: GatedDouble):
    for _ in range(20):
        behind_gate.supplier.will(refused(403, "ORDER_LOCKED"), *(answered(PENDING) for _ in range(3)))
        results = [behind_gate.ask("bad"), *(behind_gate.ask() for _ in range(3))]
        assert [getattr(answer, "kind", None) for answer in results] == [FailureKind.ORDER_REFUSED, None, None, None]
        behind_gate.clock.advance(60)

    assert behind_gate.blocks == []


def test_only_order_that_is_refused_blocks_nothing(behind_gate: GatedDouble):
    for _ in range(20):
        behind_gate.supplier.will(refused(403, "ORDER_LOCKED"))
        assert behind_gate.ask("bad").kind is FailureKind.ORDER_REFUSED
        behind_gate.clock.advance(60)

    assert behind_gate.blocks == []


def test_two_refused_orders_among_good_ones_block_nothing(behind_gate: GatedDouble):
    for _ in range(20):
        behind_gate.supplier.will(*(refused(403, "ORDER_LOCKED") for _ in range(2)), answered(PENDING))
        assert [behind_gate.ask(bad).kind for bad in ("bad", "worse")] == [FailureKind.ORDER_REFUSED] * 2
        assert isinstance(behind_gate.ask(), OrderProgress)
        behind_gate.clock.advance(60)

    assert behind_gate.blocks == []


def test_gate_is_blocked_when_every_order_is_refused(behind_gate: GatedDouble):
    # Given a supplier that refuses every order with an undocumented code
    prove_the_key(behind_gate)
    behind_gate.supplier.will(*(refused(403, "ACCOUNT_LOCKED") for _ in range(5)))
    first = [behind_gate.ask(order) for order in ("one", "two")]
    behind_gate.clock.advance(MIN_SUSPICION_SECONDS)

    # After half a minute the gate is blocked, and no order is held for it
    second = [behind_gate.ask(order) for order in ("two", "one")]
    kinds = [answer.kind for answer in (*first, *second)]
    assert kinds == [FailureKind.ORDER_REFUSED] * 2 + [FailureKind.ACCESS_DENIED, FailureKind.GATE_CLOSED]

    # After the pause, the next two refused orders block it again
    behind_gate.clock.advance(BLOCK_SECONDS)
    third = behind_gate.ask("three")
    behind_gate.clock.advance(MIN_SUSPICION_SECONDS)
    assert [third.kind, behind_gate.ask("four").kind, behind_gate.ask("three").kind] == [
        FailureKind.ORDER_REFUSED,
        FailureKind.ACCESS_DENIED,
        FailureKind.GATE_CLOSED,
    ]

    # Until an order is answered
    behind_gate.clock.advance(BLOCK_SECONDS)
    assert len(crowd(behind_gate, 5, HANDLING)[0]) == 1
    assert behind_gate.record.read().suspicion is None


def test_answer_during_the_second_refusal_prevents_a_block(behind_gate: GatedDouble):
    prove_the_key(behind_gate)
    behind_gate.supplier.will(refused(403, "ORDER_LOCKED"), answered(PENDING))
    behind_gate.ask("bad")
    behind_gate.clock.advance(MIN_SUSPICION_SECONDS)

    def another_is_answered() -> SupplierFailure:
        assert isinstance(behind_gate.ask(), OrderProgress)
        return FORBIDDEN

    second = behind_gate.container(Meanwhile(another_is_answered)).ask("worse", OrderProgress)

    assert second is FORBIDDEN
    assert behind_gate.record.read().pause is None


def test_orders_refused_with_another_status_block_nothing(behind_gate: GatedDouble):
    behind_gate.supplier.will(*(refused(status, "ORDER_GONE") for status in (410, 422, 410)))

    for order in ("one", "two", "three"):
        behind_gate.ask(order)
        behind_gate.clock.advance(MIN_SUSPICION_SECONDS)

    assert behind_gate.blocks == []
    assert behind_gate.record.read().suspicion is None


# ------------------------------------------------------- the key in its secret


@pytest.fixture
def secret(cloud: Cloud) -> ApiKeySource:
    return ApiKeySource(cloud.secret_arn, aws.secrets_manager())


def test_key_comes_with_the_version_of_its_secret(cloud: Cloud, secret: ApiKeySource):
    version = cloud.set_api_key()

    key = secret.read()

    assert key.value is not None
    assert (key.value.get_secret_value(), key.version) == (API_KEY, version)
    assert not leaks(key, repr(key))


def test_secret_without_a_value_is_no_key_and_no_version(secret: ApiKeySource):
    key = secret.read()

    assert (key.value, key.version) == (None, None)
    assert key.problem


def test_first_key_is_seen_at_once(cloud: Cloud, secret: ApiKeySource):
    assert secret.read().value is None

    version = cloud.set_api_key()

    assert secret.read().version == version


@pytest.mark.parametrize("value", [" ", "\n", "kéy", "two\nlines", "a\x00b", "tab\there"])
def test_value_unfit_for_a_header_is_no_key(cloud: Cloud, secret: ApiKeySource, value: str):
    version = cloud.set_api_key(value)

    key = secret.read()

    assert (key.value, key.version) == (None, version)
    assert key.problem


@pytest.mark.parametrize(
    "written",
    [
        "{}",
        "\ufeff{}",
        " {}\r\n",
        "\u00a0{}",
        '"{}"',
        "'{}'",
        '{{"apiKey": "{}"}}',
        '\ufeff {{"apiKey": " {}\\n"}}',
        '{{"apiKey": "{}", "rotated": 3, "on": null}}',
    ],
)
@pytest.mark.parametrize("is_binary", [False, True])
def test_key_is_read_from_json_quotes_and_whitespace(
    cloud: Cloud, secret: ApiKeySource, written: str, *, is_binary: bool
):
    cloud.set_api_key(written.format(API_KEY).encode() if is_binary else written.format(API_KEY))

    key = secret.read()

    assert key.value is not None
    assert (key.value.get_secret_value(), key.problem) == (API_KEY, "")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (f'{{"apiKey": "{API_KEY}", "other": "{MARK}"}}', "JSON with 2 string values"),
        (f'{{"{MARK}": {{"apiKey": "{API_KEY}"}}}}', "JSON with 0 string values"),
        ("{}", "JSON with 0 string values"),
        (f'["{API_KEY}"]', "JSON with 0 string values"),
        (f'{{"apiKey": "{API_KEY}"', "not valid JSON"),
        (f"{{apiKey: {API_KEY}}}", "not valid JSON"),
        (f'{{"a": "{{\\"apiKey\\": \\"{API_KEY}\\"}}"}}', "JSON nested in JSON"),
        ('{"apiKey": ""}', "empty"),
        ('""', "empty"),
        (b"\xff\xfe" + API_KEY.encode(), "binary"),
    ],
)
def test_secret_that_is_no_key_is_never_sent(cloud: Cloud, supplier: SupplierDouble, value: str | bytes, problem: str):
    cloud.set_api_key(value)

    failure = supplier_on(cloud, supplier, Clock()).ask(ORDER_ID, OrderProgress)

    assert isinstance(failure, SupplierFailure)
    assert failure.kind is FailureKind.KEY_MISSING
    assert problem in failure.message
    assert supplier.requests == []
    assert not leaks(failure.message)


def test_line_end_that_was_pasted_with_the_key_does_no_harm(cloud: Cloud, secret: ApiKeySource):
    cloud.set_api_key(f" {API_KEY}\n")

    key = secret.read()

    assert key.value is not None
    assert key.value.get_secret_value() == API_KEY


def test_secret_is_read_once_a_minute(cloud: Cloud, secret: ApiKeySource, monkeypatch: pytest.MonkeyPatch):
    # Given a key that has been read
    cloud.set_api_key()
    first = secret.read()
    second_version = cloud.set_api_key("another-key")
    assert secret.read() == first
    assert len(cloud.sent("GetSecretValue")) == 1

    # When the minute ends, then the rotated key is read
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=CACHE_SECONDS + 1)

    monkeypatch.setattr(parameters, "datetime", Later)
    assert secret.read().version == second_version


def test_unreadable_secret_is_an_error(cloud: Cloud, secret: ApiKeySource):
    cloud.set_api_key()
    cloud.at_next("GetSecretValue", client_error("GetSecretValue", "AccessDeniedException"))

    with pytest.raises(GetParameterError, match="AccessDenied"):
        secret.read()


def test_secret_that_could_not_be_read_is_read_again_at_once(cloud: Cloud, secret: ApiKeySource):
    cloud.set_api_key()
    cloud.at_next("GetSecretValue", client_error("GetSecretValue"))
    with pytest.raises(GetParameterError):
        secret.read()

    assert secret.read().value is not None


def test_order_refused_by_key_blocks_no_other(behind_gate: GatedDouble):
    for code in ("PROVIDER_API_ERROR", "GAME_TOKEN_UNAVAILABLE", "PLAYER_IP_REGION"):
        behind_gate.supplier.will(refused(422, code), answered(PENDING))
        assert behind_gate.ask("bad").kind is FailureKind.ORDER_REFUSED
        assert isinstance(behind_gate.ask(), OrderProgress)
        behind_gate.clock.advance(60)

    assert behind_gate.blocks == []


def test_order_refused_by_a_proxy_blocks_no_other(behind_gate: GatedDouble):
    for status in (403, 403, 401):
        behind_gate.supplier.will(httpx.Response(status, html="<html>"), answered(PENDING))
        assert behind_gate.ask("bad").kind is FailureKind.BUSY
        assert isinstance(behind_gate.ask(), OrderProgress)
        behind_gate.clock.advance(60)

    assert behind_gate.blocks == []


def test_refusals_ten_minutes_apart_are_unrelated(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(403, "ORDER_LOCKED"), refused(403, "ORDER_LOCKED"))
    kinds = [behind_gate.ask("bad").kind]
    behind_gate.clock.advance(MAX_SUSPICION_SECONDS + 1)
    kinds.append(behind_gate.ask("worse").kind)

    assert kinds == [FailureKind.ORDER_REFUSED] * 2
    assert behind_gate.blocks == []
    assert behind_gate.record.read().suspicion.order_id == "worse"


def test_key_that_a_proxy_may_have_refused_is_presented_twice(behind_gate: GatedDouble):
    prove_the_key(behind_gate)
    behind_gate.supplier.will(*(httpx.Response(401) for _ in range(2)))
    kinds = [behind_gate.ask(order).kind for order in ("one", "one", "two")]

    assert kinds == [FailureKind.BUSY, FailureKind.ACCESS_DENIED, FailureKind.GATE_CLOSED]

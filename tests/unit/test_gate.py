"""Which failure blocks the gate for all orders, for how long, and how many callers get a slot."""

import re
from datetime import datetime, timedelta

import pytest

from giftcards.adapters import aws
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.oneclickdz.supplier import TOTAL_TIMEOUT_SECONDS
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.supplier import OrderProgress
from giftcards.rules.gate import (
    BLOCK_SECONDS,
    LEASE_SECONDS,
    MAX_BUSY_PAUSE_SECONDS,
    MAX_CONCURRENT_CALLS,
    MAX_SUSPICION_SECONDS,
    MIN_SUSPICION_SECONDS,
    RATE_LIMIT_SECONDS,
    START_SECONDS,
    Block,
    Gate,
    Lease,
    Slot,
    Suspicion,
    accepts_key,
    admit,
    block_after,
    is_suspicious,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from support.cloud import Cloud
from support.examples import NOW
from support.supplier import order_data

CLOSES = {
    FailureKind.BUSY: True,
    FailureKind.RATE_LIMITED: True,
    FailureKind.KEY_MISSING: True,
    FailureKind.KEY_REFUSED: True,
    FailureKind.ADDRESS_BLOCKED: True,
    FailureKind.ACCESS_DENIED: True,
    FailureKind.GATE_CLOSED: False,
    FailureKind.QUEUED: False,
    FailureKind.ORDER_UNKNOWN: False,
    FailureKind.ORDER_REJECTED: False,
    FailureKind.CONTRACT_BROKEN: False,
    FailureKind.ORDER_REFUSED: False,
}
KEY_TROUBLE = [FailureKind.KEY_MISSING, FailureKind.KEY_REFUSED]
ADDRESS_TROUBLE = [FailureKind.ADDRESS_BLOCKED, FailureKind.ACCESS_DENIED]
TIMED = [FailureKind.BUSY, FailureKind.RATE_LIMITED, *ADDRESS_TROUBLE]
VERSION, ANOTHER = "version-1", "version-2"
OWNER = "caller-1"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def closed_by(
    kind: FailureKind, retry_after: float | None = None, key_version: str | None = VERSION, at: datetime = NOW
) -> Block:
    block = block_after(SupplierFailure(kind, "What happened.", retry_after), at, key_version)
    assert block is not None
    return block


def gate_of(block: Block) -> Gate:
    return Gate(refusal=block) if block.until is None else Gate(pause=block)


def seconds_closed(gate: Block | Gate, later: float = 0, key_version: str | None = VERSION) -> float | None:
    """Return for how long callers are blocked: 0 if only another key helps, None if not blocked."""
    admission = admit(gate if isinstance(gate, Gate) else gate_of(gate), after(later), key_version, OWNER)
    if isinstance(admission, Slot):
        return None
    assert admission.kind is FailureKind.GATE_CLOSED
    assert "What happened." in admission.message
    return admission.retry_after_seconds


# ------------------------------------------------------------------ blocking


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_kind_blocks_the_gate_or_not(kind: FailureKind):
    block = block_after(SupplierFailure(kind, "What happened.", 5), NOW, VERSION)

    assert (block is not None) == CLOSES[kind], "decide here what the new kind does"


def test_block_has_its_reason_time_and_key_version():
    block = closed_by(FailureKind.KEY_REFUSED)

    assert (block.reason, block.message, block.at) == (FailureKind.KEY_REFUSED, "What happened.", NOW)
    assert block.key_version == VERSION


@pytest.mark.parametrize("retry_after", [1, 42.5, 86_400, 99_999_999])
def test_rate_limit_blocks_the_gate_for_the_retry_after(retry_after: float):
    assert seconds_closed(closed_by(FailureKind.RATE_LIMITED, retry_after)) == retry_after


@pytest.mark.parametrize(("retry_after", "paused"), [(20, 20), (86_400, MAX_BUSY_PAUSE_SECONDS)])
def test_retry_after_about_one_order_blocks_a_minute_at_most(retry_after: float, paused: float):
    assert seconds_closed(closed_by(FailureKind.BUSY, retry_after)) == paused


@pytest.mark.parametrize("retry_after", [None, 0])
def test_rate_limit_without_retry_after_blocks_for_the_default(retry_after: float | None):
    assert seconds_closed(closed_by(FailureKind.RATE_LIMITED, retry_after)) == RATE_LIMIT_SECONDS


@pytest.mark.parametrize("retry_after", [None, 0])
def test_busy_supplier_without_retry_after_blocks_nothing(retry_after: float | None):
    assert block_after(SupplierFailure(FailureKind.BUSY, "What happened.", retry_after), NOW, VERSION) is None


@pytest.mark.parametrize("kind", ADDRESS_TROUBLE)
def test_blocked_address_blocks_for_at_least_15_minutes(kind: FailureKind):
    assert BLOCK_SECONDS == 15 * 60
    assert seconds_closed(closed_by(kind)) == BLOCK_SECONDS
    assert seconds_closed(closed_by(kind, retry_after=60)) == BLOCK_SECONDS
    assert seconds_closed(closed_by(kind, retry_after=3_600)) == 3_600


@pytest.mark.parametrize("kind", TIMED)
def test_timed_block_ends_automatically(kind: FailureKind):
    block = closed_by(kind, retry_after=1_000)
    seconds = MAX_BUSY_PAUSE_SECONDS if kind is FailureKind.BUSY else 1_000

    assert seconds_closed(block, later=seconds - 0.5) == 0.5
    assert seconds_closed(block, later=seconds) is None
    assert seconds_closed(block, later=5_000) is None


@pytest.mark.parametrize("kind", TIMED)
def test_another_key_does_not_open_a_gate_with_a_time(kind: FailureKind):
    assert seconds_closed(closed_by(kind, retry_after=1_000), key_version=ANOTHER) is not None


@pytest.mark.parametrize("kind", KEY_TROUBLE)
@pytest.mark.parametrize("version", [VERSION, None])
def test_gate_stays_blocked_for_a_refused_key(kind: FailureKind, version: str | None):
    block = closed_by(kind, key_version=version)

    assert block.until is None
    assert seconds_closed(block, later=10 * 365 * 86_400, key_version=version) == 0


@pytest.mark.parametrize("kind", KEY_TROUBLE)
def test_another_key_version_unblocks_the_gate_at_once(kind: FailureKind):
    assert seconds_closed(closed_by(kind), key_version=ANOTHER) is None
    assert seconds_closed(closed_by(kind, key_version=None)) is None


@pytest.mark.parametrize("kind", KEY_TROUBLE)
def test_retry_after_does_not_open_a_gate_closed_by_a_key(kind: FailureKind):
    assert seconds_closed(closed_by(kind, retry_after=5), later=10) == 0


# --------------------------------------------------------------------- slots


def gate_with(*seconds_left: float | None, accepted: str | None = VERSION, version: str | None = VERSION) -> Gate:
    """Return a gate whose slots are leased for these seconds, or free where None."""
    leases = {
        number: Lease(after(left), f"caller-{number}", version)
        for number, left in enumerate(seconds_left, start=1)
        if left is not None
    }
    return Gate(accepted_version=accepted, leases=leases)


def number_of(gate: Gate, key_version: str | None = VERSION) -> int | None:
    """Return the number of the slot that a caller gets, or None if it queues."""
    slot = admit(gate, NOW, key_version, OWNER)
    if isinstance(slot, Slot):
        return slot.number
    assert (slot.kind, slot.retry_after_seconds) == (FailureKind.QUEUED, None)
    return None


def test_caller_gets_the_first_free_slot():
    lease = Lease(after(LEASE_SECONDS), OWNER, VERSION)

    assert admit(gate_with(10, None), NOW, VERSION, OWNER) == Slot(2, lease, alone=False)


def test_accepted_key_allows_three_calls_and_queues_the_fourth():
    taken = [number_of(gate_with(*[10] * count)) for count in range(5)]

    assert MAX_CONCURRENT_CALLS == 3, "the supplier blocks the address after five refusals"
    assert taken == [1, 2, 3, None, None]


@pytest.mark.parametrize("accepted", [None, ANOTHER])
@pytest.mark.parametrize("taken", range(MAX_CONCURRENT_CALLS))
def test_unproven_key_is_tried_by_one_caller(accepted: str | None, taken: int):
    left: list[float | None] = [None] * MAX_CONCURRENT_CALLS
    assert number_of(gate_with(*left, accepted=accepted)) == 1

    left[taken] = 10
    assert number_of(gate_with(*left, accepted=accepted)) is None


def test_new_key_is_tried_beside_calls_with_the_old_one():
    assert number_of(gate_with(10, None, 10), key_version=ANOTHER) == 2


def test_no_key_is_never_an_accepted_one():
    assert Gate().slots(NOW, None) == 1


# ------------------------------------------------ calls with an unknown answer


@pytest.mark.parametrize(("left", "number"), [(0.001, None), (0, 2), (-1, 2)])
def test_slot_of_a_dead_caller_is_lost_to_its_key(left: float, number: int | None):
    gate = gate_with(left, accepted=None)

    assert number_of(gate) == number
    assert gate.is_tried_alone(NOW, VERSION)


def test_key_is_unproven_again_after_an_unknown_answer():
    gate = gate_with(-1)

    assert (gate.slots(NOW, VERSION), gate_with(1).slots(NOW, VERSION)) == (1, MAX_CONCURRENT_CALLS)
    assert number_of(gate_with(-1, 10)) is None


def test_slot_lost_to_another_key_is_free():
    assert number_of(gate_with(-1, version=ANOTHER)) == 1


def test_expired_lease_of_an_earlier_release_is_lost():
    gate = Gate(accepted_version=VERSION, leases={1: Lease(after(-1))})

    assert [number_of(gate, version) for version in (VERSION, ANOTHER)] == [2, 2]


def test_key_that_lost_every_slot_waits_15_minutes():
    gate = gate_with(-30, -20, -10)

    assert gate.block(NOW, ANOTHER) is None, "another key may be tried at once"
    block = gate.block(NOW, VERSION)
    assert block is not None
    assert (block.reason, block.is_pause) == (FailureKind.BUSY, True)
    admission = admit(gate, NOW, VERSION, OWNER)
    assert isinstance(admission, SupplierFailure)
    assert (admission.kind, admission.retry_after_seconds) == (FailureKind.GATE_CLOSED, BLOCK_SECONDS - 10)
    slot = admit(gate, after(BLOCK_SECONDS - 10), VERSION, OWNER)
    assert isinstance(slot, Slot)
    assert (slot.number, slot.alone) == (1, True)


def test_latest_possible_call_ends_before_its_lease():
    slot = admit(Gate(), NOW, VERSION, OWNER)

    assert isinstance(slot, Slot)
    assert slot.start_by == after(START_SECONDS)
    assert START_SECONDS + TOTAL_TIMEOUT_SECONDS < LEASE_SECONDS


def test_lease_is_written_in_time_despite_all_retries():
    attempts = aws.CONFIG.retries["total_max_attempts"]  # type: ignore[index, attr-defined]
    seconds = aws.CONFIG.connect_timeout + aws.CONFIG.read_timeout  # type: ignore[attr-defined]

    assert attempts * seconds < START_SECONDS


def test_blocked_gate_gives_no_slot():
    gate = Gate(pause=closed_by(FailureKind.RATE_LIMITED, 5), accepted_version=VERSION)

    assert seconds_closed(gate) == 5


@pytest.mark.parametrize("kind", FailureKind)
def test_no_failure_proves_a_key(kind: FailureKind):
    assert not accepts_key(SupplierFailure(kind, "What happened."))


def test_answer_about_the_order_shows_that_the_key_is_accepted():
    assert accepts_key(OrderProgress.model_validate(order_data("HANDLING")))


# -------------------------------------------------------------------- record


@pytest.fixture
def record(cloud: Cloud) -> GateTable:
    return GateTable(cloud.gate_table, aws.dynamodb())


def test_gate_is_read_as_it_is_now_and_not_as_it_was(cloud: Cloud, record: GateTable):
    record.read()

    assert [read["ConsistentRead"] for read in cloud.sent("GetItem")] == [True]


def accepted(record: GateTable, version: str = VERSION) -> Gate:
    record.accept(version, record.read(), {})
    return record.read()


def acquire(
    record: GateTable, seen: Gate | None = None, now: datetime = NOW, owner: str = OWNER, version: str = VERSION
) -> tuple[Slot, bool]:
    seen = seen or record.read()
    slot = admit(seen, now, version, owner)
    assert isinstance(slot, Slot)
    return slot, record.acquire(slot, seen)[0]


def release(record: GateTable, slot: Slot) -> None:
    record.release(slot, is_answered=False)


def test_gate_that_was_never_passed_nor_closed_has_no_record(record: GateTable):
    assert record.read() == Gate()


@pytest.mark.parametrize("kind", sorted(kind for kind, closes in CLOSES.items() if closes))
@pytest.mark.parametrize("version", [VERSION, None])
def test_block_is_read_as_it_was_written(record: GateTable, kind: FailureKind, version: str | None):
    block = closed_by(kind, retry_after=42.5, key_version=version)

    record.block(block)

    gate = record.read()
    assert (gate.refusal or gate.pause) == block
    assert gate.closings == 1


def test_gate_is_one_record(cloud: Cloud, record: GateTable):
    acquire(record)
    accepted(record)
    record.block(closed_by(FailureKind.RATE_LIMITED, retry_after=60))
    record.block(closed_by(FailureKind.KEY_REFUSED))

    (row,) = cloud.rows(cloud.gate_table)
    assert (row["pk"], row["sk"]) == ("SUPPLIER#oneclickdz", "GATE")


@pytest.mark.parametrize("order", [1, -1])
def test_refused_key_and_pause_are_kept_side_by_side(record: GateTable, order: int):
    refusal, pause = closed_by(FailureKind.KEY_REFUSED), closed_by(FailureKind.ADDRESS_BLOCKED)

    for block in [refusal, pause][::order]:
        record.block(block)

    gate = record.read()
    assert (gate.refusal, gate.pause) == (refusal, pause)
    assert seconds_closed(gate, later=BLOCK_SECONDS) == 0, "time must not open what a refused key has closed"
    assert seconds_closed(gate, key_version=ANOTHER) == BLOCK_SECONDS, "a key must not open what waits for time"
    assert seconds_closed(gate, later=BLOCK_SECONDS, key_version=ANOTHER) is None


def test_short_pause_does_not_replace_a_long_one(record: GateTable):
    long = closed_by(FailureKind.ADDRESS_BLOCKED)
    record.block(long)

    record.block(closed_by(FailureKind.RATE_LIMITED, retry_after=5))

    assert record.read().pause == long


@pytest.mark.parametrize("earlier", [closed_by(FailureKind.RATE_LIMITED, 1), closed_by(FailureKind.RATE_LIMITED, 59)])
def test_pause_that_ends_earlier_is_replaced(record: GateTable, earlier: Block):
    record.block(earlier)
    longer = closed_by(FailureKind.RATE_LIMITED, retry_after=60)

    record.block(longer)

    assert record.read().pause == longer


@pytest.mark.parametrize("earlier", [ANOTHER, None])
def test_refusal_of_the_key_in_use_replaces_an_earlier_one(record: GateTable, earlier: str | None):
    record.block(closed_by(FailureKind.KEY_REFUSED, key_version=earlier))
    refusal = closed_by(FailureKind.KEY_REFUSED)

    record.block(refusal)

    assert record.read().refusal == refusal


def test_late_answer_to_an_old_key_unblocks_no_new_one(record: GateTable):
    # Given a call with an old key that is in progress when the new key is refused
    record.block(closed_by(FailureKind.KEY_REFUSED, key_version=ANOTHER))

    # When it is refused, too
    record.block(closed_by(FailureKind.KEY_REFUSED, key_version=VERSION))

    # Then both keys stay refused, and a third can be tried
    gate = record.read()
    assert seconds_closed(gate, key_version=VERSION) == seconds_closed(gate, key_version=ANOTHER) == 0
    assert seconds_closed(gate, key_version="version-3") is None


def test_pause_ended_by_an_operator_lets_one_caller_try(record: GateTable):
    record.block(closed_by(FailureKind.RATE_LIMITED, retry_after=30 * 86_400))

    assert record.forget_pause(record.read(), {})

    gate = record.read()
    assert (gate.pause, seconds_closed(gate), gate.slots(NOW, VERSION)) == (None, None, 1)


def test_ending_a_pause_keeps_the_refused_key(record: GateTable):
    refusal = closed_by(FailureKind.KEY_REFUSED)
    record.block(refusal)
    record.block(closed_by(FailureKind.ADDRESS_BLOCKED))

    record.forget_pause(record.read(), {})

    gate = record.read()
    assert (gate.refusal, gate.refused_versions, seconds_closed(gate)) == (refusal, {VERSION}, 0)


def test_unseen_pause_is_not_ended(record: GateTable):
    record.block(closed_by(FailureKind.RATE_LIMITED, retry_after=60))
    seen = record.read()
    longer = closed_by(FailureKind.ADDRESS_BLOCKED)
    record.block(longer)

    assert not record.forget_pause(seen, {})
    assert record.read().pause == longer


@pytest.mark.parametrize("kind", [FailureKind.KEY_REFUSED, FailureKind.RATE_LIMITED])
def test_closing_takes_away_the_proof_of_the_key(record: GateTable, kind: FailureKind):
    assert accepted(record).accepted_version == VERSION

    record.block(closed_by(kind))

    assert record.read().accepted_version is None


def test_slot_is_acquired_and_released(record: GateTable):
    slot, is_taken = acquire(record)
    assert is_taken
    gate = record.read()
    assert gate.leases == {1: Lease(after(LEASE_SECONDS), OWNER, VERSION)}
    assert gate.presented_version == VERSION

    release(record, slot)

    assert record.read().leases == {}


def test_three_callers_release_their_own_slots(record: GateTable):
    accepted(record)
    slots = [acquire(record)[0] for _ in range(MAX_CONCURRENT_CALLS)]
    assert set(record.read().leases) == {1, 2, 3}

    release(record, slots[1])

    assert set(record.read().leases) == {1, 3}


@pytest.mark.parametrize("version", [VERSION, ANOTHER])
@pytest.mark.parametrize("is_known", [True, False], ids=["accepted key", "new key"])
def test_one_of_two_rival_callers_gets_the_slot(record: GateTable, version: str, is_known: bool):
    acquire(record, now=after(-1 - LEASE_SECONDS), version=version)  # by a dead caller, with this or another key
    if is_known:
        accepted(record)
    seen = record.read()

    first, second = acquire(record, seen), acquire(record, seen, after(1), "caller-2")

    assert (first[0].number, first[1]) == (second[0].number, True)
    assert not second[1]
    assert record.read().leases[first[0].number] == first[0].lease


def test_new_key_gets_no_slot_if_the_record_changed(record: GateTable):
    seen = record.read()
    record.acquire(Slot(3, Lease(after(LEASE_SECONDS), "caller-3", VERSION), alone=True), seen)

    slot, is_taken = acquire(record, seen)

    assert (slot.number, is_taken) == (1, False)


def test_accepted_key_gets_a_slot_despite_changes_at_others(record: GateTable):
    seen = accepted(record)
    record.acquire(Slot(3, Lease(after(LEASE_SECONDS), "caller-3", VERSION), alone=False), seen)

    assert acquire(record, seen)[1]


def test_slot_taken_over_is_not_released_by_its_loser(record: GateTable):
    lost, _ = acquire(record)
    later = after(LEASE_SECONDS)
    slot, _ = acquire(record, now=later, owner="caller-2", version=ANOTHER)
    assert slot.number == lost.number

    release(record, lost)

    assert record.read().leases == {1: slot.lease}


def test_repeated_release_frees_no_other_callers_slot(record: GateTable):
    first, _ = acquire(record)
    release(record, first)
    second, _ = acquire(record, owner="caller-2")
    assert (first.number, first.lease.until) == (second.number, second.lease.until)

    release(record, first)

    assert record.read().leases == {1: second.lease}


def test_times_are_kept_to_the_millisecond_and_still_recognised(record: GateTable):
    slot, is_taken = acquire(record, now=NOW.replace(microsecond=123_987))
    assert is_taken

    release(record, slot)

    assert record.read().leases == {}


def test_answer_frees_slots_lost_to_unknown_answers(record: GateTable):
    dead = [acquire(record, now=after(-LEASE_SECONDS * times))[0].number for times in (3, 2)]
    seen = record.read()
    assert (dead, set(seen.lost(NOW, VERSION))) == ([1, 2], {1, 2})
    slot, _ = acquire(record, seen)

    record.accept(VERSION, seen, seen.lost(NOW, VERSION))

    assert record.read().leases == {slot.number: slot.lease}


def test_answer_frees_no_slot_acquired_meanwhile(record: GateTable):
    acquire(record, now=after(-LEASE_SECONDS))
    seen = record.read()
    slot, _ = acquire(record, owner="caller-2", version=ANOTHER)
    assert slot.number == 1

    record.accept(VERSION, seen, seen.lost(NOW, VERSION))

    assert record.read().leases == {1: slot.lease}


def test_operator_who_unblocks_the_gate_frees_lost_slots(record: GateTable):
    for times in (5, 4, 3):
        acquire(record, now=after(-LEASE_SECONDS * times))
    seen = record.read()
    assert seen.block(NOW, VERSION) is not None

    assert record.forget_pause(seen, seen.lost(NOW, VERSION))

    assert (record.read().leases, record.read().block(NOW, VERSION)) == ({}, None)


# ------------------------------------------------ a lease of an earlier release


def taken_by_an_earlier_release(cloud: Cloud, record: GateTable, until: datetime) -> None:
    row = next(iter(cloud.rows(cloud.gate_table)), {"pk": "SUPPLIER#oneclickdz", "sk": "GATE"})
    cloud.put(cloud.gate_table, row | {"lease1": timestamp(until)})


def test_slot_of_an_earlier_release_counts_as_taken(cloud: Cloud, record: GateTable):
    accepted(record)
    taken_by_an_earlier_release(cloud, record, after(10))

    assert record.read().leases == {1: Lease(after(10))}
    assert acquire(record)[0].number == 2


def test_slot_taken_over_by_an_earlier_release_is_kept(cloud: Cloud, record: GateTable):
    slot, _ = acquire(record)
    taken_by_an_earlier_release(cloud, record, after(LEASE_SECONDS + 10))

    release(record, slot)

    assert record.read().leases == {1: Lease(after(LEASE_SECONDS + 10))}


def test_answer_frees_an_expired_lease_of_an_earlier_release(cloud: Cloud, record: GateTable):
    taken_by_an_earlier_release(cloud, record, after(-1))
    seen = record.read()

    record.accept(VERSION, seen, seen.lost(NOW, VERSION))

    assert record.read().leases == {}


# -------------------------------------------------------------- suspicion

FORBIDDEN = SupplierFailure(FailureKind.ORDER_REFUSED, "The supplier answered 403 FORBIDDEN.", None, "FORBIDDEN", 403)
SUSPICION = Suspicion("order-1", "FORBIDDEN", NOW)


@pytest.mark.parametrize("status", [200, 403, 404, 410, 422, None])
@pytest.mark.parametrize("kind", FailureKind)
def test_only_a_refused_order_raises_a_suspicion(kind: FailureKind, status: int | None):
    failure = SupplierFailure(kind, "What happened.", None, "CODE", status)
    naming_access = SupplierFailure(kind, "What happened.", None, "PROVIDER_API_ERROR", status)

    assert is_suspicious(failure) == (kind is FailureKind.ORDER_REFUSED and status == 403)
    assert is_suspicious(naming_access) == (kind is FailureKind.ORDER_REFUSED)


@pytest.mark.parametrize(("status", "is_denied"), [(401, True), (403, True), (404, False), (503, False), (None, False)])
def test_refusal_without_an_envelope_raises_a_suspicion(status: int | None, is_denied: bool):
    assert is_suspicious(SupplierFailure(FailureKind.BUSY, "What happened.", None, None, status)) == is_denied


@pytest.mark.parametrize("order_id", ["order-1", "order-2"])
def test_second_401_confirms_a_suspicion_at_once(order_id: str):
    page = SupplierFailure(FailureKind.BUSY, "The supplier answered 401 without its envelope.", None, None, 401)

    assert SUSPICION.confirmed_by(page, order_id, NOW) is not None


@pytest.mark.parametrize(("order_id", "is_confirmed"), [("order-1", False), ("order-2", True)])
def test_second_order_refused_by_key_confirms_a_suspicion(order_id: str, is_confirmed: bool):
    refused = SupplierFailure(FailureKind.ORDER_REFUSED, "What happened.", None, "INVALID_API_KEY", 400)

    assert (SUSPICION.confirmed_by(refused, order_id, NOW) is not None) == is_confirmed


def test_suspicion_that_is_too_old_is_replaced(record: GateTable):
    later = Suspicion("order-2", "OTHER", after(MAX_SUSPICION_SECONDS + 1))
    assert not SUSPICION.is_over(after(MAX_SUSPICION_SECONDS))
    assert SUSPICION.is_over(later.at)
    record.suspect(SUSPICION)

    record.suspect(later, instead_of=SUSPICION)

    assert record.read().suspicion == later


def test_replaced_suspicion_is_not_replaced_again(record: GateTable):
    record.suspect(Suspicion("order-3", "OTHER", after(1)))

    record.suspect(Suspicion("order-2", "OTHER", after(2)), instead_of=SUSPICION)

    assert record.read().suspicion == Suspicion("order-3", "OTHER", after(1))


@pytest.mark.parametrize(
    ("order_id", "later", "is_confirmed"),
    [
        ("order-2", MIN_SUSPICION_SECONDS, True),
        ("order-2", MIN_SUSPICION_SECONDS - 0.001, False),
        ("order-1", MIN_SUSPICION_SECONDS, False),
        ("order-1", 86_400, False),
    ],
)
def test_second_order_refused_long_enough_confirms_a_suspicion(order_id: str, later: float, is_confirmed: bool):
    denied = SUSPICION.confirmed_by(FORBIDDEN, order_id, after(later))

    assert (denied is not None) == is_confirmed
    if denied is not None:
        assert (denied.kind, denied.code) == (FailureKind.ACCESS_DENIED, "FORBIDDEN")
        assert {"order-1", "order-2", "FORBIDDEN"} <= set(re.findall(r"[\w-]+", denied.message))


def test_later_refused_order_does_not_replace_the_suspicion(record: GateTable):
    record.suspect(SUSPICION)
    record.suspect(Suspicion("order-2", "OTHER", after(1)))

    assert record.read().suspicion == SUSPICION


@pytest.mark.parametrize("is_answered", [True, False])
def test_slot_released_after_an_answer_ends_the_suspicion(record: GateTable, is_answered: bool):
    slot, _ = acquire(record)
    record.suspect(SUSPICION)

    record.release(slot, is_answered=is_answered)

    assert record.read().suspicion == (None if is_answered else SUSPICION)


@pytest.mark.parametrize("now", [None, Suspicion("order-1", "FORBIDDEN", after(1))])
def test_suspicion_ended_by_an_answer_blocks_nothing(record: GateTable, now: Suspicion | None):
    if now is not None:
        record.suspect(now)

    assert not record.block(closed_by(FailureKind.ACCESS_DENIED), confirmed=SUSPICION)
    assert record.read().pause is None


def test_suspicion_ends_with_the_pause_that_follows_from_it(record: GateTable):
    record.suspect(SUSPICION)

    assert record.block(closed_by(FailureKind.ACCESS_DENIED), confirmed=SUSPICION)

    assert (record.read().pause, record.read().suspicion) == (closed_by(FailureKind.ACCESS_DENIED), None)


def test_operator_who_ends_a_pause_ends_the_suspicion(record: GateTable):
    record.block(closed_by(FailureKind.RATE_LIMITED))
    record.suspect(SUSPICION)

    assert record.forget_pause(record.read(), {})
    assert record.read().suspicion is None


# ----------------------------------------------------------- blocked meanwhile


@pytest.mark.parametrize("kind", [FailureKind.KEY_REFUSED, FailureKind.RATE_LIMITED])
def test_no_slot_when_the_gate_was_blocked_meanwhile(record: GateTable, kind: FailureKind):
    seen = accepted(record)
    record.block(closed_by(kind))

    assert not acquire(record, seen)[1]


@pytest.mark.parametrize("kind", [FailureKind.KEY_REFUSED, FailureKind.RATE_LIMITED])
def test_no_slot_when_blocked_again_in_the_same_millisecond(record: GateTable, kind: FailureKind):
    record.block(closed_by(kind, retry_after=1, key_version=ANOTHER))
    seen = record.read()
    record.block(closed_by(kind, retry_after=2))

    assert not acquire(record, seen, after(1))[1]


def test_key_is_not_accepted_when_blocked_since_the_call(record: GateTable):
    seen = record.read()
    record.block(closed_by(FailureKind.KEY_REFUSED))

    record.accept(VERSION, seen, {})

    assert record.read().accepted_version is None


def test_unchanged_pause_costs_no_caller_its_slot(record: GateTable):
    record.block(closed_by(FailureKind.RATE_LIMITED, retry_after=60))
    seen = record.read()
    record.block(closed_by(FailureKind.RATE_LIMITED, retry_after=5))

    assert acquire(record, seen, after(60))[1]


FORMER = {
    "pk": "SUPPLIER#oneclickdz",
    "sk": "GATE",
    "reason": "RATE_LIMITED",
    "message": "The supplier answered 429 RATE_LIMIT_EXCEEDED.",
    "closed_at": "2026-03-14T09:26:53Z",
    "key_version": VERSION,
    "until": "2026-03-14T09:36:53Z",
}


@pytest.mark.parametrize("former", [FORMER, {name: FORMER[name] for name in FORMER if name != "until"}])
def test_record_of_the_former_format_is_an_unblocked_gate(cloud: Cloud, record: GateTable, former: dict[str, str]):
    cloud.put(cloud.gate_table, former)

    assert record.read() == Gate()
    slot, is_taken = acquire(record)
    assert is_taken
    assert accepted(record).accepted_version == VERSION
    record.block(closed_by(FailureKind.KEY_REFUSED))
    record.block(closed_by(FailureKind.RATE_LIMITED))
    release(record, slot)

    gate = record.read()
    assert (gate.refusal, gate.pause, gate.leases, gate.closings) == (
        closed_by(FailureKind.KEY_REFUSED),
        closed_by(FailureKind.RATE_LIMITED),
        {},
        2,
    )

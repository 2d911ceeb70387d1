"""Which trouble closes the gate for all orders, and when it opens."""

from datetime import timedelta

import pytest

from giftcards.adapters import aws
from giftcards.adapters.gate_table import GateTable
from giftcards.rules.gate import BLOCK_SECONDS, RATE_LIMIT_SECONDS, Gate, gate_after
from giftcards.rules.trouble import Trouble, TroubleKind
from unit.fakes import NOW, Cloud

CLOSES = {
    TroubleKind.BUSY: False,
    TroubleKind.RATE_LIMITED: True,
    TroubleKind.KEY_MISSING: True,
    TroubleKind.KEY_REFUSED: True,
    TroubleKind.ADDRESS_BLOCKED: True,
    TroubleKind.ACCESS_DENIED: True,
    TroubleKind.GATE_CLOSED: False,
    TroubleKind.ORDER_UNKNOWN: False,
    TroubleKind.ORDER_REJECTED: False,
    TroubleKind.CONTRACT_BROKEN: False,
}
KEY_TROUBLE = [TroubleKind.KEY_MISSING, TroubleKind.KEY_REFUSED]
ADDRESS_TROUBLE = [TroubleKind.ADDRESS_BLOCKED, TroubleKind.ACCESS_DENIED]


def closed_by(kind: TroubleKind, retry_after: float | None = None, key_version: str | None = "version-1") -> Gate:
    gate = gate_after(Trouble(kind, "What happened.", retry_after), NOW, key_version)
    assert gate is not None
    return gate


def seconds_closed(gate: Gate, after: float = 0, key_version: str | None = "version-1") -> float | None:
    return gate.seconds_closed(NOW + timedelta(seconds=after), key_version)


@pytest.mark.parametrize("kind", TroubleKind)
def test_every_kind_of_trouble_closes_the_gate_or_does_not(kind: TroubleKind):
    gate = gate_after(Trouble(kind, "What happened.", 5), NOW, "version-1")

    assert (gate is not None) == CLOSES[kind], "a new kind of trouble has to be decided here"


def test_gate_says_what_closed_it_and_when_and_with_which_key():
    gate = closed_by(TroubleKind.KEY_REFUSED)

    assert (gate.reason, gate.message, gate.closed_at) == (TroubleKind.KEY_REFUSED, "What happened.", NOW)
    assert gate.key_version == "version-1"


@pytest.mark.parametrize("retry_after", [1, 42.5, 86_400, 99_999_999])
def test_rate_limit_closes_the_gate_for_as_long_as_the_supplier_says(retry_after: float):
    assert seconds_closed(closed_by(TroubleKind.RATE_LIMITED, retry_after)) == retry_after


def test_rate_limit_without_a_time_closes_the_gate_for_a_time_of_our_own():
    assert seconds_closed(closed_by(TroubleKind.RATE_LIMITED)) == RATE_LIMIT_SECONDS


def test_rate_limit_that_is_over_already_leaves_the_gate_open():
    assert seconds_closed(closed_by(TroubleKind.RATE_LIMITED, 0)) is None


@pytest.mark.parametrize("kind", ADDRESS_TROUBLE)
def test_block_closes_the_gate_for_15_minutes_or_longer_where_the_supplier_says_so(kind: TroubleKind):
    assert BLOCK_SECONDS == 15 * 60
    assert seconds_closed(closed_by(kind)) == BLOCK_SECONDS
    assert seconds_closed(closed_by(kind, retry_after=60)) == BLOCK_SECONDS
    assert seconds_closed(closed_by(kind, retry_after=3_600)) == 3_600


@pytest.mark.parametrize("kind", [TroubleKind.RATE_LIMITED, *ADDRESS_TROUBLE])
def test_gate_with_a_time_counts_down_and_opens_by_itself(kind: TroubleKind):
    gate = closed_by(kind, retry_after=1_000)

    assert seconds_closed(gate, after=999.5) == 0.5
    assert seconds_closed(gate, after=1_000) is None
    assert seconds_closed(gate, after=5_000) is None


@pytest.mark.parametrize("kind", [TroubleKind.RATE_LIMITED, *ADDRESS_TROUBLE])
def test_another_key_does_not_open_a_gate_with_a_time(kind: TroubleKind):
    assert seconds_closed(closed_by(kind, retry_after=1_000), key_version="version-2") == 1_000


@pytest.mark.parametrize("kind", KEY_TROUBLE)
@pytest.mark.parametrize("version", ["version-1", None])
def test_gate_closed_by_a_key_stays_closed_for_that_key_however_long(kind: TroubleKind, version: str | None):
    gate = closed_by(kind, key_version=version)

    assert gate.until is None
    assert seconds_closed(gate, after=10 * 365 * 86_400, key_version=version) == 0


@pytest.mark.parametrize("kind", KEY_TROUBLE)
def test_gate_closed_by_a_key_opens_at_once_with_another_version_of_it(kind: TroubleKind):
    assert seconds_closed(closed_by(kind), key_version="version-2") is None
    assert seconds_closed(closed_by(kind, key_version=None), key_version="version-1") is None


@pytest.mark.parametrize("kind", KEY_TROUBLE)
def test_retry_after_does_not_open_a_gate_closed_by_a_key(kind: TroubleKind):
    assert seconds_closed(closed_by(kind, retry_after=5), after=10) == 0


# -------------------------------------------------------------------- record


@pytest.fixture
def record(cloud: Cloud) -> GateTable:
    return GateTable(cloud.gate_table, aws.dynamodb())


def test_gate_that_was_never_closed_has_no_record(record: GateTable):
    assert record.read() is None


@pytest.mark.parametrize("kind", sorted(kind for kind, closes in CLOSES.items() if closes))
@pytest.mark.parametrize("version", ["version-1", None])
def test_closed_gate_is_read_as_it_was_closed(record: GateTable, kind: TroubleKind, version: str | None):
    gate = closed_by(kind, retry_after=42.5, key_version=version)

    record.close(gate)

    assert record.read() == gate


def test_gate_is_one_record_and_says_what_closed_it_last(cloud: Cloud, record: GateTable):
    record.close(closed_by(TroubleKind.RATE_LIMITED, retry_after=60))
    record.close(closed_by(TroubleKind.KEY_REFUSED))

    (row,) = cloud.rows(cloud.gate_table)
    assert (row["pk"], row["sk"]) == ("SUPPLIER#oneclickdz", "GATE")
    assert "until" not in row
    assert record.read() == closed_by(TroubleKind.KEY_REFUSED)


def test_a_short_wait_does_not_replace_a_refused_key(record: GateTable):
    refused = closed_by(TroubleKind.KEY_REFUSED)
    record.close(refused)

    record.close(closed_by(TroubleKind.RATE_LIMITED, retry_after=5))

    assert record.read() == refused


def test_a_short_wait_does_not_replace_a_long_one(record: GateTable):
    long = closed_by(TroubleKind.ADDRESS_BLOCKED)
    record.close(long)

    record.close(closed_by(TroubleKind.RATE_LIMITED, retry_after=5))

    assert record.read() == long


@pytest.mark.parametrize(
    "earlier",
    [
        closed_by(TroubleKind.KEY_REFUSED, key_version="an earlier version"),
        closed_by(TroubleKind.KEY_MISSING, key_version=None),
        closed_by(TroubleKind.RATE_LIMITED, retry_after=1),
    ],
    ids=["key replaced since", "no key then", "shorter wait"],
)
def test_what_does_not_hold_any_more_is_replaced(record: GateTable, earlier: Gate):
    record.close(earlier)
    now = closed_by(TroubleKind.RATE_LIMITED, retry_after=60)

    record.close(now)

    assert record.read() == now


def test_a_refused_key_replaces_a_wait(record: GateTable):
    record.close(closed_by(TroubleKind.ADDRESS_BLOCKED))
    refused = closed_by(TroubleKind.KEY_REFUSED)

    record.close(refused)

    assert record.read() == refused

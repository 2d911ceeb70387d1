"""`giftcards gate`: what it shows, and what `--open` changes and never changes."""

from datetime import UTC, datetime, timedelta

import pytest

from giftcards.adapters import aws
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import LEASE_SECONDS, Block, Slot, Suspicion, admit
from giftcards.rules.supplier_failure import FailureKind
from giftcards_cli.stack import Stack
from support.cloud import Cloud
from support.command_line import Giftcards, command_line

KEY = "version-of-the-key"
AT = datetime.now(UTC).replace(microsecond=0)
REFUSED = Block(FailureKind.KEY_REFUSED, "The supplier refused the key.", AT, KEY, until=None)
PAUSED = Block(FailureKind.RATE_LIMITED, "The supplier answered [429].", AT, KEY, until=AT + timedelta(days=30))


@pytest.fixture
def record(cloud: Cloud) -> GateTable:
    return GateTable(cloud.gate_table, aws.dynamodb())


@pytest.fixture
def giftcards(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Giftcards:
    """Run the command on a stack with the cloud's gate and this key version."""
    monkeypatch.setattr(Stack, "_outputs", lambda _: {"CardTableName": cloud.card_table})
    monkeypatch.setattr(Stack, "_physical_id", lambda _, logical_id: {"GateTable": cloud.gate_table}[logical_id])
    monkeypatch.setattr(Stack, "api_key_version", lambda _: KEY)

    return command_line(monkeypatch, capsys, "gate")


def test_unblocked_gate_shows_its_slots(giftcards: Giftcards, record: GateTable):
    record.accept(KEY, record.read(), {})
    state = record.read()
    slot = admit(state, datetime.now(UTC), KEY, "caller-1")
    assert record.acquire(slot, state)[0]  # type: ignore[arg-type]

    assert giftcards("--json").document == {
        **dict.fromkeys(("reason", "message", "since", "until", "opensWith")),
        "open": True,
        "placesTaken": 1,
        "places": 3,
        "lostCalls": 0,
        "suspicion": None,
    }
    result = giftcards()
    assert (result.code, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()] == [
        ["gate", "unblocked"],
        ["slots", *["1", "of", "3", "in", "use"]],
    ]


def test_paused_gate_shows_reason_start_and_end(giftcards: Giftcards, record: GateTable):
    record.block(PAUSED)

    assert giftcards("--json").document == {
        "open": False,
        "reason": "RATE_LIMITED",
        "message": PAUSED.message,
        "since": timestamp(AT),
        "until": timestamp(AT + timedelta(days=30)),
        "opensWith": "TIME",
        "placesTaken": 0,
        "places": 1,
        "lostCalls": 0,
        "suspicion": None,
    }
    result = giftcards()
    assert result.code == 0
    for text in ("blocked", "RATE_LIMITED: The supplier answered [429].", timestamp(AT)):
        assert text in result.out


def test_gate_blocked_by_a_key_names_what_unblocks_it(giftcards: Giftcards, record: GateTable):
    record.block(REFUSED)

    document = giftcards("--json").document
    assert (document["open"], document["until"], document["opensWith"]) == (False, None, "NEW_KEY_VERSION")
    assert "secret has a new version" in giftcards().out


def test_showing_the_gate_writes_nothing(giftcards: Giftcards, record: GateTable, cloud: Cloud):
    record.block(PAUSED)
    cloud.forget()

    giftcards()

    assert cloud.sent("UpdateItem") == []
    assert record.read().pause == PAUSED


def test_open_ends_a_pause(giftcards: Giftcards, record: GateTable):
    record.block(PAUSED)

    result = giftcards("--open", "--json")

    assert (result.code, result.document["open"]) == (0, True)
    assert record.read().pause is None


@pytest.mark.parametrize("also", [[], [PAUSED]])
def test_open_never_unblocks_after_a_refused_key(giftcards: Giftcards, record: GateTable, also: list[Block]):
    for block in [REFUSED, *also]:
        record.block(block)
    before = record.read()

    result = giftcards("--open")

    assert (result.code, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert "KEY_REFUSED" in result.err
    assert record.read() == before


def test_open_changes_nothing_on_an_unblocked_gate(giftcards: Giftcards, record: GateTable):
    record.accept(KEY, record.read(), {})
    before = record.read()

    assert giftcards("--open").code == 0
    assert record.read() == before


def test_gate_that_is_blocked_again_meanwhile_stays_blocked(giftcards: Giftcards, record: GateTable, cloud: Cloud):
    record.block(PAUSED)
    longer = Block(FailureKind.ADDRESS_BLOCKED, "Blocked.", AT, KEY, until=AT + timedelta(days=31))
    cloud.at_next("UpdateItem", lambda: record.block(longer))

    result = giftcards("--open")

    assert (result.code, result.err.count("\n")) == (1, 1)
    assert record.read().pause == longer


def lose_calls(record: GateTable, count: int) -> None:
    """Let callers acquire slots and crash, one after the other."""
    for number in range(count):
        at = AT - timedelta(seconds=(count - number) * (LEASE_SECONDS + 1))
        slot = admit(record.read(), at, KEY, f"caller-{number}")
        assert isinstance(slot, Slot)
        assert record.acquire(slot, record.read())[0]


def test_lost_calls_are_shown(giftcards: Giftcards, record: GateTable):
    lose_calls(record, 2)

    document = giftcards("--json").document

    assert (document["open"], document["lostCalls"], document["places"]) == (True, 2, 1)
    assert "lost" in giftcards().out


def test_gate_without_slots_is_paused_and_can_be_unblocked(giftcards: Giftcards, record: GateTable):
    lose_calls(record, 3)
    document = giftcards("--json").document
    assert (document["open"], document["opensWith"], document["reason"]) == (False, "TIME", "BUSY")

    result = giftcards("--open", "--json")

    assert (result.code, result.document["open"], result.document["lostCalls"]) == (0, True, 0)


def test_suspicion_is_shown_with_order_and_code(giftcards: Giftcards, record: GateTable):
    record.suspect(Suspicion("order[1]", "FORBIDDEN", AT))

    document = giftcards("--json").document

    assert document["suspicion"] == {"orderId": "order[1]", "code": "FORBIDDEN", "since": timestamp(AT)}
    assert document["open"]
    assert all(text in giftcards().out for text in ("order[1]", "FORBIDDEN", timestamp(AT)))

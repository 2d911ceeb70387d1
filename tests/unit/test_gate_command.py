"""`giftcards gate` as a person uses it: what is shown, what `--open` forgets, and what it never does."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from giftcards.adapters import aws
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import LEASE_SECONDS, Block, Slot, Suspicion, admit
from giftcards.rules.supplier_failure import FailureKind
from giftcards_cli.main import main
from giftcards_cli.stack import Stack
from support.cloud import Cloud

KEY = "version-of-the-key"
AT = datetime.now(UTC).replace(microsecond=0)
REFUSED = Block(FailureKind.KEY_REFUSED, "The supplier refused the key.", AT, KEY, until=None)
PAUSED = Block(FailureKind.RATE_LIMITED, "The supplier answered [429].", AT, KEY, until=AT + timedelta(days=30))


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What it printed as JSON."""
        return dict(json.loads(self.out))


Giftcards = Callable[..., Said]


@pytest.fixture
def record(cloud: Cloud) -> GateTable:
    return GateTable(cloud.gate_table, aws.dynamodb())


@pytest.fixture
def giftcards(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Giftcards:
    """Run the command line on a stack that has the cloud's gate, and a key of this version."""
    monkeypatch.setattr(Stack, "_outputs", lambda _: {"CardTableName": cloud.card_table})
    monkeypatch.setattr(Stack, "_physical_id", lambda _, logical_id: {"GateTable": cloud.gate_table}[logical_id])
    monkeypatch.setattr(Stack, "api_key_version", lambda _: KEY)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["giftcards", "gate", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    return run


def test_open_gate_says_so_and_how_many_may_call(giftcards: Giftcards, record: GateTable):
    record.accept(KEY, record.read(), {})
    seen = record.read()
    place = admit(seen, datetime.now(UTC), KEY, "caller-1")
    assert record.acquire(place, seen)  # type: ignore[arg-type]

    assert giftcards("--json").document == {
        **dict.fromkeys(("reason", "message", "since", "until", "opensWith")),
        "open": True,
        "placesTaken": 1,
        "places": 3,
        "lostCalls": 0,
        "suspicion": None,
    }
    said = giftcards()
    assert (said.code, said.err) == (0, "")
    assert [line.split() for line in said.out.splitlines()] == [
        ["gate", "open"],
        ["places", *["1", "of", "3", "taken"]],
    ]


def test_paused_gate_says_why_since_when_and_until_when(giftcards: Giftcards, record: GateTable):
    record.close(PAUSED)

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
    said = giftcards()
    assert said.code == 0
    for text in ("closed", "RATE_LIMITED: The supplier answered [429].", timestamp(AT)):
        assert text in said.out


def test_gate_closed_by_a_refused_key_says_what_opens_it(giftcards: Giftcards, record: GateTable):
    record.close(REFUSED)

    document = giftcards("--json").document
    assert (document["open"], document["until"], document["opensWith"]) == (False, None, "NEW_KEY_VERSION")
    assert "the secret has another version" in giftcards().out


def test_looking_changes_nothing(giftcards: Giftcards, record: GateTable, cloud: Cloud):
    record.close(PAUSED)
    cloud.forget()

    giftcards()

    assert cloud.sent("UpdateItem") == []
    assert record.read().pause == PAUSED


def test_open_forgets_a_pause_and_shows_the_open_gate(giftcards: Giftcards, record: GateTable):
    record.close(PAUSED)

    said = giftcards("--open", "--json")

    assert (said.code, said.document["open"]) == (0, True)
    assert record.read().pause is None


@pytest.mark.parametrize("also", [[], [PAUSED]])
def test_open_never_forgets_a_refusal_and_says_what_would_help(
    giftcards: Giftcards, record: GateTable, also: list[Block]
):
    for block in [REFUSED, *also]:
        record.close(block)
    before = record.read()

    said = giftcards("--open")

    assert (said.code, said.out) == (1, "")
    assert said.err.count("\n") == 1
    assert "only a new version of the supplier's API key in its secret opens the gate" in said.err
    assert record.read() == before


def test_open_leaves_an_open_gate_as_it_is(giftcards: Giftcards, record: GateTable):
    record.accept(KEY, record.read(), {})
    before = record.read()

    assert giftcards("--open").code == 0
    assert record.read() == before


def test_gate_that_closes_again_meanwhile_stays_closed(giftcards: Giftcards, record: GateTable, cloud: Cloud):
    record.close(PAUSED)
    longer = Block(FailureKind.ADDRESS_BLOCKED, "Blocked.", AT, KEY, until=AT + timedelta(days=31))
    cloud.at_next("UpdateItem", lambda: record.close(longer))

    said = giftcards("--open")

    assert said.code == 1
    assert "has just been closed again" in said.err
    assert record.read().pause == longer


def lose_calls(record: GateTable, count: int) -> None:
    """Let callers take places and die, one after the other."""
    for number in range(count):
        at = AT - timedelta(seconds=(count - number) * (LEASE_SECONDS + 1))
        place = admit(record.read(), at, KEY, f"caller-{number}")
        assert isinstance(place, Slot)
        assert record.acquire(place, record.read())


def test_calls_whose_answer_nobody_knows_are_shown(giftcards: Giftcards, record: GateTable):
    lose_calls(record, 2)

    document = giftcards("--json").document

    assert (document["open"], document["lostCalls"], document["places"]) == (True, 2, 1)
    assert "lost" in giftcards().out


def test_gate_that_lost_every_call_is_paused_and_can_be_opened(giftcards: Giftcards, record: GateTable):
    lose_calls(record, 3)
    document = giftcards("--json").document
    assert (document["open"], document["opensWith"], document["reason"]) == (False, "TIME", "BUSY")

    said = giftcards("--open", "--json")

    assert (said.code, said.document["open"], said.document["lostCalls"]) == (0, True, 0)


def test_suspicion_is_shown_with_its_order_and_its_code(giftcards: Giftcards, record: GateTable):
    record.suspect(Suspicion("order[1]", "FORBIDDEN", AT))

    document = giftcards("--json").document

    assert document["suspicion"] == {"orderId": "order[1]", "code": "FORBIDDEN", "since": timestamp(AT)}
    assert document["open"]
    assert all(text in giftcards().out for text in ("order[1]", "FORBIDDEN", timestamp(AT)))

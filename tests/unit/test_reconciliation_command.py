"""`giftcards reconcile` as a person uses it: what is asked, what is shown, and how it ends."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from giftcards_cli import reconciliation
from giftcards_cli.main import main
from giftcards_cli.stack import Stack

UNCLAIMED = {
    "kind": "UNCLAIMED",
    "orderId": "order[/]",
    "userId": None,
    "ours": {},
    "theirs": {"status": "FULFILLED", "quantity": 2},
    "fields": [],
    "since": "2026-03-14T01:00:00Z",
    "message": "The supplier has this order, and nobody has announced it.",
    "isNew": True,
}
MISMATCH = {
    "kind": "MISMATCH",
    "orderId": None,
    "userId": None,
    "ours": {},
    "theirs": {"broken": "_id"},
    "fields": ["_id"],
    "since": None,
    "message": "An order without a readable id breaks the supplier's documents in the supplier's list: _id.",
    "isNew": False,
}
ANSWER = {
    "outcome": "COMPLETE",
    "message": "All of the supplier's list was compared.",
    "placedFrom": "2026-03-13T00:00:00Z",
    "placedTo": "2026-03-14T09:26:53Z",
    "pages": 1,
    "orders": 12,
    "differencesFound": 2,
    "newDifferences": {"UNCLAIMED": 1, "OVERDUE": 0, "MISMATCH": 0},
    "differences": [UNCLAIMED, MISMATCH],
}
BROKEN_OFF = ANSWER | {"outcome": "SUPPLIER_UNAVAILABLE", "message": "The supplier answered 500 INTERNAL_ERROR."}


@dataclass
class Deployed:
    """A stack whose function answers this, and what it was called with."""

    answer: dict[str, Any] = field(default_factory=lambda: ANSWER)
    asked: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)

    def invoke(self, function: str, payload: dict[str, Any], *, within_seconds: int) -> dict[str, Any]:
        self.asked.append((function, payload, within_seconds))
        return self.answer


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Giftcards = Callable[..., Said]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Deployed:
    deployed = Deployed()
    monkeypatch.setattr(Stack, "connect", lambda _name: deployed)
    return deployed


@pytest.fixture
def giftcards(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Giftcards:
    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["giftcards", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    return run


def test_differences_are_shown_and_summed_up_and_are_no_failure(giftcards: Giftcards):
    said = giftcards("reconcile")

    assert (said.code, said.err) == (0, "")
    header, unclaimed, mismatch, summary = (" ".join(line.split()) for line in said.out.splitlines())
    assert header == "ORDER KIND OURS SUPPLIER'S SINCE ANNOUNCED"
    assert unclaimed == "order[/] UNCLAIMED - status FULFILLED, quantity 2 03-14 01:00 now"
    assert mismatch == "without id MISMATCH - broken _id - before"
    assert summary == ("orders placed 2026-03-13 00:00 to 2026-03-14 09:26 UTC: 12 compared, 2 differ, 1 of them new")


def test_nothing_but_a_summary_is_shown_where_nothing_differs(deployed: Deployed, giftcards: Giftcards):
    deployed.answer = ANSWER | {
        "differencesFound": 0,
        "differences": [],
        "newDifferences": dict.fromkeys(ANSWER["newDifferences"], 0),
    }

    said = giftcards("reconcile")

    assert said.code == 0
    assert said.out.endswith("12 compared, 0 differ, 0 of them new\n")
    assert len(said.out.splitlines()) == 1


def test_differences_that_are_not_listed_are_counted(deployed: Deployed, giftcards: Giftcards):
    deployed.answer = ANSWER | {"differencesFound": 1_200}

    assert "1198 more" in giftcards("reconcile").out


def test_json_is_the_answer_and_nothing_else(giftcards: Giftcards):
    said = giftcards("reconcile", "--json")

    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out) == ANSWER


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_run_that_was_not_completed_fails_with_one_line_and_shows_what_was_found(
    deployed: Deployed, giftcards: Giftcards, options: list[str]
):
    deployed.answer = BROKEN_OFF

    said = giftcards("reconcile", *options)

    assert said.code == 1
    assert said.err == "giftcards: not complete (SUPPLIER_UNAVAILABLE): The supplier answered 500 INTERNAL_ERROR.\n"
    assert "order[/]" in said.out
    if options:
        assert json.loads(said.out) == BROKEN_OFF


def test_function_is_given_the_days_and_the_time_that_it_takes(deployed: Deployed, giftcards: Giftcards):
    giftcards("reconcile", "--from", "2026-03-01", "--to", "2026-03-02")
    giftcards("reconcile")

    assert deployed.asked == [
        ("ReconcileOrders", {"from": "2026-03-01", "to": "2026-03-02"}, reconciliation.RUNS_SECONDS),
        ("ReconcileOrders", {}, reconciliation.RUNS_SECONDS),
    ]


TOMORROW = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "2026-13-01"], "--from"),
        (["--to", "yesterday"], "--to"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "after the last day"),
        (["--from", TOMORROW], "in the future"),
        (["--to", "1999-01-01"], "days of this century"),
    ],
)
def test_days_that_cannot_be_are_bad_usage_and_call_nothing(
    deployed: Deployed, giftcards: Giftcards, options: list[str], said: str
):
    ended = giftcards("reconcile", *options)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert deployed.asked == []

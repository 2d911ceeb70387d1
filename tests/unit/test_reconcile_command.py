"""`giftcards reconcile`: the request, the output and the exit code."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from giftcards_cli.commands import reconcile
from giftcards_cli.stack import Stack
from support.command_line import Giftcards, command_line

UNCLAIMED = {
    "kind": "UNCLAIMED",
    "orderId": "order[/]",
    "userId": None,
    "ours": {},
    "theirs": {"status": "FULFILLED", "quantity": 2},
    "fields": [],
    "since": "2026-03-14T01:00:00Z",
    "message": "The supplier has this order; no OrderPlaced event was published.",
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
    "message": "An order in the supplier's list has no valid id.",
    "isNew": False,
}
ANSWER = {
    "outcome": "COMPLETE",
    "message": "The whole list was compared.",
    "placedFrom": "2026-03-13T00:00:00Z",
    "placedTo": "2026-03-14T09:26:53Z",
    "pages": 1,
    "orders": 12,
    "differencesFound": 2,
    "newDifferences": {"UNCLAIMED": 1, "OVERDUE": 0, "MISMATCH": 0},
    "differences": [UNCLAIMED, MISMATCH],
}
INCOMPLETE = ANSWER | {"outcome": "SUPPLIER_UNAVAILABLE", "message": "The supplier answered 500 INTERNAL_ERROR."}


@dataclass
class Deployed:
    """A stack whose function returns ``answer`` and records its calls."""

    answer: dict[str, Any] = field(default_factory=lambda: ANSWER)
    calls: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)

    def invoke(self, function: str, payload: dict[str, Any], *, within_seconds: int) -> dict[str, Any]:
        self.calls.append((function, payload, within_seconds))
        return self.answer


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Deployed:
    deployed = Deployed()
    monkeypatch.setattr(Stack, "connect", lambda _name: deployed)
    return deployed


@pytest.fixture
def giftcards(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Giftcards:
    return command_line(monkeypatch, capsys)


def test_discrepancies_are_listed_and_are_success(giftcards: Giftcards):
    result = giftcards("reconcile")

    assert (result.code, result.err) == (0, "")
    header, unclaimed, mismatch, summary = (" ".join(line.split()) for line in result.out.splitlines())
    assert header == "ORDER KIND OURS SUPPLIER'S SINCE PUBLISHED"
    assert unclaimed == "order[/] UNCLAIMED - status FULFILLED, quantity 2 03-14 01:00 now"
    assert mismatch == "no id MISMATCH - broken _id - before"
    assert re.findall(r"\d+", summary.partition("UTC")[2]) == ["12", "2", "1"]


def test_without_discrepancies_only_a_summary_is_printed(deployed: Deployed, giftcards: Giftcards):
    deployed.answer = ANSWER | {
        "differencesFound": 0,
        "differences": [],
        "newDifferences": dict.fromkeys(ANSWER["newDifferences"], 0),
    }

    result = giftcards("reconcile")

    assert result.code == 0
    assert re.findall(r"\d+", result.out.partition("UTC")[2]) == ["12", "0", "0"]
    assert len(result.out.splitlines()) == 1


def test_discrepancies_that_are_not_listed_are_counted(deployed: Deployed, giftcards: Giftcards):
    deployed.answer = ANSWER | {"differencesFound": 1_200}

    assert "1198 more" in giftcards("reconcile").out


def test_json_is_the_report_and_nothing_else(giftcards: Giftcards):
    result = giftcards("reconcile", "--json")

    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == ANSWER


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_incomplete_run_fails_and_shows_its_discrepancies(deployed: Deployed, giftcards: Giftcards, options: list[str]):
    deployed.answer = INCOMPLETE

    result = giftcards("reconcile", *options)

    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "SUPPLIER_UNAVAILABLE" in result.err
    assert INCOMPLETE["message"] in result.err
    assert "order[/]" in result.out
    if options:
        assert json.loads(result.out) == INCOMPLETE


def test_function_is_called_with_the_days_and_a_timeout(deployed: Deployed, giftcards: Giftcards):
    giftcards("reconcile", "--from", "2026-03-01", "--to", "2026-03-02")
    giftcards("reconcile")

    assert deployed.calls == [
        ("ReconcileOrders", {"from": "2026-03-01", "to": "2026-03-02"}, reconcile.MAX_RUN_SECONDS),
        ("ReconcileOrders", {}, reconcile.MAX_RUN_SECONDS),
    ]


TOMORROW = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--from", "2026-13-01"], "--from"),
        (["--to", "yesterday"], "--to"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "2026-03-02"),
        (["--from", TOMORROW], TOMORROW),
        (["--to", "1999-01-01"], "--to"),
    ],
)
def test_invalid_days_are_wrong_usage(deployed: Deployed, giftcards: Giftcards, options: list[str], named: str):
    result = giftcards("reconcile", *options)

    assert (result.code, result.out) == (2, "")
    assert named in result.err
    assert result.err.count("\n") == 1
    assert deployed.calls == []

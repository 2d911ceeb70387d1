"""The functions as Lambda calls them: input, output and logs."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from giftcards import composition_root
from giftcards.adapters.oneclickdz.supplier import Supplier
from giftcards.contracts.workflow import Outcome, StepResult
from giftcards.rules.orders import delivery_id_of
from giftcards.use_cases.reveal_cards import RevealOutcome
from scaling.parameters import parameter_variables
from support.cloud import Cloud, client_error, template
from support.examples import NOW, ORDER_ID, ROOT, USER_ID
from support.secrets import API_KEY, MARK, card_data, leaks
from support.supplier import BASE_URL, SupplierDouble, answered, order_data, page_data, refused
from unit.container import ASKED, FUNCTIONS, STEP, Container

each_function = pytest.mark.parametrize("name", FUNCTIONS)
each_step = pytest.mark.parametrize("name", ["check_status", "deliver_cards"])


# ------------------------------------------------------------------ answers


def test_check_status_makes_the_workflow_wait(container: Container, supplier: SupplierDouble):
    supplier.will(answered(order_data("HANDLING")))

    result = container.call("check_status", STEP)

    counts = {"failures": 0, "unansweredSince": "2026-03-14T09:26:53Z", "unansweredSeconds": 0}
    assert result.pop("message")
    assert result == {
        "next": "WAIT",
        "outcome": "PENDING",
        "ageSeconds": 60,
        "waitSeconds": 5,
        "announceDelay": False,
        "retryDelivery": False,
        "retryState": counts | {"queued": 0, "doubt": None, "accepted": None},
        **counts,
    }


@pytest.mark.parametrize("answer", [answered(), refused(404, "NOT_FOUND"), refused(401, "ERR_AUTH")])
def test_check_status_returns_every_field_the_workflow_reads(
    container: Container, supplier: SupplierDouble, answer: httpx.Response
):
    supplier.will(answer)

    result = container.call("check_status", STEP)

    fields = {field.alias for field in StepResult.model_fields.values() if not field.exclude}
    assert set(result) == fields | {field.alias for field in StepResult.model_computed_fields.values()}
    assert result["outcome"] in {Outcome.SETTLED, Outcome.ORDER_UNKNOWN, Outcome.KEY_REFUSED}


def test_deliver_cards_closes_the_order(container: Container, cloud: Cloud, supplier: SupplierDouble):
    cloud.claim()
    supplier.will(answered())

    result = container.call("deliver_cards", STEP)

    assert result["outcome"] == "CLOSED"
    assert cloud.order_row()["status"] == "FULFILLED"
    assert [detail["deliveryId"] for _, detail in cloud.announced()] == [delivery_id_of(ORDER_ID)]


def test_deliver_cards_fails_for_an_unclaimed_order(container: Container, supplier: SupplierDouble):
    with pytest.raises(Exception, match="not claimed"):
        container.call("deliver_cards", STEP)

    assert supplier.requests == []


def test_cards_that_were_delivered_are_revealed_by_index(container: Container, cloud: Cloud, supplier: SupplierDouble):
    cloud.claim()
    supplier.will(answered(order_data("FULFILLED", 12)))
    container.call("deliver_cards", STEP)

    answer = container.call("reveal_cards", ASKED, aws_request_id="request-7")

    assert answer == {
        "outcome": "REVEALED",
        "message": "",
        "cards": [{"index": index} | card for index, card in enumerate(card_data(12), start=1)],
        "nextIndex": None,
    }
    (row,) = cloud.rows(cloud.audit_table)
    assert (row["requestId"], row["requestedBy"], row["reason"]) == ("request-7", "shop", "first look")


def test_reveal_cards_answers_strangers_like_unknown_orders(container: Container, cloud: Cloud):
    cloud.claim()

    of_a_stranger = container.call("reveal_cards", ASKED | {"userId": "stranger"})
    unknown = container.call("reveal_cards", ASKED | {"orderId": "unknown"})

    assert of_a_stranger == unknown
    assert (unknown["outcome"], unknown["cards"]) == ("NOT_FOUND", [])


@pytest.mark.parametrize("event", [{}, None, {"source": "aws.scheduler"}])
def test_sweep_orders_returns_checked_and_resumed_counts(container: Container, cloud: Cloud, event: Any):
    cloud.claim("gone")
    cloud.claim("running", executionArn=cloud.execute())

    assert container.call("sweep_orders", event) == {"checked": 2, "takenUp": 1}

    assert cloud.events_to_resume("giftcards.sweeper") == [{"orderId": "gone", "userId": USER_ID}]


def test_sweep_orders_resumes_an_order_once(container: Container, cloud: Cloud):
    cloud.claim()

    assert [container.call("sweep_orders", {})["takenUp"] for _ in range(3)] == [1, 0, 0]


def listed(order_id: str, **changes: Any) -> dict[str, Any]:
    """Return an order as the supplier lists it, placed long ago, with its cards in plaintext."""
    return order_data(_id=order_id, time="2026-03-14T01:00:00.000Z") | changes


def test_reconcile_orders_returns_its_discrepancies(container: Container, cloud: Cloud, supplier: SupplierDouble):
    cloud.claim("overdue", claimed_at=NOW - timedelta(hours=1))
    supplier.will(answered(page_data(listed("unclaimed"), listed("overdue"))))

    answer = container.call("reconcile_orders", {})

    unclaimed, overdue = answer.pop("differences")
    assert answer.pop("message")
    assert answer == {
        "outcome": "COMPLETE",
        "placedFrom": "2026-03-13T00:00:00Z",
        "placedTo": "2026-03-14T09:26:53Z",
        "pages": 1,
        "orders": 2,
        "differencesFound": 2,
        "newDifferences": {"UNCLAIMED": 1, "OVERDUE": 1, "MISMATCH": 0},
    }
    assert unclaimed.pop("message")
    assert unclaimed == {
        "kind": "UNCLAIMED",
        "orderId": "unclaimed",
        "userId": None,
        "ours": {},
        "theirs": {"status": "FULFILLED", "quantity": 2},
        "fields": [],
        "since": "2026-03-14T01:00:00Z",
        "isNew": True,
    }
    assert (overdue["userId"], overdue["ours"]) == (USER_ID, {"status": "HANDLING"})


def test_reconcile_orders_compares_the_given_days(container: Container, supplier: SupplierDouble):
    supplier.will(answered(page_data()))

    container.call("reconcile_orders", {"from": "2026-03-01", "to": "2026-03-02"})

    asked = supplier.requests[0].url.params
    assert (asked["from"], asked["to"]) == ("2026-03-01T00:00:00.000Z", "2026-03-03T00:00:00.000Z")


# ------------------------------------------------------------ invalid events


@each_step
@pytest.mark.parametrize(
    "event",
    [
        {},
        [],
        None,
        {name: value for name, value in STEP.items() if name != "claimedAt"},
        STEP | {"orderId": f"{MARK} {MARK}"},
        STEP | {"userId": MARK * 20},
        STEP | {"checks": -1},
        STEP | {"claimedAt": "2026-03-14T09:26:53"},
        STEP | {"claimedAt": MARK},
    ],
)
def test_invalid_step_request_fails_by_its_fields(
    container: Container, cloud: Cloud, supplier: SupplierDouble, name: str, event: Any
):
    cloud.forget()

    with pytest.raises(ValidationError) as refusal:
        container.call(name, event)

    assert not leaks(refusal.value, container.everything_logged)
    assert (cloud.calls, supplier.requests) == ([], [])


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ({}, "orderId, userId"),
        ({"orderId": ORDER_ID}, "userId"),
        (ASKED | {"orderId": f"{MARK} {MARK}"}, "orderId"),
        (ASKED | {"userId": 5, "reason": MARK * 100}, "reason, userId"),
    ],
)
def test_invalid_reveal_request_is_answered_by_its_fields(container: Container, cloud: Cloud, event: Any, fields: str):
    cloud.forget()

    answer = container.call("reveal_cards", event)

    assert (answer["outcome"], answer["cards"], answer["nextIndex"]) == ("INVALID_REQUEST", [], None)
    assert fields in answer["message"]
    assert cloud.calls == []


@pytest.mark.parametrize("event", [None, [], "text"])
def test_request_to_reveal_that_is_no_object_is_answered_too(container: Container, event: Any):
    answer = container.call("reveal_cards", event)

    assert (answer["outcome"], answer["cards"], answer["nextIndex"]) == ("INVALID_REQUEST", [], None)


# -------------------------------------------------------------------- logging


def test_python_warnings_are_silenced():
    composition_root.logger.cache_clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        composition_root.logger()
        warnings.warn(f"the value is {MARK}", stacklevel=1)

    assert warned == []


ANSWERS: dict[str, Callable[[], httpx.Response | Exception]] = {
    "fulfilled": answered,
    "partially filled": lambda: answered(order_data("PARTIALLY_FILLED", 4)),
    "refunded": lambda: answered(order_data("REFUNDED")),
    "pending, with cards": lambda: answered(order_data("HANDLING", cards=card_data(2))),
    "unknown status": lambda: answered(order_data(status=card_data(1)[0]["value"])),
    "another order": lambda: answered(order_data(_id=API_KEY)),
    "a card twice": lambda: answered(order_data(cards=card_data(1) * 2)),
    "cards as texts": lambda: answered(order_data(cards=[card["value"] for card in card_data(2)])),
    "cut": lambda: httpx.Response(200, content=answered().content[:-20]),
    "html": lambda: httpx.Response(200, html=API_KEY),
    "key refused": lambda: refused(401, "INVALID_ACCESS_TOKEN"),
    "blocked": lambda: refused(403, "IP_BLOCKED"),
    "rate limit": lambda: refused(429, "RATE_LIMIT_EXCEEDED"),
    "order unknown": lambda: refused(404, "NOT_FOUND"),
    "order rejected": lambda: refused(400, "ERR_VALIDATION"),
    "code that is a card": lambda: refused(500, card_data(1)[0]["value"]),
    "network": lambda: httpx.ReadError(f"{API_KEY} {card_data(1)}"),
}


@each_step
@pytest.mark.parametrize("answer", ANSWERS)
def test_no_secret_leaks_from_a_delivery(
    container: Container, cloud: Cloud, supplier: SupplierDouble, name: str, answer: str
):
    cloud.claim()
    supplier.will(ANSWERS[answer]())
    container.module(name)  # imported before the test records warnings: the import silences them

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result = container.call(name, STEP)

    stored = [cloud.rows(table) for table in (cloud.card_table, cloud.gate_table, cloud.audit_table)]
    assert not leaks(result, container.everything_logged, stored, cloud.announced(), [w.message for w in warned])


@pytest.mark.parametrize("answer", ANSWERS)
def test_no_secret_leaks_from_a_reconciliation(
    container: Container, cloud: Cloud, supplier: SupplierDouble, answer: str, capsys: pytest.CaptureFixture[str]
):
    # Given a list with a bad order between two good ones, or a bad list
    response = ANSWERS[answer]()
    if isinstance(response, httpx.Response) and response.status_code == 200 and b"_id" in response.content[:-20]:
        items = [listed("one"), order_data(_id=None), json.loads(answered().content)["data"], listed("two")]
        response = answered(page_data(*items))
    supplier.will(response)
    container.module("reconcile_orders")  # imported before the test records warnings: the import silences them

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result = container.call("reconcile_orders", {})

    stored = [cloud.rows(table) for table in (cloud.card_table, cloud.gate_table, cloud.discrepancy_table)]
    measured_too = capsys.readouterr().out
    assert not leaks(result, container.everything_logged, measured_too, stored, cloud.announced())
    assert not leaks(*(warning.message for warning in warned))


@pytest.mark.parametrize(
    "operation", ["GetSecretValue", "GetItem", "BatchGetItem", "PutEvents", "PutItem", "UpdateItem"]
)
def test_no_secret_leaks_from_a_failed_reconciliation(
    container: Container, cloud: Cloud, supplier: SupplierDouble, operation: str
):
    supplier.will(answered(page_data(listed("one"), listed("two", quantity=MARK))))
    cloud.at_next(operation, client_error(operation))

    with pytest.raises(Exception) as failure:  # noqa: PT011 - boto3 and Powertools each raise their own
        container.call("reconcile_orders", {})

    chain: list[BaseException | None] = [failure.value, failure.value.__cause__, failure.value.__context__]
    assert not leaks(*chain, *map(repr, chain), container.everything_logged)


@pytest.mark.parametrize(
    ("operation", "table"),
    [
        ("GetItem", "CardTable"),
        ("GetSecretValue", None),
        ("UpdateItem", "GateTable"),
        ("GenerateDataKey", None),
        ("TransactWriteItems", None),
        ("PutEvents", None),
        ("UpdateItem", "CardTable"),
    ],
)
def test_no_secret_leaks_from_a_failed_delivery(
    container: Container, cloud: Cloud, supplier: SupplierDouble, operation: str, table: str | None
):
    cloud.claim()
    supplier.will(answered())
    cloud.at_next(operation, client_error(operation), table=table)

    with pytest.raises(Exception) as failure:  # noqa: PT011 - the SDK, boto3 and Powertools each raise their own
        container.call("deliver_cards", STEP)

    chain: list[BaseException | None] = [failure.value, failure.value.__cause__, failure.value.__context__]
    assert not leaks(*chain, *map(repr, chain), container.everything_logged)


def test_no_card_leaks_from_a_reveal(container: Container, cloud: Cloud, supplier: SupplierDouble):
    cloud.claim()
    supplier.will(answered())
    container.call("deliver_cards", STEP)

    assert container.call("reveal_cards", ASKED)["outcome"] == RevealOutcome.REVEALED

    assert leaks(card_data(1))
    assert not leaks(container.everything_logged, cloud.rows(cloud.audit_table))
    assert [line["cards"] for line in container.log if "cards" in line] == [2]


# ------------------------------------------------------------------ container


def test_clients_are_built_once_for_a_container(container: Container, supplier: SupplierDouble):
    built = []

    def count(base_url: str) -> Supplier:
        built.append(base_url)
        return Supplier(base_url, supplier.client())

    composition_root.use(composition_root.Outside(now=lambda: NOW, supplier=count))
    supplier.will(*(answered(order_data("HANDLING")) for _ in range(3)))

    for _ in range(3):
        container.call("check_status", STEP)

    assert len(built) == 1


@pytest.mark.parametrize(
    "name", ["check_status", "deliver_cards", "reveal_cards", "sweep_orders", "reconcile_orders", "measure_orders"]
)
def test_function_without_settings_fails_by_their_names(
    container: Container, name: str, monkeypatch: pytest.MonkeyPatch
):
    variable = {
        "check_status": "GATE_TABLE_NAME",
        "deliver_cards": "CARD_KEY_ARN",
        "reveal_cards": "AUDIT_TABLE_NAME",
        "sweep_orders": "ORDER_BUS_NAME",
        "reconcile_orders": "DIFFERENCE_TABLE_NAME",
        "measure_orders": "GATE_TABLE_NAME",
    }[name]
    monkeypatch.delenv(variable)
    monkeypatch.setenv("ABOVE_ALL", MARK)
    monkeypatch.setenv("ZZZ", MARK)

    with pytest.raises(ValidationError, match=variable) as refusal:
        container.call(name, ASKED if name == "reveal_cards" else STEP)

    assert not leaks(refusal.value)


def test_the_clock_has_a_time_zone_and_jitter_is_a_share():
    assert composition_root.now().utcoffset() == timedelta(0)
    assert 0 <= composition_root.jitter() < 1


# ----------------------------------------------------------------------- code


@each_function
def test_handler_is_under_60_lines(name: str):
    assert len((ROOT / "functions" / name / "app.py").read_text().splitlines()) < 60


PROGRAM = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("app", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
imported = [sorted(sys.modules)]
module.composition_root.status_check()
imported.append(sorted(sys.modules))
print(json.dumps(imported))
"""


def test_check_status_imports_no_boto3_and_no_encryption_sdk():
    # Given a new process that imports the function and builds its use case
    settings = parameter_variables(template()) | {
        "STAGE_NAME": "test",
        "SUPPLIER_BASE_URL": BASE_URL,
        "SUPPLIER_API_KEY_SECRET_ARN": "arn",
        "GATE_TABLE_NAME": "gate",
    }
    app = ROOT / "functions/check_status/app.py"
    command = [sys.executable, "-c", PROGRAM, app]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    imported, used = map(set, json.loads(done.stdout))

    # Then boto3 is not imported (Powertools imports the package botocore only) ...
    assert "giftcards.use_cases.check_status" in imported
    assert not imported & {"boto3", "botocore.session", "botocore.client", "aws_encryption_sdk", "cryptography"}

    # ... and neither is the encryption SDK: its layer is not deployed with this function
    assert "boto3" in used
    assert not used & {"aws_encryption_sdk", "giftcards.adapters.card_cipher", "giftcards.adapters.order_table"}

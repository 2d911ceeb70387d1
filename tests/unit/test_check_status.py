"""CheckStatus calls the supplier once and handles no card."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from giftcards.contracts.workflow import Outcome, StepRequest, StepResult
from giftcards.use_cases.check_status import StatusCheck
from support.cloud import Cloud, client_error
from support.examples import NOW, step_request
from support.gate import Clock, status_check_of, supplier_on
from support.secrets import leaks
from support.supplier import SupplierDouble, answered, order_data, refused


@pytest.fixture
def status_check(cloud: Cloud, supplier: SupplierDouble) -> StatusCheck:
    cloud.set_api_key()
    clock = Clock()
    return status_check_of(supplier_on(cloud, supplier, clock), cloud, clock)


def check(status_check: StatusCheck, **fields: Any) -> StepResult:
    result = status_check.check(step_request(**fields), now=NOW, jitter=0)
    assert not leaks(repr(result))
    return result


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answered(order_data("HANDLING")), Outcome.PENDING),
        (answered(order_data("FULFILLED")), Outcome.SETTLED),
        (answered(order_data("PARTIALLY_FILLED")), Outcome.SETTLED),
        (answered(order_data("REFUNDED")), Outcome.SETTLED),
        (answered(order_data("LOST")), Outcome.SUPPLIER_CONTRACT_BROKEN),
        (answered(order_data(_id="another")), Outcome.SUPPLIER_CONTRACT_BROKEN),
        (refused(404, "NOT_FOUND"), Outcome.ORDER_UNKNOWN),
        (refused(400, "ERR_VALIDATION"), Outcome.INVALID_ORDER),
        (refused(500, "INTERNAL_ERROR"), Outcome.SUPPLIER_BUSY),
        (httpx.Response(404, json={"statusCode": 404}), Outcome.SUPPLIER_BUSY),
        (httpx.ReadTimeout("slow"), Outcome.SUPPLIER_BUSY),
    ],
)
def test_status_check_returns_the_outcome_and_writes_nothing(
    cloud: Cloud, supplier: SupplierDouble, status_check: StatusCheck, answer: Any, outcome: Outcome
):
    supplier.will(answer)
    cloud.forget()

    assert check(status_check).outcome is outcome
    assert cloud.writes() == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (refused(401, "INVALID_ACCESS_TOKEN"), Outcome.KEY_REFUSED),
        (refused(429, "RATE_LIMIT_EXCEEDED"), Outcome.SUPPLIER_BUSY),
        (refused(403, "IP_BLOCKED"), Outcome.SUPPLIER_BUSY),
        (refused(403, "API_DISABLED"), Outcome.SUPPLIER_BUSY),
    ],
)
def test_answer_about_all_orders_blocks_the_gate(
    cloud: Cloud, supplier: SupplierDouble, status_check: StatusCheck, answer: httpx.Response, outcome: Outcome
):
    supplier.will(answer)
    assert check(status_check).outcome is outcome

    assert check(status_check, order_id="another").outcome is Outcome.GATE_CLOSED
    assert len(supplier.requests) == 1
    assert len(cloud.rows(cloud.gate_table)) == 1
    assert not leaks(cloud.rows(cloud.gate_table))


def test_orders_wait_while_no_key_is_set(cloud: Cloud, supplier: SupplierDouble):
    status_check = status_check_of(supplier_on(cloud, supplier, Clock()), cloud, Clock())

    outcomes = {check(status_check, claimed_at=NOW - timedelta(days=days)).outcome for days in range(3)}

    assert outcomes == {Outcome.GATE_CLOSED}
    assert supplier.requests == []


def test_order_waits_until_the_block_ends(supplier: SupplierDouble, status_check: StatusCheck):
    supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="20"))

    assert check(status_check).wait_seconds == 20
    assert check(status_check, order_id="another").wait_seconds == 20


def test_status_check_ignores_wrong_cards(supplier: SupplierDouble, status_check: StatusCheck):
    supplier.will(answered(order_data("FULFILLED", cards=["what", 5])))

    assert check(status_check).outcome is Outcome.SETTLED


def test_check_costs_two_writes_at_the_gate(cloud: Cloud, supplier: SupplierDouble, status_check: StatusCheck):
    supplier.will(answered(order_data("HANDLING")), answered(order_data("HANDLING")))
    check(status_check)  # proves the key
    cloud.forget()

    check(status_check)

    assert [operation for operation, _ in cloud.calls] == ["UpdateItem", "UpdateItem"]


@pytest.mark.parametrize("operation", ["GetSecretValue", "UpdateItem"])
def test_no_call_without_a_readable_key_and_a_slot(
    cloud: Cloud, supplier: SupplierDouble, status_check: StatusCheck, operation: str
):
    cloud.at_next(operation, client_error(operation))

    with pytest.raises(Exception, match="made by the test"):
        check(status_check)
    assert supplier.requests == []


def test_execution_of_the_previous_release_continues(status_check: StatusCheck, supplier: SupplierDouble):
    # A request of the previous release's workflow
    request = step_request().model_dump(mode="json", by_alias=True, exclude={"execution", "retry_state"})
    request["failures"] = 2
    supplier.will(answered(order_data("FULFILLED")))

    result = status_check.check(StepRequest.model_validate(request), now=NOW, jitter=0)

    assert (result.outcome, result.unanswered_since) == (Outcome.SETTLED, NOW)

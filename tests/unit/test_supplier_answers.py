"""Asking the supplier through the gate: what is sent, and what each answer does to the next order."""

from datetime import datetime, timedelta, tzinfo

import pytest
from aws_lambda_powertools.utilities.parameters import base as parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from giftcards.adapters import aws
from giftcards.adapters.api_key import CACHE_SECONDS, ApiKey, ApiKeySource
from giftcards.rules.gate import BLOCK_SECONDS, RATE_LIMIT_SECONDS
from giftcards.rules.trouble import Trouble, TroubleKind
from giftcards.supplier_contract import OrderProgress, SupplierStatus
from unit.fakes import (
    API_KEY,
    ORDER_ID,
    Clock,
    Cloud,
    GatedDouble,
    SupplierDouble,
    answered,
    client_error,
    leaks,
    order_data,
    refused,
    supplier_on,
)

PENDING = order_data("HANDLING")
CLOSING = {
    TroubleKind.RATE_LIMITED: lambda: refused(429, "RATE_LIMIT_EXCEEDED"),
    TroubleKind.KEY_REFUSED: lambda: refused(401, "INVALID_ACCESS_TOKEN"),
    TroubleKind.ADDRESS_BLOCKED: lambda: refused(403, "IP_BLOCKED"),
    TroubleKind.ACCESS_DENIED: lambda: refused(403, "IP_NOT_ALLOWED"),
}
each_closing_answer = pytest.mark.parametrize("kind", sorted(CLOSING))


def test_answer_of_the_supplier_comes_back_as_it_is(behind_gate: GatedDouble):
    behind_gate.supplier.will(answered(PENDING))

    answer = behind_gate.ask()

    assert isinstance(answer, OrderProgress)
    assert answer.status is SupplierStatus.HANDLING
    assert behind_gate.gate.closings == []


def test_gate_is_read_before_each_call(behind_gate: GatedDouble):
    behind_gate.supplier.will(answered(PENDING), answered(PENDING))

    behind_gate.ask()
    behind_gate.ask()

    assert [entry for entry in behind_gate.journal if entry != "key read"] == ["gate read", "asked"] * 2


@each_closing_answer
def test_answer_that_concerns_all_orders_closes_the_gate_once_and_nobody_asks_again(
    behind_gate: GatedDouble, kind: TroubleKind
):
    # Given an answer that closes the gate
    behind_gate.supplier.will(CLOSING[kind]())
    first = behind_gate.ask()

    # When other orders are checked
    others = [behind_gate.ask(f"order-{number}") for number in range(5)]

    # Then the supplier has been asked once, and the record was written once
    assert first.kind is kind
    assert {other.kind for other in others} == {TroubleKind.GATE_CLOSED}
    assert len(behind_gate.supplier.requests) == 1
    assert [gate.reason for gate in behind_gate.gate.closings] == [kind]


@each_closing_answer
def test_orders_that_wait_are_told_why_and_nothing_secret(behind_gate: GatedDouble, kind: TroubleKind):
    behind_gate.supplier.will(CLOSING[kind]())

    first, waiting = behind_gate.ask(), behind_gate.ask()

    assert first.message in waiting.message
    assert not leaks(repr(first), repr(waiting), repr(behind_gate.gate.closings))


@pytest.mark.parametrize("code", ["NOT_FOUND", "ERR_VALIDATION", "INTERNAL_ERROR", "AUTH_UNAVAILABLE"])
def test_answer_that_concerns_one_order_or_a_moment_leaves_the_gate_open(behind_gate: GatedDouble, code: str):
    status = {"NOT_FOUND": 404, "ERR_VALIDATION": 400, "INTERNAL_ERROR": 500}.get(code, 503)
    behind_gate.supplier.will(refused(status, code), answered(PENDING))

    assert isinstance(behind_gate.ask(), Trouble)
    assert isinstance(behind_gate.ask("another"), Trouble)  # answered with another order's _id, but asked

    assert len(behind_gate.supplier.requests) == 2
    assert behind_gate.gate.closings == []


def test_rate_limit_with_retry_after_holds_all_orders_off_for_that_long(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="120"), answered(PENDING))
    assert behind_gate.ask().retry_after_seconds == 120

    behind_gate.clock.advance(20)
    waiting = behind_gate.ask()
    behind_gate.clock.advance(100)
    again = behind_gate.ask()

    assert (waiting.kind, waiting.retry_after_seconds) == (TroubleKind.GATE_CLOSED, 100)
    assert isinstance(again, OrderProgress)


def test_rate_limit_without_retry_after_holds_all_orders_off_for_a_while(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED"), answered(PENDING))
    behind_gate.ask()

    behind_gate.clock.advance(RATE_LIMIT_SECONDS - 1)
    assert behind_gate.ask().retry_after_seconds == 1
    behind_gate.clock.advance(1)
    assert isinstance(behind_gate.ask(), OrderProgress)


def test_refused_key_is_not_presented_again_until_the_secret_has_another_version(behind_gate: GatedDouble):
    # Given a refused key
    behind_gate.supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), answered(PENDING))
    behind_gate.ask()

    # When days pass, it is not presented again
    behind_gate.clock.advance(30 * 86_400)
    assert behind_gate.ask().kind is TroubleKind.GATE_CLOSED
    assert len(behind_gate.supplier.requests) == 1

    # But another version of the secret is, at once
    behind_gate.keys.rotate("version-2")
    assert isinstance(behind_gate.ask(), OrderProgress)


def test_second_bad_key_closes_the_gate_again(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), refused(401, "INVALID_ACCESS_TOKEN"))
    behind_gate.ask()
    behind_gate.keys.rotate("version-2")

    behind_gate.ask()
    behind_gate.ask()

    assert [gate.key_version for gate in behind_gate.gate.closings] == ["version-1", "version-2"]
    assert len(behind_gate.supplier.requests) == 2


@pytest.mark.parametrize("kind", [TroubleKind.ADDRESS_BLOCKED, TroubleKind.ACCESS_DENIED])
def test_blocked_address_is_left_alone_for_15_minutes_whatever_the_key(behind_gate: GatedDouble, kind: TroubleKind):
    behind_gate.supplier.will(CLOSING[kind](), answered(PENDING))
    behind_gate.ask()

    behind_gate.keys.rotate("version-2")
    behind_gate.clock.advance(BLOCK_SECONDS - 1)
    assert behind_gate.ask().kind is TroubleKind.GATE_CLOSED
    behind_gate.clock.advance(1)
    assert isinstance(behind_gate.ask(), OrderProgress)


def test_nothing_is_sent_without_a_key_and_the_gate_is_closed_once(behind_gate: GatedDouble):
    behind_gate.keys.value, behind_gate.keys.version = None, None

    first, second = behind_gate.ask(), behind_gate.ask()

    assert (first.kind, second.kind) == (TroubleKind.KEY_MISSING, TroubleKind.GATE_CLOSED)
    assert behind_gate.supplier.requests == []
    assert [gate.reason for gate in behind_gate.gate.closings] == [TroubleKind.KEY_MISSING]


def test_orders_go_on_as_soon_as_a_key_has_been_set(behind_gate: GatedDouble):
    behind_gate.keys.value, behind_gate.keys.version = None, None
    behind_gate.ask()

    behind_gate.keys.rotate("version-1")
    behind_gate.supplier.will(answered(PENDING))

    assert isinstance(behind_gate.ask(), OrderProgress)
    assert behind_gate.supplier.requests[0].headers["X-Access-Token"] == API_KEY


def test_gate_stays_as_it_is_while_it_is_closed(behind_gate: GatedDouble):
    behind_gate.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="600"))
    behind_gate.ask()
    record = behind_gate.gate.gate

    for _ in range(3):
        behind_gate.clock.advance(60)
        behind_gate.ask()

    assert behind_gate.gate.gate is record
    assert behind_gate.journal.count("gate closed") == 1


def test_two_containers_do_not_present_refused_keys_in_turns(cloud: Cloud, supplier: SupplierDouble):
    # Given a key that one container presents, and another that a second container presents, both refused
    supplier.will(*(refused(401, "INVALID_ACCESS_TOKEN") for _ in range(12)))
    first, second = (supplier_on(cloud, supplier, Clock()) for _ in range(2))
    cloud.set_api_key(f"{API_KEY}-1")
    first.ask("order-1", OrderProgress)
    cloud.set_api_key(f"{API_KEY}-2")
    second.ask("order-2", OrderProgress)

    # When both go on, the first with a copy of the old key for the rest of the minute
    for number in range(5):
        first.ask(f"order-{number}", OrderProgress)
        second.ask(f"order-{number}", OrderProgress)

    # Then each key has been presented once: after five the supplier blocks the address
    presented = [request.headers["X-Access-Token"] for request in supplier.requests]
    assert presented == [f"{API_KEY}-1", f"{API_KEY}-2"]


def test_secret_is_not_read_for_every_order_after_a_refused_key_was_replaced(cloud: Cloud, supplier: SupplierDouble):
    # Given a gate that one container has closed for a key, and another key in the secret
    supplier.will(refused(401, "INVALID_ACCESS_TOKEN"), *(answered(PENDING) for _ in range(5)))
    cloud.set_api_key()
    supplier_on(cloud, supplier, Clock()).ask(ORDER_ID, OrderProgress)
    cloud.set_api_key(f"{API_KEY}-2")
    cloud.forget()

    # When a second container asks with it
    second = supplier_on(cloud, supplier, Clock())
    answers = [second.ask(ORDER_ID, OrderProgress) for _ in range(5)]

    # Then it has looked at the secret, once more to be sure, and no more
    assert all(isinstance(answer, OrderProgress) for answer in answers)
    assert len(cloud.sent("GetSecretValue")) == 2


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
    assert secret.read() == ApiKey(None, None)


def test_first_key_is_seen_at_once(cloud: Cloud, secret: ApiKeySource):
    assert secret.read().value is None

    version = cloud.set_api_key()

    assert secret.read().version == version


@pytest.mark.parametrize("value", [" ", "\n", "kéy", "two\nlines", "a\x00b", "tab\there"])
def test_value_that_no_header_can_hold_is_no_key_but_has_a_version(cloud: Cloud, secret: ApiKeySource, value: str):
    version = cloud.set_api_key(value)

    assert secret.read() == ApiKey(None, version)


def test_line_end_that_was_pasted_with_the_key_does_no_harm(cloud: Cloud, secret: ApiKeySource):
    cloud.set_api_key(f" {API_KEY}\n")

    key = secret.read()

    assert key.value is not None
    assert key.value.get_secret_value() == API_KEY


def test_secret_is_read_once_a_minute_and_a_rotated_key_is_taken_then(
    cloud: Cloud, secret: ApiKeySource, monkeypatch: pytest.MonkeyPatch
):
    # Given a key that has been read
    cloud.set_api_key()
    first = secret.read()
    second_version = cloud.set_api_key("another-key")
    assert secret.read() == first
    assert len(cloud.sent("GetSecretValue")) == 1

    # When the minute is over, then the rotated key is there
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=CACHE_SECONDS + 1)

    monkeypatch.setattr(parameters, "datetime", Later)
    assert secret.read().version == second_version


def test_secret_that_cannot_be_read_is_an_error_and_not_a_missing_key(cloud: Cloud, secret: ApiKeySource):
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

"""Every error of the supplier, and every Retry-After, means what its documents say."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.adapters.oneclickdz.supplier import (
    retry_after_seconds,
)
from giftcards.contracts.supplier import OrderProgress
from giftcards.rules.supplier_failure import FailureKind
from support.examples import NOW
from support.secrets import API_KEY, card_data
from support.supplier import SupplierDouble, refused
from support.supplier_calls import BUSY, HTML, KEY_REFUSED, REFUSED, ask_and_get, each_view

pytestmark = pytest.mark.usefixtures("no_leak")

MAX_LENGTH = 30 * 86_400


def unenveloped(status: int) -> httpx.Response:
    body = {"message": f"Cannot GET {API_KEY}", "error": "Not Found", "statusCode": status}
    return httpx.Response(status, json=body)


@each_view
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ERR_VALIDATION", FailureKind.ORDER_REJECTED),
        (400, "INVALID_ORDER_ID", FailureKind.ORDER_REJECTED),
        (401, "MISSING_ACCESS_TOKEN", KEY_REFUSED),
        (401, "INVALID_ACCESS_TOKEN", KEY_REFUSED),
        (401, "ERR_AUTH", KEY_REFUSED),
        (401, "AUTH_UNAVAILABLE", BUSY),
        (403, "IP_BLOCKED", FailureKind.ADDRESS_BLOCKED),
        (403, "IP_NOT_ALLOWED", FailureKind.ACCESS_DENIED),
        (403, "API_DISABLED", FailureKind.ACCESS_DENIED),
        (403, "IP_NOT_WHITELISTED", REFUSED),
        (403, "API_SUSPENDED", REFUSED),
        (403, "TOKEN_EXPIRED", REFUSED),
        (400, "INVALID_API_KEY", REFUSED),
        (422, "PROVIDER_API_ERROR", REFUSED),
        (200, "PROVIDER_API_ERROR", REFUSED),
        (503, "PROVIDER_API_ERROR", BUSY),
        (403, "SOMETHING_NEW", REFUSED),
        (403, "KEY_OUT_OF_STOCK", REFUSED),
        (403, "SHIP_TO_COUNTRY", REFUSED),
        (403, "NO_BALANCE", REFUSED),
        (403, "INSUFFICIENT_BALANCE", REFUSED),
        (403, "DUPLICATED_REF", REFUSED),
        *((status, "SOMETHING_NEW", REFUSED) for status in (200, 302, 402, 405, 406, 409, 410, 415, 422, 423, 451)),
        *((status, "SOMETHING_NEW", BUSY) for status in (408, 425)),
        (401, "SOMETHING_NEW", KEY_REFUSED),
        (404, "SOMETHING_NEW", FailureKind.ORDER_UNKNOWN),
        (429, "IP_TOO_MANY_REQUESTS", FailureKind.RATE_LIMITED),
        *((status, "INVALID_ACCESS_TOKEN", KEY_REFUSED) for status in (200, 400, 403, 404, 422, 500)),
        *((status, "IP_BLOCKED", FailureKind.ADDRESS_BLOCKED) for status in (200, 400, 401, 429, 503)),
        *((status, "RATE_LIMIT_EXCEEDED", FailureKind.RATE_LIMITED) for status in (200, 400, 403, 503)),
        (404, "NOT_FOUND", FailureKind.ORDER_UNKNOWN),
        (429, "RATE_LIMIT_EXCEEDED", FailureKind.RATE_LIMITED),
        (500, "INTERNAL_ERROR", BUSY),
        (500, "INTERNAL_SERVER_ERROR", BUSY),
        (503, "SERVICE_UNAVAILABLE", BUSY),
        (503, "AUTH_UNAVAILABLE", BUSY),
        (504, "SOMETHING_NEW", BUSY),
        (503, "API_OVERLOADED", BUSY),
        (418, "SOMETHING_NEW", REFUSED),
        (200, "NOT_FOUND", FailureKind.ORDER_UNKNOWN),
        (200, "INTERNAL_ERROR", BUSY),
    ],
)
def test_enveloped_error_means_what_the_documents_say(
    supplier: SupplierDouble, view: type[OrderProgress], status: int, code: str, kind: FailureKind
):
    failure = ask_and_get(supplier, refused(status, code), view)

    assert (failure.kind, failure.code, failure.status) == (kind, code, status)
    assert f"{status} {code}" in failure.message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *(
            (code, "IP_BLOCKED")
            for code in ("IP-BLOCKED", "ip_blocked", "Ip Blocked", "ipBlocked", "ip.blocked", "IPBlocked")
        ),
        *((code, "DUPLICATED_REF") for code in ("DUPLICATED-REF", " duplicated ref ", "DUPLICATEDREF")),
        ("something-new", "SOMETHING_NEW"),
        ("somethingNew", "SOMETHING_NEW"),
        ("orders/closed:err.404", "ORDERS_CLOSED_ERR_404"),
        ("1004", "1004"),
        ("E-1004", "E_1004"),
    ],
)
def test_code_is_read_in_any_case_and_separators(supplier: SupplierDouble, written: str, read: str):
    failure = ask_and_get(supplier, refused(403, written))

    assert failure.code == read
    assert f"403 {read}" in failure.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, BUSY),
        (301, BUSY),
        (400, BUSY),
        (401, BUSY),
        (403, BUSY),
        (404, BUSY),  # a wrong URL or a deployment, not an unknown order
        (405, BUSY),
        (429, FailureKind.RATE_LIMITED),
        (500, BUSY),
        (502, BUSY),
        (599, BUSY),
    ],
)
@pytest.mark.parametrize("body", ["router", "html", "empty", "cut"])
def test_error_outside_the_envelope_is_not_about_the_order(
    supplier: SupplierDouble, status: int, kind: FailureKind, body: str
):
    enveloped = refused(status, "NOT_FOUND").content
    answer = {
        "router": unenveloped(status),
        "html": httpx.Response(status, html=HTML),
        "empty": httpx.Response(status),
        "cut": httpx.Response(status, content=enveloped[: len(enveloped) // 2]),
    }[body]

    failure = ask_and_get(supplier, answer)

    assert (failure.kind, failure.code, failure.status) == (kind, None, status)


@pytest.mark.parametrize(
    "code",
    [
        card_data(1)[0]["value"],
        "WXYZ-ABCD-QRST-MNOP",
        "SANDBOX-CARD-WXYZ-ABCD-QRST-MNOP",
        "wxyz abcd qrst",
        "AB12CD34",
        "A1B2-C3D4",
        "12345678",
        "1234-5678",
        "1234-5678-9012",
        "x" * 16,
        "A_" * 24 + "B",
        "",
        "-",
        "A\nB",
        "É_CODE",
    ],
)
def test_error_code_that_is_none_is_not_repeated(supplier: SupplierDouble, code: str):
    failure = ask_and_get(supplier, refused(500, code))

    assert failure.code not in {code, code.upper()}
    assert "500 UNREADABLE_CODE" in failure.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("1.5", 1.5),
        ("-5", 0),
        ("86400", 86_400),
        ("2592000", MAX_LENGTH),
        ("2592001", None),
        ("1767225600", None),
        ("1e400", None),
        ("inf", None),
        ("nan", None),
        ("-nan", None),
        ("", None),
        ("soon", None),
        ("120 seconds", None),
        ("Sat, 14 Mar 2026 09:36:53 GMT", 600),
        ("Sat, 14 Mar 2026 10:36:53 +0100", 600),
        ("Sat, 14 Mar 2026 09:26:52 GMT", 0),
        ("Sat, 14 Mar 9999 09:26:52 GMT", None),
        ("Sat, 99 Mar 2026 09:26:52 GMT", None),
        ("Sat, 14 Mar 99999 09:26:52 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None):
    assert retry_after_seconds(value, NOW) == seconds


@given(
    st.text(st.characters(max_codepoint=0xFF), max_size=60)
    | st.builds("{}, {:02} {} {} {:02}:{:02}:{:02} {}".format, *[st.sampled_from(["Mon", "Xyz"])],
                st.integers(-1, 32), st.sampled_from(["Jan", "Feb", "Foo"]), st.integers(-1, 12_000),
                st.integers(-1, 25), st.integers(-1, 61), st.integers(-1, 61),
                st.sampled_from(["GMT", "+0000", "-9999", "+99999999", "", "XYZ"]))
)  # fmt: skip
def test_any_retry_after_is_a_possible_wait_or_none(value: str):
    seconds = retry_after_seconds(value, NOW)

    assert seconds is None or 0 <= seconds <= MAX_LENGTH


@pytest.mark.parametrize(("status", "code"), [(429, "RATE_LIMIT_EXCEEDED"), (503, "SERVICE_UNAVAILABLE")])
def test_failure_has_the_retry_after(supplier: SupplierDouble, status: int, code: str):
    assert ask_and_get(supplier, refused(status, code, Retry_After="77")).retry_after_seconds == 77
    assert ask_and_get(supplier, refused(status, code, Retry_After="soon")).retry_after_seconds is None
    assert ask_and_get(supplier, refused(status, code)).retry_after_seconds is None


def test_retry_after_is_heeded_without_the_envelope_too(supplier: SupplierDouble):
    proxied = httpx.Response(429, html=HTML, headers={"Retry-After": "30"})

    assert ask_and_get(supplier, proxied).retry_after_seconds == 30

"""ServePage: GET and HEAD change nothing, POST shows cards, and every answer carries the headers of the contract."""

import base64
import json
import re
from typing import Any

import pytest

from giftcards.use_cases.serve_page import PageRequest
from support.cloud import Cloud, client_error
from support.examples import NOW
from support.links import CODE, Buyer, new_buyer
from support.secrets import MARK, card_data


@pytest.fixture
def buyer(cloud: Cloud) -> Buyer:
    return new_buyer(cloud)


@pytest.fixture
def token(buyer: Buyer) -> str:
    buyer.deliver()
    return buyer.token()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_thirty_previews_change_nothing(buyer: Buyer, token: str, method: str):
    before = buyer.cloud.rows("LinkTable")
    for _ in range(30):
        answer = buyer.visit(method, token)
        assert answer.status == 200
        assert MARK not in answer.body
    assert buyer.cloud.rows("LinkTable") == before
    assert buyer.cloud.rows(buyer.cloud.audit_table) == []
    assert (buyer.visit("HEAD", token).body == "") is True


def test_post_shows_the_cards_in_their_order(buyer: Buyer, token: str):
    body = buyer.visit("POST", token).body
    values = re.findall(r'data-secret="value"[^>]*>([^<]*)<', body)
    assert len(values) == 2
    assert [value.split("-")[2] for value in values] == ["1", "2"]
    assert card_data(1)[0]["value"] not in body  # its quotes are escaped


@pytest.mark.parametrize(
    ("token", "status"), [("a" * 32, 404), ("", 404), ("../etc/passwd", 404), ("a" * 10_000, 404), ("%00", 404)]
)
def test_what_is_no_link_is_not_found(buyer: Buyer, token: str, status: int):
    for method in ("GET", "HEAD", "POST"):
        assert buyer.visit(method, token).status == status


def test_wrong_code_and_lock_are_403(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(code=CODE)
    states = [buyer.visit("POST", token, form={"code": "0000"}).state for _ in range(5)]
    assert states == ["WRONG_CODE"] * 4 + ["CODE_LOCKED"]
    answer = buyer.visit("POST", token, form={"code": CODE})
    assert (answer.status, answer.state) == (403, "CODE_LOCKED")
    assert MARK not in answer.body


def test_used_up_link_is_410(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(uses=1)
    assert buyer.visit("POST", token).status == 200
    assert [(buyer.visit(method, token).status) for method in ("GET", "POST")] == [410, 410]


def test_seen_before_is_shown_on_the_next_visit(buyer: Buyer, token: str):
    before = buyer.visit("GET", token, language="en").body
    buyer.visit("POST", token)
    after = buyer.visit("GET", token, language="en").body
    assert "viewed before" not in before
    assert "viewed before" in after


@pytest.mark.parametrize(("language", "expected"), [("en", "en"), ("fr", "fr"), ("ar", "ar"), ("de", "fr"), ("", "fr")])
def test_language_is_the_visitors_then_the_links(buyer: Buyer, token: str, language: str, expected: str):
    assert f'lang="{expected}"' in buyer.visit("GET", token, language=language).body


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_answer_is_private(buyer: Buyer, token: str, method: str):
    for path in (token, "x"):
        headers = buyer.visit(method, path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"


def test_failure_is_answered_later(buyer: Buyer, token: str):
    request = PageRequest("POST /c/{token}", token, None, {})
    answer = buyer.page.later(request)
    assert (answer.status, answer.state) == (503, "LATER")
    assert int(answer.headers["Retry-After"]) > 0
    buyer.cloud.at_next("Decrypt", client_error("Decrypt", "KMSInternalException"))
    assert buyer.page.serve(request, now=NOW).status == 503
    assert buyer.link_row(token)["uses"] == 0


def test_robots_are_kept_out(buyer: Buyer):
    answer = buyer.page.serve(PageRequest("GET /robots.txt", "", None, {}), now=NOW)
    assert (answer.status, answer.body) == (200, "User-agent: *\nDisallow: /\n")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"routeKey": "$default", "rawPath": "/"},
        {"routeKey": "POST /c/{token}", "pathParameters": None, "queryStringParameters": None, "body": None},
        {"routeKey": "POST /c/{token}", "pathParameters": {"token": "x"}, "body": "%%%", "isBase64Encoded": True},
        {"routeKey": "POST /c/{token}", "pathParameters": {"token": "x"}, "body": "\udcff"},
        {"routeKey": "POST /c/{token}", "pathParameters": {"token": "x"}, "body": "&".join(["a=1"] * 99)},
        {
            "routeKey": "POST /c/{token}",
            "body": base64.b64encode(b"code=" + b"\xff" * 99).decode(),
            "isBase64Encoded": True,
        },
    ],
)
def test_any_request_is_answered(buyer: Buyer, event: dict[str, Any]):
    assert buyer.page.serve(PageRequest.from_http(event), now=NOW).status == 404


def test_form_is_read_as_api_gateway_sends_it(buyer: Buyer):
    buyer.deliver()
    token = buyer.token(code=CODE)
    body = base64.b64encode(f"code={CODE}&page=1".encode()).decode()
    event = {
        "routeKey": "POST /c/{token}",
        "pathParameters": {"token": f"{token}."},
        "queryStringParameters": {"l": "en", "utm_source": "x"},
        "body": body,
        "isBase64Encoded": True,
    }
    answer = buyer.page.serve(PageRequest.from_http(json.loads(json.dumps(event))), now=NOW)
    assert (answer.status, answer.state) == (200, "SHOWN")
    assert MARK not in repr(answer)

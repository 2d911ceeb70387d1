"""ServeShop as API Gateway calls it: every status of the contract, what it publishes, and what it never says."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from giftcards.adapters import aws
from giftcards.adapters.shop_keys import CACHE_SECONDS, UNKNOWN_KEY_SECONDS, ShopKeys
from giftcards.contracts.links import LinkOutcome
from giftcards.contracts.shop import LIMITS, LinkBody, OrderBody
from giftcards.use_cases.serve_shop import MAX_BODY_BYTES
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.links import ADDRESS, CODE, new_buyer
from support.secrets import MARK, leaks
from unit.container import Container, measured

KEY = f"{MARK}-shop-{MARK}"
LINK = {
    "orderId": ORDER_ID,
    "userId": USER_ID,
    "url": f"https://page.example/c/{'a' * 32}",
    "linkId": "0123456789abcdef",
    "channel": "shop",
    "expiresAt": "2026-04-14T00:00:00Z",
    "uses": 10,
}


@dataclass
class Shop:
    """A shop's backend, and what CreateLink answers it."""

    container: Container
    cloud: Cloud
    secret_arn: str
    answer: dict[str, Any] = field(default_factory=lambda: LINK)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = KEY, kind: str = "application/json"
    ) -> dict[str, Any]:
        """Send a request as API Gateway passes it on."""
        text = body if isinstance(body, str) else None if body is None else json.dumps(body)
        headers = {"content-type": kind} if text is not None else {}
        headers |= {} if key is None else {"authorization": f"Bearer {key}"}
        event = {
            "rawPath": path,
            "headers": headers,
            "requestContext": {"http": {"method": method}},
            "isBase64Encoded": kind != "application/json",
        }
        if text is not None:
            event["body"] = base64.b64encode(text.encode()).decode() if event["isBase64Encoded"] else text
        return self.container.call("serve_shop", event)

    def place(self, **changes: Any) -> dict[str, Any]:
        return self.call("POST", "/v1/orders", {"orderId": ORDER_ID, "userId": USER_ID} | changes)

    def link(self, **changes: Any) -> dict[str, Any]:
        return self.call("POST", f"/v1/orders/{ORDER_ID}/links", {"userId": USER_ID} | changes)

    def published(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return source, detail-type and detail of every event."""
        entries = [entry for call in self.cloud.sent("PutEvents") for entry in call["Entries"]]
        return [(entry["Source"], entry["DetailType"], json.loads(entry["Detail"])) for entry in entries]


@pytest.fixture
def shop(container: Container, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    secret_arn = aws.secrets_manager().create_secret(Name="shop-api-key", SecretString=KEY)["ARN"]
    shop = Shop(container, cloud, secret_arn)
    monkeypatch.setenv("SHOP_API_KEY_SECRET_ARN", secret_arn)
    monkeypatch.setenv("CREATE_LINK_FUNCTION_ARN", "arn:aws:lambda:eu-west-1:123456789012:function:create-link:live")

    class Lambda:
        """Stands in for CreateLink, or fails as it does."""

        @staticmethod
        def invoke(FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
            assert FunctionName.endswith(":create-link:live")
            shop.asked.append(json.loads(Payload))
            failed = {"FunctionError": "Unhandled"} if not shop.answer else {}
            return {"Payload": io.BytesIO(json.dumps(shop.answer or {"errorMessage": MARK}).encode()), **failed}

    monkeypatch.setattr(aws, "lambda_", Lambda)
    return shop


def problem(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the problem document, after checking its form (RFC 9457)."""
    body: dict[str, Any] = json.loads(answer["body"])
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert (body["type"], body["status"]) == ("about:blank", answer["statusCode"])
    assert body["title"]
    assert body["detail"]
    return body


# Placing an order


def test_order_is_published_for_the_workflow(shop: Shop):
    answer = shop.place(placedAt="2026-03-15T00:00:00+01:00", gift="ignored")
    assert (answer["statusCode"], json.loads(answer["body"])) == (202, {"orderId": ORDER_ID})
    assert answer["headers"]["Content-Type"] == "application/json"
    detail = {"orderId": ORDER_ID, "userId": USER_ID, "placedAt": "2026-03-15T00:00:00+01:00"}
    assert shop.published() == [("giftcards.shop", "OrderPlaced", detail)]


def test_recipient_is_published_before_the_order(shop: Shop):
    shop.place(recipient={"email": ADDRESS, "language": "fr"})
    assert [(name, detail) for _, name, detail in shop.published()] == [
        ("RecipientSet", {"orderId": ORDER_ID, "userId": USER_ID, "email": ADDRESS, "language": "fr"}),
        ("OrderPlaced", {"orderId": ORDER_ID, "userId": USER_ID}),
    ]
    assert not leaks(shop.container.everything_logged)
    assert ADDRESS not in shop.container.everything_logged


def test_no_order_is_published_if_the_recipient_cannot_be(shop: Shop):
    shop.cloud.at_next("PutEvents", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalException"}]})
    answer = shop.place(recipient={"email": ADDRESS})
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")
    assert [name for _, name, _ in shop.published()] == ["RecipientSet"]


@pytest.mark.parametrize("fault", [client_error("PutEvents", "AccessDeniedException"), client_error("PutEvents")])
def test_failing_bus_is_a_503_that_accepted_nothing(shop: Shop, fault: Exception):
    shop.cloud.at_next("PutEvents", fault)
    answer = shop.place()
    assert answer["statusCode"] == 503
    assert "Retry-After" in answer["headers"]
    assert problem(answer)["title"] == "Service Unavailable"
    assert shop.place()["statusCode"] == 202


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"orderId": ""}, ["orderId"]),
        ({"orderId": "with space"}, ["orderId"]),
        ({"orderId": 7}, ["orderId"]),
        ({"userId": f"é{MARK}"}, ["userId"]),
        ({"userId": None, "orderId": "x" * 129}, ["orderId", "userId"]),
        ({"placedAt": f"yesterday {MARK}"}, ["placedAt"]),
        ({"placedAt": 0}, ["placedAt"]),
        ({"placedAt": "2026-03-15T00:00:00"}, ["placedAt"]),
        ({"placedAt": "0"}, ["placedAt"]),
        ({"recipient": MARK}, ["recipient"]),
        ({"recipient": {}}, ["recipient.email"]),
        ({"recipient": {"email": f"{MARK}@"}}, ["recipient.email"]),
        ({"recipient": {"email": ADDRESS, "language": MARK}}, ["recipient.language"]),
        ({"recipient": {"email": ADDRESS, "label": f"\n{MARK}"}}, ["recipient.label"]),
    ],
)  # fmt: skip
def test_invalid_field_is_named_and_not_quoted(shop: Shop, changes: dict[str, Any], fields: list[str]):
    answer = shop.place(**changes)
    assert answer["statusCode"] == 400
    errors = problem(answer)["errors"]
    assert [error["field"] for error in errors] == fields
    assert all(error["message"] for error in errors)
    assert not leaks(answer["body"], shop.container.everything_logged)
    assert shop.published() == []


@pytest.mark.parametrize("body", ["", "[]", "null", '"text"', "{", f'{{"orderId": "{MARK}', "\x00", "[" * 9000])
def test_body_that_is_no_object_is_invalid(shop: Shop, body: str):
    answer = shop.call("POST", "/v1/orders", body)
    assert (answer["statusCode"], [error["field"] for error in problem(answer)["errors"]]) == (400, ["body"])
    assert not leaks(answer["body"])


def test_every_field_has_its_limit_in_words():
    for model in (OrderBody, LinkBody):
        assert {str(each.alias) for each in model.model_fields.values()} <= set(LIMITS)


def test_large_body_is_refused(shop: Shop):
    assert shop.place(note="x" * MAX_BODY_BYTES)["statusCode"] == 413
    assert shop.place(note="x" * (MAX_BODY_BYTES - 100))["statusCode"] == 202


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_body_that_is_not_json_is_refused(shop: Shop, kind: str):
    assert shop.call("POST", "/v1/orders", "{}", kind=kind)["statusCode"] == 415


def test_content_type_may_name_a_charset(shop: Shop):
    body = json.dumps({"orderId": ORDER_ID, "userId": USER_ID})
    assert shop.call("POST", "/v1/orders", body, kind="Application/JSON; charset=utf-8")["statusCode"] == 202


# Who calls


@pytest.mark.parametrize("key", [None, "", "wrong", KEY[:-1], f"{KEY}x", "é"])
@pytest.mark.parametrize("path", ["/v1/orders", f"/v1/orders/{ORDER_ID}", "/v1/nothing"])
def test_every_path_needs_the_key(shop: Shop, key: str | None, path: str):
    answer = shop.call("GET", path, key=key)
    assert (answer["statusCode"], answer["headers"]["WWW-Authenticate"]) == (401, "Bearer")
    assert problem(answer)["title"] == "Unauthorized"
    assert not leaks(answer["body"], shop.container.everything_logged)


@pytest.mark.parametrize("scheme", ["Basic", "Bearerx", ""])
def test_key_needs_its_scheme(shop: Shop, scheme: str):
    event = {
        "rawPath": "/v1/orders",
        "headers": {"authorization": f"{scheme} {KEY}"},
        "requestContext": {"http": {"method": "POST"}},
    }
    assert shop.container.call("serve_shop", event)["statusCode"] == 401


@pytest.fixture
def time() -> list[float]:
    return [1000.0]


@pytest.fixture
def keys(cloud: Cloud, time: list[float]) -> ShopKeys:
    arn = aws.secrets_manager().create_secret(Name="rotated", SecretString="one")["ARN"]
    return ShopKeys(arn, aws.secrets_manager(), clock=lambda: time[0])


def rotate(value: str) -> None:
    aws.secrets_manager().put_secret_value(SecretId="rotated", SecretString=value)


def accepted(keys: ShopKeys) -> list[str]:
    return [key for key in ("one", "two", "three") if keys.accept(SecretStr(key))]


def test_new_and_previous_key_are_accepted_at_once(keys: ShopKeys, time: list[float]):
    assert accepted(keys) == ["one"]
    time[0] += UNKNOWN_KEY_SECONDS
    rotate("two")
    assert accepted(keys) == ["one", "two"]


def test_key_that_is_rotated_twice_is_refused_within_a_minute(keys: ShopKeys, time: list[float]):
    assert keys.accept(SecretStr("one"))
    rotate("two")
    rotate("three")
    time[0] += CACHE_SECONDS
    assert accepted(keys) == ["two", "three"]


def test_wrong_keys_read_the_secret_once_a_second(cloud: Cloud, keys: ShopKeys, time: list[float]):
    cloud.forget()
    for _ in range(100):
        assert not keys.accept(SecretStr("wrong"))
    first, second = (len(cloud.sent("GetSecretValue")), UNKNOWN_KEY_SECONDS)
    time[0] += second
    assert not keys.accept(SecretStr("wrong"))
    assert (first, len(cloud.sent("GetSecretValue"))) == (4, 6)  # two versions each


def test_empty_secret_accepts_nobody(cloud: Cloud):
    arn = aws.secrets_manager().create_secret(Name="empty", SecretString=" ")["ARN"]
    assert not ShopKeys(arn, aws.secrets_manager()).accept(SecretStr(""))


def test_unreadable_secret_is_a_503_not_a_401(shop: Shop):
    shop.cloud.at_next("GetSecretValue", client_error("GetSecretValue", "AccessDeniedException"))
    assert shop.place()["statusCode"] == 503
    assert shop.place()["statusCode"] == 202


def test_both_versions_are_compared_whatever_the_first_says(keys: ShopKeys, monkeypatch: pytest.MonkeyPatch):
    compared: list[bytes] = []

    def compare(_given: bytes, own: bytes) -> bool:
        compared.append(own)
        return True

    rotate("two")
    monkeypatch.setattr("hmac.compare_digest", compare)
    assert keys.accept(SecretStr("two"))
    assert compared == [b"two", b"one"]


# How an order is


def test_delivered_order_is_shown_without_cards(shop: Shop):
    new_buyer(shop.cloud).deliver()
    answer = shop.call("GET", f"/v1/orders/{ORDER_ID}")
    shown = json.loads(answer["body"])
    assert answer["statusCode"] == 200
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert (shown["status"], shown["quantity"], shown["fulfilledQuantity"]) == ("FULFILLED", 2, 2)
    assert set(shown) == {"orderId", "userId", "status", "quantity", "fulfilledQuantity", "deliveredAt"}
    assert not leaks(answer["body"])


def test_held_order_has_its_reason_and_an_open_one_no_counts(shop: Shop):
    shop.cloud.claim()
    assert json.loads(shop.call("GET", f"/v1/orders/{ORDER_ID}")["body"]) == {
        "orderId": ORDER_ID,
        "userId": USER_ID,
        "status": "HANDLING",
    }
    shop.cloud.hold()
    shown = json.loads(shop.call("GET", f"/v1/orders/{ORDER_ID}")["body"])
    assert (shown["status"], shown["heldReason"]) == ("HELD", "DEADLINE_PASSED")
    assert "heldMessage" not in shown


def test_refunded_order_has_its_count(shop: Shop):
    shop.cloud.claim(status="REFUNDED", quantity=3, fulfilledQuantity=0, refundedAt=NOW.isoformat())
    shown = json.loads(shop.call("GET", f"/v1/orders/{ORDER_ID}")["body"])
    assert (shown["status"], shown["refundedQuantity"], shown["fulfilledQuantity"]) == ("REFUNDED", 3, 0)


def test_unknown_order_is_404(shop: Shop):
    assert problem(shop.call("GET", "/v1/orders/none"))["title"] == "Not Found"


@pytest.mark.parametrize(
    ("path", "order_id"),
    [("/v1/orders/a/b", "a/b"), ("/v1/orders/100%25", "100%"), ("/v1/orders/\"<é", None), ("/v1/orders/a b", None)],
)  # fmt: skip
def test_order_id_in_the_path_is_decoded_and_checked(shop: Shop, path: str, order_id: str | None):
    if order_id is None:
        assert problem(shop.call("GET", path))["errors"] == [
            {"field": "orderId", "message": f"must be {LIMITS['orderId']}"}
        ]
        return
    shop.cloud.claim(order_id)
    assert json.loads(shop.call("GET", path)["body"])["orderId"] == order_id
    assert shop.call("POST", f"{path}/links", {"userId": USER_ID})["statusCode"] == 200
    assert shop.asked[0]["orderId"] == order_id


def test_role_reads_an_order_by_its_attributes_only(shop: Shop):
    shop.cloud.claim()
    shop.cloud.forget()
    shop.call("GET", f"/v1/orders/{ORDER_ID}")
    (read,) = shop.cloud.sent("GetItem")
    assert "ciphertext" not in str(read["ExpressionAttributeNames"])
    assert read["ConsistentRead"] is True


# Links


def test_link_is_that_of_create_link(shop: Shop):
    answer = shop.link(channel="app", language="ar", label="2 × card", code="1234", uses=3, days=7, replace=True)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, LINK)
    assert shop.asked == [
        {
            "orderId": ORDER_ID,
            "userId": USER_ID,
            "channel": "app",
            "language": "ar",
            "label": "2 × card",
            "code": "1234",
            "uses": 3,
            "days": 7,
            "replace": True,
        }
    ]
    assert LINK["url"] not in shop.container.everything_logged


def test_link_can_be_mailed(shop: Shop):
    assert shop.link(mail={"email": ADDRESS})["statusCode"] == 200
    assert shop.asked == [{"orderId": ORDER_ID, "userId": USER_ID, "replace": False, "mail": ADDRESS}]
    assert ADDRESS not in shop.container.everything_logged


OUTCOMES = {
    LinkOutcome.NOT_FOUND: (404, None),
    LinkOutcome.NOT_DELIVERED: (409, "NOT_DELIVERED"),
    LinkOutcome.CARDS_EXPIRED: (410, None),
    LinkOutcome.ENDED: (409, "ENDED"),
    LinkOutcome.OTHER_OPTIONS: (409, "OTHER_OPTIONS"),
    LinkOutcome.TOO_MANY_LINKS: (409, "TOO_MANY_LINKS"),
    LinkOutcome.MAIL_DISABLED: (400, None),
    LinkOutcome.MAIL_NOT_SENT: (409, "MAIL_NOT_SENT"),
    LinkOutcome.BUSY: (503, None),
}


@pytest.mark.parametrize("outcome", set(LinkOutcome) - {"CREATED", "EXISTS", "INVALID_REQUEST"})
def test_refused_link_has_its_status(shop: Shop, outcome: LinkOutcome):
    shop.answer = {"outcome": outcome, "message": "Why, and what to do."}
    answer = shop.link()
    assert (answer["statusCode"], problem(answer).get("reason")) == OUTCOMES[outcome]
    assert ("Retry-After" in answer["headers"]) is (answer["statusCode"] == 503)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"userId": None}, ["userId"]),
        ({"uses": 0, "days": 366}, ["days", "uses"]),
        ({"uses": "3"}, ["uses"]),
        ({"days": 1.5, "uses": 1e400}, ["days", "uses"]),
        ({"code": f"12{MARK}"}, ["code"]),
        ({"channel": "UPPER", "replace": "yes"}, ["channel", "replace"]),
        ({"mail": ADDRESS}, ["mail"]),
        ({"mail": {"email": f"A <{ADDRESS}>"}}, ["mail.email"]),
        ({"label": "\u202e"}, ["label"]),
    ],
)
def test_invalid_link_request_names_its_fields(shop: Shop, changes: dict[str, Any], fields: list[str]):
    answer = shop.link(**changes)
    assert (answer["statusCode"], [error["field"] for error in problem(answer)["errors"]]) == (400, fields)
    assert not leaks(answer["body"], shop.container.everything_logged)
    assert shop.asked == []


def test_failing_create_link_is_a_503_without_its_error(shop: Shop):
    shop.answer = {}
    answer = shop.link(code=CODE)
    assert answer["statusCode"] == 503
    assert not leaks(answer["body"], shop.container.everything_logged)
    assert [line["level"] for line in shop.container.log] == ["ERROR"]


# Paths and methods


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/orders", "POST"),
        ("PUT", "/v1/orders", "POST"),
        ("DELETE", f"/v1/orders/{ORDER_ID}", "GET"),
        ("GET", f"/v1/orders/{ORDER_ID}/links", "POST"),
    ],
)
def test_other_method_is_405(shop: Shop, method: str, path: str, allowed: str):
    answer = shop.call(method, path)
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, allowed)
    problem(answer)


@pytest.mark.parametrize("path", ["/v1/", "/v1/orders/", "/v1/ordersx", "/v1/cards", "/v2/v1/orders"])
def test_other_path_is_404(shop: Shop, path: str):
    assert shop.call("GET", path)["statusCode"] == 404


# Logs and metrics


def broken_table(shop: Shop) -> dict[str, Any]:
    shop.cloud.at_next("GetItem", client_error("GetItem"), table=shop.cloud.card_table)
    return shop.call("GET", f"/v1/orders/{ORDER_ID}")


LOGGED = {
    "placed": (lambda shop: shop.place(), ["INFO", 202, "POST /v1/orders", ORDER_ID, None]),
    "refused": (lambda shop: shop.call("GET", "/v1/orders", key="x"), ["WARNING", 401, "", None, None]),
    "invalid": (lambda shop: shop.place(userId=""), ["WARNING", 400, "POST /v1/orders", None, None]),
    "failed": (broken_table, ["ERROR", 503, "", None, "ClientError"]),
}
MEASURED = {"refused": ["ShopKeyRefused"], "failed": ["ShopCallFailed"]}


@pytest.mark.parametrize("name", LOGGED)
def test_each_call_is_one_line_and_failures_are_measured(shop: Shop, capsys: pytest.CaptureFixture[str], name: str):
    call, expected = LOGGED[name]
    call(shop)
    (line,) = shop.container.log
    assert [line.get(key) for key in ("level", "status", "route", "orderId", "note")] == expected
    names = [name for each in measured(capsys) for name in each if name.startswith("Shop")]
    assert names == MEASURED.get(name, [])


def test_missing_setting_is_named_and_the_environment_not_shown(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SHOP_API_KEY_SECRET_ARN")
    monkeypatch.setenv("ABOVE_ALL", MARK)
    assert shop.place()["statusCode"] == 503
    assert [line["note"] for line in shop.container.log] == ["ValidationError"]
    assert not leaks(shop.container.everything_logged)

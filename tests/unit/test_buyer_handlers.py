"""The buyer's functions as Lambda calls them: what they answer, what they log, and what never leaves them."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest

from giftcards.adapters import aws
from giftcards.metrics import Metric
from support.cloud import Cloud, client_error, kms_client
from support.examples import NOW, ORDER_ID, USER_ID
from support.links import ADDRESS, CODE, PAGE_URL, Buyer, new_buyer
from support.secrets import MARK, leaks
from unit.container import Container
from unit.test_measures import OF_THE_BUYER

RECIPIENT = {"orderId": ORDER_ID, "userId": USER_ID, "email": ADDRESS, "language": "en"}
DELIVERED = {
    "schemaVersion": "1",
    "occurredAt": NOW.isoformat(),
    "orderId": ORDER_ID,
    "userId": USER_ID,
    "deliveryId": "delivery-1",
    "quantity": 2,
    "fulfilledQuantity": 2,
}
VARIABLES = {
    "store_recipient": "RECIPIENT_KEY_ARN",
    "send_link": "LINK_KEY_ARN",
    "create_link": "PAGE_URL",
    "redeem_link": "CARD_KEY_ARN",
    "record_mail_status": "ORDER_BUS_NAME",
}


@pytest.fixture
def buyer(container: Container, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Buyer:
    """Return the buyer's side with the environment that the template gives its functions."""
    buyer = new_buyer(cloud)
    hmac_key = kms_client().create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"]
    values = {
        "LINK_TABLE_NAME": "LinkTable",
        "LINK_KEY_ARN": hmac_key,
        "RECIPIENT_KEY_ARN": cloud.create_key(),
        "PAGE_URL": PAGE_URL,
        "PAGE_LANGUAGE": "ar",
        "SHOP_NAME": "Dzair Games",
        "SHOP_CONTACT": "help@shop.example",
        "LINK_DAYS": "30",
        "LINK_USES": "10",
        "MAIL_FROM": "cards@shop.example",
        "MAIL_CONFIGURATION_SET": "links",
        "RECIPIENT_DAYS": "30",
        "REDEEM_LINK_FUNCTION_ARN": "arn:aws:lambda:eu-west-1:123456789012:function:redeem:live",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    class Lambda:
        """Stands in for the invocation of RedeemLink: the function's own handler answers."""

        @staticmethod
        def invoke(FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
            assert FunctionName == values["REDEEM_LINK_FUNCTION_ARN"]
            try:
                answer = container.call("redeem_link", json.loads(Payload))
            except Exception as error:  # noqa: BLE001 - Lambda answers so, whatever it was
                return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(str(error)).encode())}
            return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    monkeypatch.setattr(aws, "lambda_", Lambda)
    return buyer


def visit(container: Container, method: str, token: str, body: str = "") -> dict[str, Any]:
    return container.call(
        "serve_page",
        {
            "routeKey": f"{method} /c/{{token}}",
            "pathParameters": {"token": token},
            "queryStringParameters": {"l": "en"},
            "body": body,
            "isBase64Encoded": False,
        },
    )


def created(container: Container, **changes: Any) -> dict[str, Any]:
    return container.call("create_link", {"orderId": ORDER_ID, "userId": USER_ID, **changes})


def test_mail_is_sent_from_events(container: Container, buyer: Buyer):
    container.call("store_recipient", {"detail-type": "RecipientSet", "detail": RECIPIENT})
    assert container.call("send_link", {"detail-type": "CardsDelivered", "detail": DELIVERED}) == {"SENT": 1}
    assert container.call("send_link", {}) == {}
    assert buyer.published() == ["LinkMailSent"]
    assert not leaks(container.everything_logged)
    assert buyer.mailed_token() not in container.everything_logged


@pytest.mark.parametrize(
    ("detail", "published"),
    [
        (RECIPIENT | {"email": "nobody"}, ["LinkMailFailed"]),
        (RECIPIENT | {"userId": ""}, []),
        ({}, []),
        (None, []),
    ],
)
def test_unusable_recipient_is_logged_without_its_address(
    container: Container, buyer: Buyer, detail: Any, published: list[str]
):
    container.call("store_recipient", {"detail": detail})
    assert buyer.published() == published
    assert buyer.cloud.rows("LinkTable") == []
    assert [line["level"] for line in container.log] == ["WARNING"]
    assert not leaks(container.everything_logged)


def test_refused_mail_is_a_warning_with_its_code(container: Container, buyer: Buyer):
    container.call("store_recipient", {"detail": RECIPIENT})
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", "SendingPausedException"))
    assert container.call("send_link", {"detail-type": "CardsDelivered", "detail": DELIVERED}) == {"REFUSED": 1}
    assert [(line["level"], line["notes"]) for line in container.log if "notes" in line] == [
        ("WARNING", ["SendingPausedException"])
    ]


def test_link_is_answered_and_never_logged(container: Container, buyer: Buyer):
    buyer.deliver()
    answer = created(container, code=CODE)
    assert set(answer) == {"orderId", "userId", "url", "linkId", "channel", "expiresAt", "uses"}
    token = answer["url"].rpartition("/")[2]
    logged = container.everything_logged
    assert answer["linkId"] in logged
    assert token not in logged


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"uses": 0}, "INVALID_REQUEST"),
        ({"userId": "mallory"}, "NOT_FOUND"),
        ({"mail": "Alice <a@b.example>"}, "INVALID_REQUEST"),
    ],
)
def test_refused_link_says_why(container: Container, buyer: Buyer, changes: dict[str, Any], outcome: str):
    buyer.deliver()
    answer = created(container, **changes)
    assert answer["outcome"] == outcome
    assert answer["message"]


def test_page_shows_cards_and_logs_none(container: Container, buyer: Buyer):
    buyer.deliver()
    token = created(container)["url"].rpartition("/")[2]
    assert visit(container, "GET", token)["statusCode"] == 200
    shown = visit(container, "POST", token, "page=1")
    assert shown["statusCode"] == 200
    assert MARK in shown["body"]
    assert not leaks(container.everything_logged)
    assert token not in container.everything_logged


def test_page_answers_later_whatever_fails(container: Container, buyer: Buyer):
    buyer.deliver()
    token = created(container)["url"].rpartition("/")[2]
    buyer.cloud.at_next("PutItem", client_error("PutItem"))
    failed = visit(container, "POST", token)
    assert (failed["statusCode"], "Retry-After" in failed["headers"]) == (503, True)
    buyer.cloud.at_next("GetItem", client_error("GetItem"))
    assert visit(container, "GET", token)["statusCode"] == 503
    assert buyer.link_row(token)["uses"] == 0


def test_bounce_is_published(container: Container, buyer: Buyer):
    buyer.deliver()
    created(container)
    (link_hash,) = buyer.links.get_links(ORDER_ID, USER_ID).hashes
    detail = {
        "mail": {"destination": [ADDRESS], "tags": {"giftcards-link": [link_hash]}},
        "bounce": {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": ADDRESS}]},
    }
    container.call(
        "record_mail_status", {"detail-type": "Email Bounced", "time": "2026-03-15T00:00:00Z", "detail": detail}
    )
    assert buyer.published() == ["LinkMailBounced"]
    assert not leaks(container.everything_logged)


@pytest.mark.parametrize(("name", "variable"), VARIABLES.items())
def test_buyers_function_without_settings_fails_by_their_names(
    container: Container, buyer: Buyer, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
):
    assert buyer.measured.values == {}
    events: dict[str, Any] = {
        "store_recipient": {"detail": RECIPIENT},
        "create_link": {"orderId": ORDER_ID, "userId": USER_ID},
        "redeem_link": {"token": "a" * 32},
        "record_mail_status": {"detail-type": "Email Bounced", "time": "2026-03-15T00:00:00Z", "detail": {}},
    }
    monkeypatch.delenv(variable)
    monkeypatch.setenv("ABOVE_ALL", MARK)
    with pytest.raises(ValueError, match=variable) as refusal:
        container.call(name, events.get(name, {}))
    assert not leaks(refusal.value)


def test_every_metric_of_the_buyer_is_emitted(buyer: Buyer):
    """Run each way in which a link is used, and compare what the use cases measured with the table of metrics."""
    buyer.deliver()
    buyer.name_recipient()
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", "MessageRejected"))
    buyer.announce()
    buyer.run_schedule(NOW + timedelta(minutes=15))
    token = buyer.token(code=CODE, uses=1)
    for code in ["0000"] * 5 + [CODE]:
        buyer.redeem(token, code=code)
    for changes in ({"channel": "once", "uses": 1}, {"channel": "ended", "days": 1}, {"channel": "failing"}):
        other = buyer.token(**changes)
        if changes["channel"] == "failing":
            buyer.cloud.at_next("Decrypt", client_error("Decrypt", "KMSInternalException"))
        buyer.redeem(other)
        buyer.redeem(other, NOW + timedelta(days=2 if "days" in changes else 0))
    buyer.token(replace=True)
    buyer.redeem(token)
    buyer.redeem("a" * 32)
    row = buyer.link_row(token)
    buyer.cloud.put(
        "LinkTable", {n: v for n, v in row.items() if n != "replacedAt"} | {"cardsExpireAt": row["createdAt"]}
    )
    buyer.redeem(token, NOW + timedelta(days=1))

    measured = {metric for metric in buyer.measured.values if metric.emitted_by in OF_THE_BUYER}
    assert measured == {metric for metric in Metric if metric.emitted_by in OF_THE_BUYER}

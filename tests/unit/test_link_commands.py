"""`giftcards link`, `links`, `revoke-links`, `show` and `local mail`: only `link` and the mail contain a URL."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from giftcards.contracts.links import LinkRequest
from giftcards.rules.links import hash_of
from giftcards.rules.mails import MailFailure
from giftcards_cli.commands import local
from giftcards_cli.stack import Stack
from giftcards_local.cloud import LocalCloud
from support.cloud import Cloud
from support.command_line import Giftcards
from support.examples import ORDER_ID, USER_ID
from support.links import ADDRESS, CODE, PAGE_URL, Buyer, new_buyer

AT = datetime.now(UTC).replace(microsecond=0)
LINK_FIELDS = {"linkId", "channel", "createdAt", "expiresAt", "uses", "maxUses", "lastUsedAt", "state"}


@pytest.fixture
def buyer(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Buyer:
    """Return the buyer of a delivered order; the command's calls reach CreateLink's use case."""
    buyer = new_buyer(cloud)
    buyer.deliver()

    def invoke(_: Stack, function: str, payload: dict[str, Any]) -> dict[str, Any]:
        assert function == "CreateLink"
        answer = buyer.creation.create(LinkRequest.model_validate(payload), now=AT)
        if answer.created is None:
            return {"outcome": answer.outcome, "message": answer.message}
        return answer.created.model_dump(mode="json", by_alias=True)

    monkeypatch.setattr(Stack, "invoke", invoke)
    return buyer


def url_of(giftcards: Giftcards, *options: str) -> str:
    result = giftcards("link", ORDER_ID, "--user", USER_ID, *options, "--json")
    assert (result.code, result.err) == (0, "")
    return str(result.document["url"])


def listed(giftcards: Giftcards) -> list[dict[str, Any]]:
    return list(json.loads(giftcards("links", ORDER_ID, "--json").out))


# -------------------------------------------------------------------- link


@pytest.mark.usefixtures("buyer")
def test_same_call_prints_the_same_link(giftcards: Giftcards):
    first = giftcards("link", ORDER_ID, "--user", USER_ID)
    url, about = first.out.splitlines()

    assert (first.code, first.err) == (0, "")
    assert url.startswith(f"{PAGE_URL}/c/")
    assert hash_of(url.rpartition("/")[2])[:16] in about
    assert url_of(giftcards) == url


@pytest.mark.usefixtures("buyer")
def test_link_document_has_the_fields_of_the_contract(giftcards: Giftcards):
    document = giftcards("link", ORDER_ID, "--user", USER_ID, "--uses", "3", "--days", "2", "--json").document

    assert set(document) == {"orderId", "userId", "url", "linkId", "channel", "expiresAt", "uses"}
    assert (document["orderId"], document["userId"], document["channel"]) == (ORDER_ID, USER_ID, "shop")
    assert document["uses"] == 3
    assert datetime.fromisoformat(document["expiresAt"]) == AT + timedelta(days=2)


def test_options_reach_the_link(giftcards: Giftcards, buyer: Buyer):
    options = ("--channel", "whatsapp", "--language", "en", "--label", "2 × PSN", "--code", "٤٧١١")
    token = url_of(giftcards, *options).rpartition("/")[2]

    row = buyer.link_row(token)
    assert (row["channel"], row["language"], row["label"]) == ("whatsapp", "en", "2 × PSN")
    assert buyer.redeem(token, AT, code=CODE).cards


@pytest.mark.usefixtures("buyer")
def test_replace_closes_the_earlier_links(giftcards: Giftcards):
    first = url_of(giftcards)
    assert url_of(giftcards, "--replace") != first
    assert [link["state"] for link in listed(giftcards)] == ["REPLACED", "READY"]


def test_link_can_be_mailed_and_the_address_is_printed_nowhere(giftcards: Giftcards, buyer: Buyer):
    result = giftcards("link", ORDER_ID, "--user", USER_ID, "--mail", ADDRESS)

    (mail,) = buyer.mails()
    assert mail["To"] == ADDRESS
    assert buyer.mailed_token() in result.out
    assert ADDRESS not in result.out + repr(buyer.cloud.rows("LinkTable"))


@pytest.mark.usefixtures("buyer")
@pytest.mark.parametrize(("order_id", "user"), [("unknown", USER_ID), (ORDER_ID, "mallory")])
def test_refusal_is_one_line(giftcards: Giftcards, order_id: str, user: str):
    result = giftcards("link", order_id, "--user", user)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "options",
    [
        ("--uses", "0"),
        ("--uses", "101"),
        ("--days", "366"),
        ("--code", "123"),
        ("--language", "de"),
        ("--channel", "Web Shop"),
        ("--label", "a\u202eb"),
        ("--mail", "Alice <alice@mail.example>"),
    ],
)
def test_invalid_option_is_named_and_not_quoted(giftcards: Giftcards, options: tuple[str, str]):
    result = giftcards("link", ORDER_ID, "--user", USER_ID, *options)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert options[0] in result.err
    assert options[1] not in result.err.replace(" 1 to 100", "")


# -------------------------------------------------------- links, revoke-links


def test_links_are_listed_oldest_first_without_a_url(giftcards: Giftcards, buyer: Buyer):
    token = buyer.token(now=AT)
    buyer.token(now=AT, channel="whatsapp")
    buyer.redeem(token, AT)

    first, second = listed(giftcards)

    assert set(first) == LINK_FIELDS
    assert (first["linkId"], first["channel"], first["state"]) == (hash_of(token)[:16], "shop", "READY")
    assert (first["uses"], first["maxUses"]) == (1, 10)
    assert first["lastUsedAt"] is not None
    assert (second["channel"], second["uses"], second["lastUsedAt"]) == ("whatsapp", 0, None)
    printed = giftcards("links", ORDER_ID).out + giftcards("links", ORDER_ID, "--json").out
    assert hash_of(token)[:16] in printed
    assert not any(secret in printed for secret in (token, PAGE_URL, hash_of(token)))


@pytest.mark.usefixtures("buyer")
def test_order_without_links_says_how_to_create_one(giftcards: Giftcards):
    assert listed(giftcards) == []
    assert "giftcards link" in giftcards("links", ORDER_ID).out


def test_revoked_links_show_no_card(giftcards: Giftcards, buyer: Buyer):
    token = url_of(giftcards).rpartition("/")[2]

    assert giftcards("revoke-links", ORDER_ID).code == 0

    assert not buyer.redeem(token, AT).cards
    assert [link["state"] for link in listed(giftcards)] == ["REPLACED"]
    assert not url_of(giftcards).endswith(token)


def test_revoking_no_link_changes_nothing(giftcards: Giftcards, buyer: Buyer):
    assert giftcards("revoke-links", ORDER_ID).code == 0
    assert buyer.cloud.rows("LinkTable") == []


def test_links_created_meanwhile_are_not_lost(giftcards: Giftcards, buyer: Buyer):
    buyer.token(now=AT)

    def create_another() -> None:
        buyer.token(now=AT, channel="later")

    buyer.cloud.at_next("TransactWriteItems", create_another)

    result = giftcards("revoke-links", ORDER_ID)

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert [link["state"] for link in listed(giftcards)] == ["READY", "READY"]


@pytest.mark.parametrize("command", ["links", "revoke-links"])
def test_unknown_order_is_one_line(giftcards: Giftcards, command: str):
    result = giftcards(command, "unknown")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)


# -------------------------------------------------------------------- show


def shown(giftcards: Giftcards, *secrets: str) -> dict[str, Any]:
    """Run `show` for people and for programs, and return the document."""
    text, document = giftcards("show", ORDER_ID), giftcards("show", ORDER_ID, "--json")
    assert (text.code, document.code) == (0, 0)
    assert not any(secret in text.out + document.out for secret in (ADDRESS, PAGE_URL, *secrets))
    return document.document


@pytest.mark.usefixtures("buyer")
def test_order_without_recipient_shows_no_mail_and_no_links(giftcards: Giftcards):
    document = shown(giftcards)
    assert (document["links"], document["mail"]) == ([], None)


def test_links_are_shown_like_in_their_list(giftcards: Giftcards, buyer: Buyer):
    token = buyer.token(now=AT)
    document = shown(giftcards, token)
    assert document["links"] == listed(giftcards)
    assert document["mail"] is None
    assert hash_of(token)[:16] in giftcards("show", ORDER_ID).out


def test_mail_waits_is_due_and_is_sent(giftcards: Giftcards, buyer: Buyer):
    buyer.name_recipient(AT)
    waiting = shown(giftcards)["mail"]
    assert (waiting["state"], waiting["dueAt"]) == ("WAITING_FOR_DELIVERY", None)

    buyer.cloud.at_next("SendEmail", ConnectionError())
    with pytest.raises(ConnectionError):
        buyer.announce(AT)
    mail = shown(giftcards)["mail"]
    assert (mail["state"], mail["attempts"], mail["sentAt"]) == ("DUE", 1, None)

    buyer.run_schedule(AT + timedelta(minutes=15))
    token = buyer.mailed_token()
    document = shown(giftcards, token)
    assert document["mail"] == {
        "state": "SENT",
        "attempts": 2,
        "recipientAt": document["mail"]["recipientAt"],
        "dueAt": None,
        "sentAt": document["mail"]["sentAt"],
        "linkId": hash_of(token)[:16],
        "failure": None,
        "bounce": None,
    }
    assert document["mail"]["sentAt"] is not None
    assert "sent" in giftcards("show", ORDER_ID).out


def test_failed_mail_shows_its_reason(giftcards: Giftcards, buyer: Buyer):
    buyer.name_recipient(AT)
    buyer.announce(AT + timedelta(days=31))
    mail = shown(giftcards)["mail"]
    assert (mail["state"], mail["failure"]) == ("FAILED", MailFailure.EXPIRED)
    assert MailFailure.EXPIRED in giftcards("show", ORDER_ID).out


def test_bounced_mail_shows_what_the_recipients_server_answered(giftcards: Giftcards, buyer: Buyer):
    buyer.name_recipient(AT)
    buyer.announce(AT)
    buyer.links.mark_bounced(hash_of(buyer.mailed_token()), "PERMANENT", at=AT)
    mail = shown(giftcards)["mail"]
    assert (mail["state"], mail["bounce"]) == ("BOUNCED", "PERMANENT")
    assert "PERMANENT" in giftcards("show", ORDER_ID).out


# -------------------------------------------------------------- local mail

SENT = {
    "To": ["alice@mail.example"],
    "Source": "cards@shop.example",
    "Subject": "Your gift cards are ready",
    "BodyText": "Open [this] link:\r\n\r\nhttp://127.0.0.1:1/c/abc\r\n",
    "BodyHtml": "<p>Open this link:</p>",
    "Timestamp": 1_793_000_000.5,
}


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the emulator says it has sent."""
    messages: list[dict[str, Any]] = []

    class Running(LocalCloud):
        url = "http://127.0.0.1:1"

    def get(url: str, **_: Any) -> httpx.Response:
        assert url == "http://127.0.0.1:1/_ministack/ses/messages"
        return httpx.Response(200, json={"messages": {"000000000000": messages}}, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    service = SimpleNamespace(is_running=True, cloud=Running(local.FOLDER))
    monkeypatch.setattr(local, "_service", lambda: service)
    return messages


def test_sent_mails_are_printed_oldest_first(giftcards: Giftcards, outbox: list[dict[str, Any]]):
    outbox += [SENT | {"Subject": "second", "Timestamp": SENT["Timestamp"] + 1}, SENT]

    first, second = json.loads(giftcards("local", "mail", "--json").out)
    printed = giftcards("local", "mail").out

    assert (first["to"], first["from"], first["subject"]) == (
        "alice@mail.example",
        "cards@shop.example",
        "Your gift cards are ready",
    )
    assert second["subject"] == "second"
    assert printed.count("Open [this] link:") == 2
    assert "http://127.0.0.1:1/c/abc" in printed.splitlines()


def test_empty_outbox_says_so(giftcards: Giftcards, outbox: list[dict[str, Any]]):
    assert json.loads(giftcards("local", "mail", "--json").out) == outbox == []
    assert "no email" in giftcards("local", "mail").out


def test_mail_of_a_stopped_cloud_is_one_line(giftcards: Giftcards, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "_service", lambda: SimpleNamespace(is_running=False))
    result = giftcards("local", "mail")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)

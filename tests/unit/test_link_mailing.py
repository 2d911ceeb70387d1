"""StoreRecipient and SendLink: one mail, always the same, whatever comes first and whatever fails."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from pydantic import ValidationError

from giftcards.adapters import aws
from giftcards.contracts.links import RecipientSet
from giftcards.metrics import Metric
from giftcards.rules.links import hash_of
from giftcards.use_cases.send_link import MailOutcome
from giftcards.use_cases.store_recipient import RecipientOutcome, UnusableRecipient
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.links import ADDRESS, PAGE_URL, Buyer, new_buyer

QUARTER = timedelta(minutes=15)


class KilledError(Exception):
    """The function ends here."""


@pytest.fixture
def buyer(cloud: Cloud) -> Buyer:
    return new_buyer(cloud)


def order_row(buyer: Buyer) -> dict[str, Any]:
    (row,) = (row for row in buyer.cloud.rows("LinkTable") if row["pk"].startswith("ORDER#"))
    return row


def test_mail_is_sent_when_the_order_is_delivered(buyer: Buyer):
    assert buyer.name_recipient() is RecipientOutcome.STORED
    assert buyer.mails() == []
    assert buyer.announce().outcome is MailOutcome.SENT

    (mail,) = buyer.mails()
    assert mail["To"] == ADDRESS
    assert buyer.published() == ["LinkMailSent"]
    assert order_row(buyer)["mailLinkId"] == hash_of(buyer.mailed_token())[:16]


def test_recipient_who_comes_late_gets_the_mail_from_the_schedule(buyer: Buyer):
    assert buyer.announce().outcome is MailOutcome.NOT_DUE
    buyer.name_recipient(NOW + timedelta(days=2))
    results = buyer.run_schedule(NOW + timedelta(days=2) + QUARTER)
    assert [result.outcome for result in results] == [MailOutcome.SENT]
    assert buyer.measured.values[Metric.OLDEST_MAIL_DUE] == [QUARTER.total_seconds()]


def test_repeats_in_any_order_send_one_mail(buyer: Buyer):
    for _ in range(3):
        buyer.name_recipient()
        buyer.announce()
        buyer.run_schedule(NOW + QUARTER)
    assert len(buyer.mails()) == 1
    assert buyer.published() == ["LinkMailSent"]


def test_delivery_replayed_a_year_later_sends_nothing(buyer: Buyer):
    buyer.name_recipient()
    buyer.announce()
    assert buyer.announce(NOW + timedelta(days=365)).outcome is MailOutcome.NOT_DUE
    for row in buyer.cloud.rows("LinkTable"):
        buyer.cloud.delete("LinkTable", row)  # as DynamoDB does by then
    assert buyer.announce(NOW + timedelta(days=500)).outcome is MailOutcome.NOT_DUE
    assert len(buyer.mails()) == 1


def test_first_recipient_counts(buyer: Buyer):
    buyer.name_recipient()
    assert buyer.name_recipient(email="mallory@mail.example") is RecipientOutcome.ALREADY_SET
    buyer.announce()
    assert [mail["To"] for mail in buyer.mails()] == [ADDRESS]


def test_recipient_of_another_user_gets_nothing(buyer: Buyer):
    buyer.name_recipient(userId="mallory", email="mallory@mail.example")
    buyer.name_recipient()
    buyer.announce()
    buyer.run_schedule(NOW + QUARTER)
    assert [mail["To"] for mail in buyer.mails()] == [ADDRESS]


def test_address_is_sealed_and_forgotten_once_sent(buyer: Buyer):
    buyer.name_recipient()
    assert ADDRESS not in repr(buyer.cloud.rows("LinkTable"))
    buyer.announce()
    assert "recipient" not in order_row(buyer)


def test_sealed_address_of_another_user_opens_for_nobody(buyer: Buyer):
    buyer.name_recipient(userId="mallory", email="mallory@mail.example")
    stolen = order_row(buyer)["recipient"]
    buyer.name_recipient()
    row = next(row for row in buyer.cloud.rows("LinkTable") if row["sk"] == f"USER#{USER_ID}")
    buyer.cloud.put("LinkTable", row | {"recipient": stolen})
    assert buyer.announce().outcome is MailOutcome.FAILED
    assert buyer.mails() == []


@pytest.mark.parametrize(
    ("operation", "carried_out"),
    [
        (operation, carried_out)
        for operation in ("GenerateMac", "TransactWriteItems", "Decrypt", "SendEmail", "PutEvents")
        for carried_out in (False, True)
    ],
)
def test_crash_after_any_call_repeats_the_same_mail(buyer: Buyer, operation: str, *, carried_out: bool):
    buyer.name_recipient()
    buyer.cloud.at_next(operation, KilledError(), carried_out=carried_out)
    with pytest.raises(KilledError):
        buyer.announce()
    assert buyer.announce(NOW + timedelta(seconds=30)).outcome is MailOutcome.NOT_DUE  # the lease has not ended
    results = buyer.run_schedule(NOW + QUARTER)

    assert [result.outcome for result in results] == [MailOutcome.SENT]
    sent = {bytes(params["Content"]["Raw"]["Data"]) for params in buyer.cloud.sent("SendEmail")}
    assert len(sent) == 1
    assert set(buyer.published()) == {"LinkMailSent"}
    assert "mailDue" not in order_row(buyer)


@pytest.mark.parametrize("number", range(1, 8))
def test_crash_after_any_write_sends_the_mail_in_the_end(buyer: Buyer, number: int):
    writes = 0

    def crash() -> None:
        nonlocal writes
        writes += 1
        if writes == number:
            raise KilledError

    buyer.cloud.at_next("UpdateItem", crash, times=99)
    steps: list[Callable[[], object]] = [buyer.name_recipient, buyer.announce]
    for step in steps:
        try:
            step()
        except KilledError:
            step()  # Lambda repeats an asynchronous invocation
    buyer.run_schedule(NOW + QUARTER)

    sent = {bytes(params["Content"]["Raw"]["Data"]) for params in buyer.cloud.sent("SendEmail")}
    assert len(sent) == 1
    assert "mailDue" not in order_row(buyer)
    assert set(buyer.published()) == {"LinkMailSent"}


@pytest.mark.parametrize("code", ["TooManyRequestsException", "InternalServerError"])
def test_outage_of_ses_leaves_the_mail_due(buyer: Buyer, code: str):
    buyer.name_recipient()
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", code), times=2)
    with pytest.raises(Exception, match=code):
        buyer.announce()
    with pytest.raises(Exception, match=code):
        buyer.run_schedule(NOW + QUARTER)
    assert [result.outcome for result in buyer.run_schedule(NOW + 2 * QUARTER)] == [MailOutcome.SENT]


def test_unreachable_ses_leaves_the_mail_due(buyer: Buyer):
    buyer.name_recipient()
    buyer.cloud.at_next("SendEmail", ConnectTimeoutError(endpoint_url="x"))
    with pytest.raises(ConnectTimeoutError):
        buyer.announce()
    assert [result.outcome for result in buyer.run_schedule(NOW + QUARTER)] == [MailOutcome.SENT]


@pytest.mark.parametrize(
    "code",
    [
        "BadRequestException",
        "MessageRejected",
        "AccountSuspendedException",
        "SendingPausedException",
        "MailFromDomainNotVerifiedException",
    ],
)
def test_refusing_ses_is_asked_again_for_a_day(buyer: Buyer, code: str):
    buyer.name_recipient()
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", code), times=99)
    first = buyer.announce()
    assert (first.outcome, first.note) == (MailOutcome.REFUSED, code)
    assert buyer.run_schedule(NOW + timedelta(hours=23))[0].outcome is MailOutcome.REFUSED
    assert buyer.published() == []
    assert buyer.run_schedule(NOW + timedelta(hours=24))[0].outcome is MailOutcome.FAILED
    assert buyer.cloud.announced()[-1][1]["reason"] == "REFUSED"


def test_unreadable_address_is_published_and_can_be_corrected(buyer: Buyer):
    buyer.name_recipient()
    buyer.cloud.put("LinkTable", order_row(buyer) | {"recipient": b"unreadable"})
    assert buyer.announce().outcome is MailOutcome.FAILED
    assert buyer.cloud.announced()[-1][1]["reason"] == "INVALID_RECIPIENT"

    assert buyer.name_recipient(email="bob@mail.example") is RecipientOutcome.STORED
    assert buyer.run_schedule(NOW + QUARTER)[0].outcome is MailOutcome.SENT
    assert [mail["To"] for mail in buyer.mails()] == ["bob@mail.example"]


@pytest.mark.parametrize("is_delivered", [False, True])
def test_mail_that_could_not_be_sent_in_time_expires(buyer: Buyer, *, is_delivered: bool):
    buyer.name_recipient()
    if is_delivered:
        buyer.mails_stored.set_delivery(_delivery(ORDER_ID), "delivery", at=NOW)  # and killed before it was due
    assert buyer.run_schedule(NOW + timedelta(days=30, seconds=-1)) == []
    assert buyer.run_schedule(NOW + timedelta(days=30))[0].outcome is MailOutcome.FAILED
    assert buyer.cloud.announced()[-1][1]["reason"] == "EXPIRED"
    assert "recipient" not in order_row(buyer)
    assert buyer.mails() == []


def test_retention_that_was_raised_sends_nothing_before_a_delivery(buyer: Buyer):
    buyer.name_recipient()
    longer = replace(buyer.mailing.policy, recipient_retention=timedelta(days=365))
    mailing = replace(buyer.mailing, policy=longer)
    results = mailing.send_due(lambda: NOW + timedelta(days=30), may_go_on=lambda: True)
    assert [result.note for result in results] == ["EXPIRED"]


def test_row_of_a_delivery_outlives_a_recipient_who_comes_late(buyer: Buyer):
    buyer.announce()
    late = NOW + timedelta(days=80)
    buyer.name_recipient(late)
    assert order_row(buyer)["expireAt"] > (late + buyer.storage.retention).timestamp()


@pytest.mark.parametrize(
    ("bounce", "can_be_corrected"),
    [
        ({"bounceType": "Permanent", "bounceSubType": "General"}, True),
        ({"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"}, True),
        ({"bounceType": "Transient", "bounceSubType": "General"}, False),  # an out-of-office reply, too
        (None, False),
    ],
)
def test_mail_that_bounced_makes_room_for_a_corrected_address(
    buyer: Buyer, bounce: dict[str, str] | None, *, can_be_corrected: bool
):
    buyer.name_recipient()
    buyer.announce()
    token = buyer.mailed_token()
    buyer.report(hash_of(token), bounce, NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=2)
    expected = RecipientOutcome.STORED if can_be_corrected else RecipientOutcome.ALREADY_SET
    assert buyer.name_recipient(later, email="bob@mail.example") is expected
    buyer.run_schedule(later)
    sent_to = [ADDRESS, "bob@mail.example"] if can_be_corrected else [ADDRESS]
    assert [mail["To"] for mail in buyer.mails()] == sent_to
    assert buyer.mailed_token() == token
    assert ("mailBounce" in buyer.link_row(token)) is not can_be_corrected


def test_report_about_an_earlier_recipient_changes_nothing(buyer: Buyer):
    buyer.name_recipient()
    buyer.announce()
    bounce = {"bounceType": "Permanent", "bounceSubType": "General"}
    link_hash = hash_of(buyer.mailed_token())
    buyer.report(link_hash, bounce, NOW + timedelta(hours=1))
    buyer.name_recipient(NOW + timedelta(hours=2), email="bob@mail.example")
    buyer.run_schedule(NOW + timedelta(hours=2))
    buyer.report(link_hash, bounce, NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=3)
    assert buyer.name_recipient(later, email="carol@mail.example") is RecipientOutcome.ALREADY_SET


def test_order_with_as_many_links_as_it_may_have_gets_its_mail(buyer: Buyer):
    buyer.deliver()
    for number in range(20):
        buyer.token(channel=f"channel-{number}")
    buyer.name_recipient()
    assert buyer.announce().outcome is MailOutcome.SENT


def test_mail_waits_while_others_change_the_links(buyer: Buyer):
    buyer.name_recipient()
    reasons = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
    conflict = aws.dynamodb().exceptions.TransactionCanceledException(reasons, "TransactWriteItems")  # type: ignore[arg-type]
    buyer.cloud.at_next("TransactWriteItems", conflict, times=5)
    assert buyer.announce().outcome is MailOutcome.BUSY
    assert [result.outcome for result in buyer.run_schedule(NOW + timedelta(seconds=1))] == [MailOutcome.SENT]


def test_mail_that_is_due_too_long_expires(buyer: Buyer):
    buyer.name_recipient()
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", "TooManyRequestsException"), times=99)
    with pytest.raises(Exception, match="TooMany"):
        buyer.announce()
    assert buyer.run_schedule(NOW + timedelta(days=30))[0].outcome is MailOutcome.FAILED
    assert buyer.cloud.announced()[-1][1]["reason"] == "EXPIRED"
    assert "recipient" not in order_row(buyer)


def test_failing_bus_repeats_the_event_and_not_the_mail(buyer: Buyer):
    buyer.name_recipient()
    buyer.cloud.at_next("PutEvents", client_error("PutEvents"))
    with pytest.raises(Exception, match="InternalServerError"):
        buyer.announce()
    buyer.run_schedule(NOW + QUARTER)
    assert len(buyer.mails()) == 1
    assert len(buyer.published()) == 2


def test_one_failing_mail_does_not_stop_the_others(buyer: Buyer):
    for order in ("order-a", "order-b"):
        buyer.name_recipient(orderId=order)
        buyer.mails_stored.set_delivery(_delivery(order), "delivery", at=NOW)
        buyer.mails_stored.make_due(order, USER_ID, at=NOW)
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", "TooManyRequestsException"))
    with pytest.raises(Exception, match="TooMany"):
        buyer.run_schedule(NOW)
    assert buyer.published() == ["LinkMailSent"]


def test_run_stops_when_its_time_is_over(buyer: Buyer):
    buyer.name_recipient()
    buyer.mails_stored.set_delivery(_delivery(ORDER_ID), "delivery", at=NOW)
    buyer.mails_stored.make_due(ORDER_ID, USER_ID, at=NOW)
    assert buyer.mailing.send_due(lambda: NOW, may_go_on=lambda: False) == []
    assert buyer.mails() == []


def _delivery(order_id: str) -> Any:
    from giftcards.rules.links import Delivery  # noqa: PLC0415 - next to its only use

    return Delivery(order_id, USER_ID, 2, 2, None)


@pytest.mark.parametrize(
    "email",
    [
        "",
        "alice",
        "alice@",
        "@mail.example",
        "alice@mail",
        "alice@mail..example",
        "Alice <alice@mail.example>",
        "alice@mail.example, bob@mail.example",
        "alice@mail.example\r\nBcc: bob@mail.example",
        "älice@mail.example",
        "a" * 65 + "@mail.example",
        "a@" + "b" * 60 + ".c" * 100,
        ".alice@mail.example",
        None,
        7,
    ],
)
def test_recipient_needs_one_plain_address(email: Any):
    with pytest.raises(ValidationError) as refused:
        RecipientSet.model_validate({"orderId": ORDER_ID, "userId": USER_ID, "email": email})
    assert {error["loc"][0] for error in refused.value.errors()} == {"email"}


def test_invalid_address_is_published_without_it(buyer: Buyer):
    unusable = UnusableRecipient.model_validate({"orderId": ORDER_ID, "userId": USER_ID, "email": ADDRESS + " "})
    assert buyer.storage.refuse(unusable, now=NOW) is RecipientOutcome.INVALID_RECIPIENT
    ((detail_type, detail),) = buyer.cloud.announced()
    assert detail_type == "LinkMailFailed"
    assert detail["reason"] == "INVALID_RECIPIENT"
    assert ADDRESS not in str(detail)


@pytest.mark.parametrize("changes", [{"language": "de"}, {"label": "x" * 121}, {"label": "a\nb"}, {"language": 3}])
def test_invalid_decoration_does_not_keep_the_mail_from_its_buyer(buyer: Buyer, changes: dict[str, Any]):
    assert buyer.name_recipient(**changes) is RecipientOutcome.STORED
    assert buyer.announce().outcome is MailOutcome.SENT
    assert buyer.mails()[0]["Content-Language"] == "fr"


def test_mail_says_what_the_shop_chose(buyer: Buyer):
    buyer.name_recipient(language="ar", label="2 × PlayStation")
    buyer.announce()
    assert buyer.mails()[0]["Content-Language"] == "ar"
    assert buyer.link_row(buyer.mailed_token())["label"] == "2 × PlayStation"


def test_no_event_names_the_address_or_the_token(buyer: Buyer):
    buyer.name_recipient()
    buyer.announce()
    token = buyer.mailed_token()
    for secret in (ADDRESS, token, PAGE_URL):
        assert secret not in repr(buyer.cloud.sent("PutEvents"))
        assert secret not in repr(buyer.cloud.rows("LinkTable"))


def test_revoked_mail_is_not_sent(buyer: Buyer):
    buyer.name_recipient()
    buyer.cloud.at_next("SendEmail", client_error("SendEmail", "SendingPausedException"))
    buyer.announce()
    assert buyer.links.replace(buyer.links.get_links(ORDER_ID, USER_ID), None, at=NOW)
    assert buyer.run_schedule(NOW + QUARTER)[0].outcome is MailOutcome.FAILED
    assert len(buyer.mails()) == 1  # the one that was refused


def test_recipient_corrected_at_once_is_kept(buyer: Buyer):
    buyer.name_recipient()
    buyer.cloud.put("LinkTable", order_row(buyer) | {"recipient": b"unreadable"})
    buyer.cloud.at_next(
        "PutEvents",
        lambda: buyer.name_recipient(email="bob@mail.example"),
        carried_out=True,  # type: ignore[arg-type]
    )
    assert buyer.announce().outcome is MailOutcome.FAILED
    buyer.run_schedule(NOW + QUARTER)
    assert [mail["To"] for mail in buyer.mails()][-1] == "bob@mail.example"

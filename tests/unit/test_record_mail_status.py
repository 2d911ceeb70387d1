"""RecordMailStatus: bounces and complaints reach the shop, without an address."""

from typing import Any

import pytest

from giftcards.contracts.links import SesEvent
from giftcards.rules.links import hash_of
from support.cloud import Cloud
from support.links import ADDRESS, Buyer, new_buyer


@pytest.fixture
def buyer(cloud: Cloud) -> Buyer:
    return new_buyer(cloud)


def report(detail_type: str, link_hash: str | None, bounce: dict[str, str] | None = None) -> SesEvent:
    """Make an event as SES publishes it (docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html)."""
    tags = {} if link_hash is None else {"giftcards-link": [link_hash]}
    detail: dict[str, Any] = {
        "eventType": "Bounce",
        "mail": {"messageId": "m", "destination": [ADDRESS], "tags": {"ses:configuration-set": ["links"], **tags}},
    }
    if bounce is not None:
        detail["bounce"] = {**bounce, "bouncedRecipients": [{"emailAddress": ADDRESS}]}
    return SesEvent.model_validate(
        {"source": "aws.ses", "detail-type": detail_type, "time": "2026-03-15T00:00:00Z", "detail": detail}
    )


@pytest.mark.parametrize(
    ("detail_type", "bounce", "published"),
    [
        (
            "Email Bounced",
            {"bounceType": "Permanent", "bounceSubType": "General"},
            ("LinkMailBounced", "kind", "PERMANENT"),
        ),
        (
            "Email Bounced",
            {"bounceType": "Transient", "bounceSubType": "MailboxFull"},
            ("LinkMailBounced", "kind", "TRANSIENT"),
        ),
        ("Email Bounced", {"bounceType": "Undetermined"}, ("LinkMailBounced", "kind", "TRANSIENT")),
        ("Email Complaint Received", None, ("LinkMailBounced", "kind", "COMPLAINT")),
        ("Email Rejected", None, ("LinkMailBounced", "kind", "PERMANENT")),
        (
            "Email Bounced",
            {"bounceType": "Permanent", "bounceSubType": "Suppressed"},
            ("LinkMailFailed", "reason", "SUPPRESSED"),
        ),
        (
            "Email Bounced",
            {"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"},
            ("LinkMailFailed", "reason", "SUPPRESSED"),
        ),
    ],
)
def test_report_reaches_the_shop(
    buyer: Buyer, detail_type: str, bounce: dict[str, str] | None, published: tuple[str, str, str]
):
    buyer.deliver()
    link_hash = hash_of(buyer.token())
    status = buyer.reports.record(report(detail_type, link_hash, bounce))
    ((name, detail),) = buyer.cloud.announced()
    assert (name, detail[published[1]]) == (published[0], published[2])
    assert status.link_id == link_hash[:16]
    assert ADDRESS not in repr(buyer.cloud.rows("LinkTable")) + repr(detail)


@pytest.mark.parametrize(
    ("detail_type", "link_hash"),
    [("Email Bounced", None), ("Email Bounced", "0" * 64), ("Email Delivered", "0" * 64), ("Email Opened", None)],
)
def test_report_about_nothing_of_ours_is_ignored(buyer: Buyer, detail_type: str, link_hash: str | None):
    buyer.reports.record(report(detail_type, link_hash))
    assert buyer.cloud.announced() == []
    assert buyer.cloud.rows("LinkTable") == []

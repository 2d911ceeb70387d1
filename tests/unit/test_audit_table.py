"""Every reveal is audited, and no record is overwritten."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from giftcards.adapters import aws
from giftcards.adapters.audit_table import AuditRecord, AuditTable
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID

RECORD = AuditRecord(ORDER_ID, USER_ID, "support@shop.test", "request-1", "ticket 5", "REVEALED", NOW)


@pytest.fixture
def audit(cloud: Cloud) -> AuditTable:
    return AuditTable(cloud.audit_table, aws.dynamodb())


def test_record_holds_requester_order_time_reason_and_outcome(cloud: Cloud, audit: AuditTable):
    audit.add(RECORD)

    assert cloud.rows(cloud.audit_table) == [
        {
            "pk": f"ORDER#{ORDER_ID}",
            "sk": "REVEAL#2026-03-14T09:26:53.000Z#request-1",
            "orderId": ORDER_ID,
            "userId": USER_ID,
            "requestedBy": "support@shop.test",
            "requestId": "request-1",
            "reason": "ticket 5",
            "outcome": "REVEALED",
            "at": "2026-03-14T09:26:53.000Z",
        }
    ]


def test_two_requests_at_the_same_moment_are_two_records(cloud: Cloud, audit: AuditTable):
    audit.add(RECORD)
    audit.add(replace(RECORD, request_id="request-2", outcome="NOT_FOUND"))

    assert [row["outcome"] for row in cloud.rows(cloud.audit_table)] == ["REVEALED", "NOT_FOUND"]


def test_record_is_never_written_over(cloud: Cloud, audit: AuditTable):
    audit.add(RECORD)

    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        audit.add(replace(RECORD, outcome="NOT_FOUND"))

    assert [row["outcome"] for row in cloud.rows(cloud.audit_table)] == ["REVEALED"]


def test_record_without_a_reason_is_written_too(cloud: Cloud, audit: AuditTable):
    audit.add(replace(RECORD, reason=""))

    assert [row["reason"] for row in cloud.rows(cloud.audit_table)] == [""]


def test_record_that_cannot_be_written_is_an_error(cloud: Cloud, audit: AuditTable):
    cloud.at_next("PutItem", client_error("PutItem"))

    with pytest.raises(ClientError):
        audit.add(RECORD)


def test_nothing_but_adding_is_asked_of_the_table(cloud: Cloud, audit: AuditTable):
    cloud.forget()

    audit.add(RECORD)

    assert [operation for operation, _ in cloud.calls] == ["PutItem"]

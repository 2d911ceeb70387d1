"""The cloud of a simulated world: moto, with the resources of the template that the workflow needs."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
from botocore.client import BaseClient
from botocore.session import Session
from moto import mock_aws
from moto.kms import models as kms

from giftcards.adapters import aws
from giftcards.contracts.events import SOURCE
from workflow.engine import REGION
from workflow.harness import ACCOUNT, BUS, DEAD_LETTERS, TABLE, load_definition, load_template, substituted

GATE_TABLE, AUDIT_TABLE, DISCREPANCY_TABLE = "gate", "audit", "differences"
TABLES = {"CardTable": TABLE, "GateTable": GATE_TABLE, "AuditTable": AUDIT_TABLE, "DifferenceTable": DISCREPANCY_TABLE}
EVENTS, PLACED = "everything", "placed"
"""Queues that get the service's events, and OrderPlaced."""
CONFIGURATION = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""boto3's configuration."""


class Cloud:
    """The service's resources."""

    def __init__(self, api_key: str, schedule: str) -> None:
        self.dynamodb: Any = aws.dynamodb()
        for name, called in TABLES.items():
            properties = load_template()["Resources"][name]["Properties"]
            supported = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
            self.dynamodb.create_table(
                TableName=called, **{key: properties[key] for key in supported if key in properties}
            )
        events, sqs = client("events"), client("sqs")
        events.create_event_bus(Name=BUS)
        for queue, pattern in ((EVENTS, {"source": [SOURCE]}), (PLACED, {"detail-type": ["OrderPlaced"]})):
            sqs.create_queue(QueueName=queue)
            events.put_rule(Name=queue, EventBusName=BUS, EventPattern=json.dumps(pattern))
            target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"}
            events.put_targets(Rule=queue, EventBusName=BUS, Targets=[target])
        sqs.create_queue(QueueName=DEAD_LETTERS.rpartition("/")[2])
        self.key_arn = client("kms").create_key()["KeyMetadata"]["Arn"]
        self.secret_arn = client("secretsmanager").create_secret(Name="key", SecretString=api_key)["ARN"]
        self.machine_arn = client("stepfunctions").create_state_machine(
            name="giftcards-fulfil-order",
            definition=substituted(load_definition(), schedule),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/fulfil-order",
        )["stateMachineArn"]

    @staticmethod
    def receive(queue: str) -> list[dict[str, Any]]:
        """Remove and return all messages of a queue."""
        sqs, received = client("sqs"), []
        url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}"
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                received.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return received

    def rows(self, table: str = TABLE) -> list[dict[str, Any]]:
        """Return all rows of a table, in order of their keys."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=table)
        return sorted((row for page in pages for row in page["Items"]), key=lambda row: (row["pk"], row["sk"]))


@cache
def client(service: str) -> Any:
    """Return a client of the test and the shop, not of the service."""
    return boto3.Session("test", "test", region_name=REGION).client(service)


@cache
def botocore_session() -> Session:
    return Session()  # shared: each session reads the service models again


def _no_key_pair(_key_spec: str) -> bytes:
    return b""  # moto also makes an RSA pair for symmetric keys, which takes longer than most tests


@contextmanager
def moto_cloud(intercepted: Callable[..., Any]) -> Iterator[None]:
    """Start moto. ``intercepted`` gets every call of a client: botocore's method, then its arguments."""
    real = BaseClient._make_api_call

    def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        return intercepted(real, client, operation, parameters)

    config = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
    with (
        patch.dict(os.environ, CONFIGURATION),
        mock_aws(config=config),
        patch.object(kms, "generate_private_key", _no_key_pair),
        patch.object(BaseClient, "_make_api_call", call),
    ):
        yield

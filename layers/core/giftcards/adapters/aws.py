"""boto3 clients: one of each for a container, with time limits that fit into a function's."""

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})


@cache
def dynamodb() -> "DynamoDBClient":
    """Return DynamoDB, speaking Python types: the resource's client does the translation."""
    return boto3.resource("dynamodb", config=CONFIG).meta.client


@cache
def secrets_manager() -> "SecretsManagerClient":
    """Return Secrets Manager."""
    return boto3.client("secretsmanager", config=CONFIG)


@cache
def event_bridge() -> "EventBridgeClient":
    """Return EventBridge."""
    return boto3.client("events", config=CONFIG)

"""Unit tests use no network, no account and no real time; the cloud is moto in this process."""

import logging
import os
import warnings
from collections.abc import Iterator
from unittest.mock import patch

import boto3
import pytest
from botocore.client import BaseClient
from hypothesis import settings
from moto import mock_aws
from moto.kms import models as kms
from pytest_socket import disable_socket, enable_socket, socket_allow_hosts

from giftcards.adapters import aws
from giftcards.adapters.card_cipher import CardCipher
from giftcards_cli import dead_letters
from giftcards_cli.stack import Stack
from support.cloud import Cloud, card_cipher, kms_client
from support.command_line import Giftcards, command_line
from support.examples import REGION
from support.gate import GatedDouble
from support.secrets import leaks
from support.supplier import SupplierDouble
from unit.container import container

__all__ = ["container"]

settings.register_profile("unit", derandomize=True, deadline=None)
settings.load_profile("unit")

LIBRARIES = ("httpx", "httpcore", "botocore", "boto3", "urllib3", "aws_encryption_sdk", "asyncio")


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)  # Starlette's TestClient wakes its loop through a socket pair
    yield
    enable_socket()


@pytest.fixture
def on_loopback(_no_network: None) -> None:
    """Allow connections to a local server, for tests of the wire itself."""
    enable_socket()
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)  # until pytest-socket clears up after the test


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("AWS_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def supplier() -> SupplierDouble:
    return SupplierDouble()


@pytest.fixture
def behind_gate(cloud: Cloud) -> GatedDouble:
    """Return the supplier behind an unblocked gate, with a key."""
    return GatedDouble(cloud)


@pytest.fixture(scope="module")
def _clients() -> Iterator[None]:
    """Build the clients once per module; moto replaces the cloud below them for each test."""
    with mock_aws(), patch.dict(os.environ, {"AWS_DEFAULT_REGION": REGION}):
        clients = (aws.dynamodb, aws.secrets_manager, aws.event_bridge, aws.step_functions, kms_client)
        for client in clients:
            client.cache_clear()
            client()
    yield
    for client in clients:
        client.cache_clear()


def _no_pair(_key_spec: str) -> bytes:
    return b""  # moto makes an RSA pair for symmetric keys too, and that takes longer than most tests


@pytest.fixture
def cloud(_clients: None) -> Iterator[Cloud]:
    """Return an empty cloud with the stack's tables, bus, key and secret."""
    with mock_aws():
        cloud = Cloud()
        real = BaseClient._make_api_call

        def noted(client: BaseClient, operation: str, params: dict[str, object]) -> object:
            return cloud.note(real, client, operation, params)

        with patch.object(BaseClient, "_make_api_call", noted), patch.object(kms, "generate_private_key", _no_pair):
            yield cloud


@pytest.fixture
def giftcards(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Giftcards:
    """Run the command line on a stack that has the cloud's tables, bus and secret, and a dead-letter queue."""
    outputs = {
        "CardTableName": cloud.card_table,
        "OrderBusName": cloud.bus,
        "SupplierApiKeySecretArn": cloud.secret_arn,
    }
    url = boto3.client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    resources = {
        "OrderPlacedDeadLetterQueue": url,
        "GateTable": cloud.gate_table,
        "AuditTable": cloud.audit_table,
        "LinkTable": cloud.link_table,
    }
    monkeypatch.setattr(Stack, "_outputs", lambda _: outputs)  # moto's CloudFormation needs more than is installed
    monkeypatch.setattr(Stack, "_physical_id", lambda _, logical_id: resources[logical_id])
    monkeypatch.setattr(dead_letters, "MAX_WAIT_SECONDS", 0)
    cloud.forget()

    return command_line(monkeypatch, capsys)


@pytest.fixture
def cipher(cloud: Cloud) -> CardCipher:
    return card_cipher(cloud.key_arn)


@pytest.fixture
def no_leak(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test if a log line of any library and level, or a warning, holds part of a card or the key."""
    for library in LIBRARIES:
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)  # the functions' logger turns it off
        caplog.set_level(logging.DEBUG, logger=library)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
    formatter = logging.Formatter()
    logged = [formatter.format(record) for record in caplog.get_records("call")]
    assert not leaks(*logged, *(warning.message for warning in warned))

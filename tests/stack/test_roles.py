"""Each function's role may make exactly the calls of its row: the local cloud enforces the policy.

Other tests read the permissions in the template. These tests use the credentials of each role, so they also find a
permission that has another source, or another effect than it seems to have.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from giftcards_local import STACK_NAME
from giftcards_local.environment import local_session
from support.service import Service

# Later files need these orders held, which takes a minute.
pytestmark = pytest.mark.usefixtures("unknown_orders", "late_order")
CONTEXT = {"orderId": "probe", "userId": "probe"}
"""Encryption context, for both encryption and decryption."""


@dataclass
class Caller:
    """A principal, with clients and the arguments of its calls. No call is about an order."""

    session: boto3.Session
    url: str
    resources: dict[str, str]
    wrapped: bytes = b""
    sealed: bytes = b""

    def __getattr__(self, service: str) -> Any:
        client = self.session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]
        setattr(self, service, client)  # building a client takes longer than a call
        return client

    def name(self, logical_id: str) -> str:
        return self.resources[logical_id]

    def row(self, table: str) -> dict[str, Any]:
        return {"TableName": self.name(table), "Key": {"pk": {"S": "PROBE"}, "sk": {"S": "PROBE"}}}

    def item(self, table: str) -> dict[str, Any]:
        return {"TableName": self.name(table), "Item": self.row(table)["Key"]}

    def of_partition(self, table: str) -> dict[str, Any]:
        values = {":pk": {"S": "PROBE"}}
        return {"TableName": self.name(table), "KeyConditionExpression": "pk = :pk"} | {
            "ExpressionAttributeValues": values
        }

    def of_index(self, index: str, key: str) -> dict[str, Any]:
        query = {"TableName": self.name("CardTable"), "IndexName": index, "KeyConditionExpression": f"{key} = :key"}
        return query | {"ExpressionAttributeValues": {":key": {"S": "PROBE"}}}

    def change(self, table: str) -> dict[str, Any]:
        return (
            self.row(table)
            | {"UpdateExpression": "SET probed = :it"}
            | {"ExpressionAttributeValues": {":it": {"S": "PROBE"}}}
        )

    def in_transaction(self, action: str, table: str) -> Any:
        terms = {
            "Put": self.item(table),
            "Update": self.change(table),
            "Delete": self.row(table),
            "ConditionCheck": self.row(table) | {"ConditionExpression": "attribute_not_exists(nobody)"},
        }
        return self.dynamodb.transact_write_items(TransactItems=[{action: terms[action]}])

    def execution(self) -> str:
        return self.name("FulfilOrderStateMachine").replace(":stateMachine:", ":execution:") + ":probe"

    def invoke(self, function: str) -> Any:
        # No function accepts this payload. The name is the alias's ARN, because the local cloud compares it as
        # written with the policy.
        alias = f"arn:aws:lambda:us-east-1:000000000000:function:{self.name(f'{function}Function')}:live"
        return getattr(self, "lambda").invoke(FunctionName=alias, Payload=b"[]")

    @property
    def event(self) -> dict[str, str]:
        return {"EventBusName": self.name("OrderBus"), "Source": "probe", "DetailType": "Probe", "Detail": "{}"}


FUNCTIONS = [
    "CheckStatus",
    "DeliverCards",
    "RevealCards",
    "SweepOrders",
    "ReconcileOrders",
    "CountEvents",
    "MeasureOrders",
    "StoreRecipient",
    "SendLink",
    "CreateLink",
    "ServePage",
    "RedeemLink",
    "RecordMailStatus",
    "ServeShop",
]
CALLS: dict[str, Callable[[Caller], Any]] = {
    # orders and cards
    "read a card": lambda a: a.dynamodb.get_item(**a.row("CardTable")),
    "list cards": lambda a: a.dynamodb.query(**a.of_partition("CardTable")),
    "scan cards": lambda a: a.dynamodb.scan(TableName=a.name("CardTable")),
    "read cards in a batch": lambda a: a.dynamodb.batch_get_item(
        RequestItems={a.name("CardTable"): {"Keys": [a.row("CardTable")["Key"]]}}
    ),
    "read cards in a transaction": lambda a: a.dynamodb.transact_get_items(TransactItems=[{"Get": a.row("CardTable")}]),
    "select cards": lambda a: a.dynamodb.execute_statement(Statement=f'SELECT * FROM "{a.name("CardTable")}"'),
    "list open orders": lambda a: a.dynamodb.query(**a.of_index("open-orders", "openStatus")),
    "list a user's orders": lambda a: a.dynamodb.query(**a.of_index("orders-by-user", "userId")),
    "put a card": lambda a: a.dynamodb.put_item(**a.item("CardTable")),
    "change an order": lambda a: a.dynamodb.update_item(**a.change("CardTable")),
    "delete a card": lambda a: a.dynamodb.delete_item(**a.row("CardTable")),
    "put cards in a batch": lambda a: a.dynamodb.batch_write_item(
        RequestItems={a.name("CardTable"): [{"PutRequest": {"Item": a.item("CardTable")["Item"]}}]}
    ),
    "put a card in a transaction": lambda a: a.in_transaction("Put", "CardTable"),
    "change an order in a transaction": lambda a: a.in_transaction("Update", "CardTable"),
    "check an order in a transaction": lambda a: a.in_transaction("ConditionCheck", "CardTable"),
    "delete a card in a transaction": lambda a: a.in_transaction("Delete", "CardTable"),
    "delete the card table": lambda a: a.dynamodb.delete_table(TableName=a.name("CardTable")),
    # keys
    "generate a data key of the cards": lambda a: a.kms.generate_data_key(
        KeyId=a.name("CardKey"), KeySpec="AES_256", EncryptionContext=CONTEXT
    ),
    "decrypt a data key of the cards": lambda a: a.kms.decrypt(
        KeyId=a.name("CardKey"), CiphertextBlob=a.wrapped, EncryptionContext=CONTEXT
    ),
    "encrypt with the key of the cards": lambda a: a.kms.encrypt(KeyId=a.name("CardKey"), Plaintext=b"probe"),
    "re-encrypt a data key of the cards": lambda a: a.kms.re_encrypt(
        CiphertextBlob=a.wrapped, SourceEncryptionContext=CONTEXT, DestinationKeyId=a.name("StorageKey")
    ),
    "grant the key of the cards to another principal": lambda a: a.kms.create_grant(
        KeyId=a.name("CardKey"), GranteePrincipal="arn:aws:iam::000000000000:root", Operations=["Decrypt"]
    ),
    "delete the key of the cards": lambda a: a.kms.schedule_key_deletion(KeyId=a.name("CardKey")),
    "use the storage key": lambda a: a.kms.encrypt(KeyId=a.name("StorageKey"), Plaintext=b"probe"),
    # audit
    "write an audit record": lambda a: a.dynamodb.put_item(**a.item("AuditTable")),
    "read an audit record": lambda a: a.dynamodb.get_item(**a.row("AuditTable")),
    "list audit records": lambda a: a.dynamodb.query(**a.of_partition("AuditTable")),
    "scan audit records": lambda a: a.dynamodb.scan(TableName=a.name("AuditTable")),
    "change an audit record": lambda a: a.dynamodb.update_item(**a.change("AuditTable")),
    "delete an audit record": lambda a: a.dynamodb.delete_item(**a.row("AuditTable")),
    # the supplier's gate and key
    "read the gate": lambda a: a.dynamodb.get_item(**a.row("GateTable")),
    "change the gate": lambda a: a.dynamodb.update_item(**a.change("GateTable")),
    "delete the gate": lambda a: a.dynamodb.delete_item(**a.row("GateTable")),
    "put another gate": lambda a: a.dynamodb.put_item(**a.item("GateTable")),
    "read the supplier's key": lambda a: a.secretsmanager.get_secret_value(SecretId=a.name("SupplierApiKeySecret")),
    "read the version of the supplier's key": lambda a: a.secretsmanager.describe_secret(
        SecretId=a.name("SupplierApiKeySecret")
    ),
    "replace the supplier's key": lambda a: a.secretsmanager.put_secret_value(
        SecretId=a.name("SupplierApiKeySecret"), SecretString="probe"
    ),
    # the shop's keys
    "read the shop's key": lambda a: a.secretsmanager.get_secret_value(SecretId=a.name("ShopApiKeySecret")),
    "replace the shop's key": lambda a: a.secretsmanager.put_secret_value(
        SecretId=a.name("ShopApiKeySecret"), SecretString="probe"
    ),
    "read the webhook's key": lambda a: a.secretsmanager.get_secret_value(SecretId=a.name("WebhookKeySecret")),
    # links and mails
    "read a link": lambda a: a.dynamodb.get_item(**a.row("LinkTable")),
    "list links": lambda a: a.dynamodb.query(**a.of_partition("LinkTable")),
    "scan links": lambda a: a.dynamodb.scan(TableName=a.name("LinkTable")),
    "list due mails": lambda a: a.dynamodb.query(
        TableName=a.name("LinkTable"),
        IndexName="due-mails",
        KeyConditionExpression="mailDue = :key",
        ExpressionAttributeValues={":key": {"S": "PROBE"}},
    ),
    "put a link": lambda a: a.dynamodb.put_item(**a.item("LinkTable")),
    "change a link": lambda a: a.dynamodb.update_item(**a.change("LinkTable")),
    "delete a link": lambda a: a.dynamodb.delete_item(**a.row("LinkTable")),
    "derive a token": lambda a: a.kms.generate_mac(
        KeyId=a.name("LinkKey"), Message=b"probe", MacAlgorithm="HMAC_SHA_256"
    ),
    "encrypt an address": lambda a: a.kms.encrypt(KeyId=a.name("RecipientKey"), Plaintext=b"probe"),
    "decrypt an address": lambda a: a.kms.decrypt(KeyId=a.name("RecipientKey"), CiphertextBlob=a.sealed),
    "send mail": lambda a: a.sesv2.send_email(
        FromEmailAddress="cards@shop.example",
        Destination={"ToAddresses": ["probe@mail.example"]},
        Content={"Raw": {"Data": b"To: probe@mail.example\n\nprobe"}},
    ),
    # events, queues, the workflow, other functions
    "publish": lambda a: a.events.put_events(Entries=[a.event]),
    "publish on another bus": lambda a: a.events.put_events(Entries=[a.event | {"EventBusName": "default"}]),
    "queue a failed run": lambda a: a.sqs.send_message(
        QueueUrl=a.name("FunctionsDeadLetterQueue"), MessageBody="probe"
    ),
    "receive a failed run": lambda a: a.sqs.receive_message(QueueUrl=a.name("FunctionsDeadLetterQueue")),
    "queue an event": lambda a: a.sqs.send_message(QueueUrl=a.name("OrderPlacedDeadLetterQueue"), MessageBody="probe"),
    "receive an event": lambda a: a.sqs.receive_message(QueueUrl=a.name("OrderPlacedDeadLetterQueue")),
    "describe an execution": lambda a: a.stepfunctions.describe_execution(executionArn=a.execution()),
    "read an execution's history": lambda a: a.stepfunctions.get_execution_history(executionArn=a.execution()),
    "start an execution": lambda a: a.stepfunctions.start_execution(
        stateMachineArn=a.name("FulfilOrderStateMachine"), input="{}"
    ),
    "stop an execution": lambda a: a.stepfunctions.stop_execution(executionArn=a.execution()),
    **{f"call {function}": lambda a, function=function: a.invoke(function) for function in FUNCTIONS},
    "read a log": lambda a: a.logs.filter_log_events(logGroupName=a.name("RevealCardsLogGroup")),
    "extend its own policy": lambda a: a.iam.put_role_policy(
        RoleName=a.name("CheckStatusRole"), PolicyName="more", PolicyDocument=json.dumps({"Statement": []})
    ),
    "assume the role of RevealCards": lambda a: a.sts.assume_role(
        RoleArn=f"arn:aws:iam::000000000000:role/{a.name('RevealCardsRole')}", RoleSessionName="probe"
    ),
}

MAY = {
    "CheckStatus": {"read the supplier's key", "read the gate", "change the gate"},
    "DeliverCards": {
        "read the supplier's key",
        "read the gate",
        "change the gate",
        "read a card",
        "read cards in a transaction",
        "put a card",
        "change an order",
        "put a card in a transaction",
        "change an order in a transaction",
        "check an order in a transaction",
        "generate a data key of the cards",
        "publish",
    },
    "RevealCards": {
        "list cards",
        "read a card",
        "read cards in a transaction",
        "decrypt a data key of the cards",
        "write an audit record",
    },
    "SweepOrders": {
        "list open orders",
        "change an order",
        "change an order in a transaction",
        "describe an execution",
        "publish",
        "queue a failed run",
    },
    "ReconcileOrders": {
        "read the supplier's key",
        "read the gate",
        "change the gate",
        "read cards in a batch",
        "publish",
        "queue a failed run",
    },
    "CountEvents": {"queue a failed run"},
    "MeasureOrders": {
        "list open orders",
        "read the gate",
        "read the version of the supplier's key",
    },
    "StoreRecipient": {"encrypt an address", "change a link", "publish", "queue a failed run"},
    "SendLink": {
        "decrypt an address",
        "derive a token",
        "read a link",
        "put a link",
        "change a link",
        "list due mails",
        "send mail",
        "publish",
        "queue a failed run",
    },
    "CreateLink": {
        "read a card",
        "read cards in a transaction",
        "derive a token",
        "read a link",
        "put a link",
        "change a link",
        "send mail",
    },
    "ServePage": {"read a link", "call RedeemLink"},
    "RedeemLink": {
        "read a link",
        "change a link",
        "list cards",
        "read a card",
        "read cards in a transaction",
        "decrypt a data key of the cards",
        "write an audit record",
        "publish",
    },
    "ServeShop": {
        "read the shop's key",
        "read a card",
        "read cards in a transaction",
        "call CreateLink",
        "publish",
    },
    "RecordMailStatus": {"change a link", "publish", "queue a failed run"},
}


HARMLESS = [
    "scan cards",
    "select cards",
    "list a user's orders",
    "encrypt with the key of the cards",
    "use the storage key",
    "read an audit record",
    "list audit records",
    "scan audit records",
    "receive a failed run",
    "read an execution's history",
    "read a log",
    "read the webhook's key",
]
"""Calls without effect that no role may make. An administrator makes them, to show that they are valid."""


@pytest.fixture(scope="module")
def resources(service: Service) -> dict[str, str]:
    """Return the physical id of each resource of the stack."""
    described = service.cloud.client("cloudformation").describe_stack_resources(StackName=STACK_NAME)
    return {found["LogicalResourceId"]: found["PhysicalResourceId"] for found in described["StackResources"]}


@pytest.fixture(scope="module")
def callers(service: Service, resources: dict[str, str]) -> Iterator[dict[str, Caller]]:
    """Return a caller with the credentials of each role. On AWS only Lambda can assume these roles."""
    wrapped = service.cloud.client("kms").generate_data_key(
        KeyId=resources["CardKey"], KeySpec="AES_256", EncryptionContext=CONTEXT
    )["CiphertextBlob"]
    sealed = service.cloud.client("kms").encrypt(KeyId=resources["RecipientKey"], Plaintext=b"probe")["CiphertextBlob"]
    found = {}
    for function in MAY:
        role_arn = f"arn:aws:iam::000000000000:role/{resources[f'{function}Role']}"
        credentials = service.cloud.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="probe")["Credentials"]
        session = local_session(
            (credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
        )
        found[function] = Caller(session, service.cloud.url, resources, wrapped, sealed)
    yield found
    service.cloud.client("sqs").purge_queue(QueueUrl=resources["FunctionsDeadLetterQueue"])


def is_refused(call: Callable[[Caller], Any], caller: Caller) -> bool:
    try:
        call(caller)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code == "ExecutionDoesNotExist":  # the cloud looked for it, so the call is allowed
            return False
        if not code.startswith("AccessDenied"):
            raise
        return True
    return False


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("function", MAY)
def test_role_may_make_exactly_the_calls_of_its_row(callers: dict[str, Caller], function: str, call: str) -> None:
    may = not is_refused(CALLS[call], callers[function])
    assert may == (call in MAY[function]), f"{function} {'may' if may else 'may not'} {call}"


def test_every_function_has_a_row(resources: dict[str, str]) -> None:
    functions = {name.removesuffix("Function") for name in resources if name.endswith("Function")}
    assert functions == set(MAY) == set(FUNCTIONS)
    assert set().union(*MAY.values()) <= set(CALLS)


@pytest.mark.parametrize("call", HARMLESS)
def test_refused_calls_are_valid(
    service: Service, callers: dict[str, Caller], resources: dict[str, str], call: str
) -> None:
    wrapped = callers["RevealCards"].wrapped
    assert not is_refused(CALLS[call], Caller(service.cloud.session, service.cloud.url, resources, wrapped))

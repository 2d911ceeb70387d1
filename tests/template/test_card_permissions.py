"""Who can decrypt, read and write cards."""

import pytest

from giftcards.adapters.order_table import ORDER_ATTRIBUTES
from template.permission_table import CALLING_THE_SUPPLIER
from template.permissions import (
    grants,
    holders,
    role_of,
    statements,
)
from template.reading import Template, deploy, get_att, properties, resources

DATA_KEYS = {
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
}
READS = {"GetItem", "BatchGetItem", "Query", "Scan", "DescribeTable"}


def test_only_reveal_cards_opens_an_envelope(on_aws: Template):
    assert holders(on_aws, "kms:Decrypt", "CardKey") == {role_of(on_aws, "RevealCardsFunction")}


def test_only_deliver_cards_makes_a_data_key(on_aws: Template):
    assert holders(on_aws, "kms:GenerateDataKey", "CardKey") == {role_of(on_aws, "DeliverCardsFunction")}


def test_nobody_does_anything_else_with_the_card_key(on_aws: Template):
    every = {grant for role in resources(on_aws, "AWS::IAM::Role") for grant in grants(on_aws, role)}
    assert {grant for grant in every if grant.endswith(" on CardKey")} == {
        "kms:Decrypt on CardKey",
        "kms:GenerateDataKey on CardKey",
    }


def test_card_key_policy_admits_nobody_but_the_account(on_aws: Template):
    principals = [
        s["Principal"] for s in properties(on_aws, "CardKey")["KeyPolicy"]["Statement"] if s["Effect"] == "Allow"
    ]
    assert principals == [{"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}]


def test_sweep_orders_reads_orders_and_no_cards(on_aws: Template):
    reads = {
        g for g in grants(on_aws, role_of(on_aws, "SweepOrdersFunction")) if g.split(" ")[0].split(":")[1] in READS
    }
    assert reads == {"dynamodb:Query on CardTable/index/open-orders"}


def test_reconcile_orders_reads_orders_by_their_attributes_and_nothing_else_of_the_cards(on_aws: Template):
    role = role_of(on_aws, "ReconcileOrdersFunction")
    assert {grant for grant in grants(on_aws, role) if "CardTable" in grant} == {"dynamodb:BatchGetItem on CardTable"}
    (body,) = (s.body for s in statements(on_aws) if s.name == f"{role}.ReadOrdersWithoutCards")
    # DynamoDB counts keys and projected attributes; asking for all of them is a Select of its own.
    assert body["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "sk", *ORDER_ATTRIBUTES]},
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    }


@pytest.mark.parametrize("resource", ["CardTable", "AuditTable", "CardKey"])
def test_check_status_has_no_way_to_a_card(on_aws: Template, resource: str):
    reached = {grant for grant in grants(on_aws, role_of(on_aws, "CheckStatusFunction")) if resource in grant}
    assert not reached


def test_reveal_cards_cannot_write_to_the_cards(on_aws: Template):
    on_cards = {g for g in grants(on_aws, role_of(on_aws, "RevealCardsFunction")) if g.endswith(" on CardTable")}
    assert {grant.split(":")[1].split(" ")[0] for grant in on_cards} <= READS


def test_reveal_cards_only_adds_to_the_audit(on_aws: Template):
    of_audit = {g for g in grants(on_aws, role_of(on_aws, "RevealCardsFunction")) if g.endswith(" on AuditTable")}
    assert of_audit == {"dynamodb:PutItem on AuditTable"}


def test_only_those_who_ask_the_supplier_have_its_key(on_aws: Template):
    readers = holders(on_aws, "secretsmanager:GetSecretValue", "SupplierApiKeySecret")
    assert readers == {role_of(on_aws, function) for function in CALLING_THE_SUPPLIER}


@pytest.mark.parametrize(
    ("function", "sid"),
    [
        ("DeliverCardsFunction", "EncryptCards"),
        ("RevealCardsFunction", "DecryptCards"),
    ],
)
def test_card_key_is_used_for_one_order_and_its_user(on_aws: Template, function: str, sid: str):
    bodies = {s.name: s.body for s in statements(on_aws)}
    condition = bodies[f"{role_of(on_aws, function)}.{sid}"]["Condition"]
    assert condition["Null"] == {"kms:EncryptionContext:orderId": "false", "kms:EncryptionContext:userId": "false"}


@pytest.mark.parametrize(
    ("sid", "denied", "role"),
    [
        ("OnlyRevealCardsDecrypts", {"kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"}, "RevealCardsRole"),
        ("OnlyDeliverCardsEncrypts", {"kms:Encrypt", "kms:ReEncryptTo", *DATA_KEYS}, "DeliverCardsRole"),
    ],
)
def test_card_key_itself_denies_what_only_one_function_needs(
    on_aws: Template, on_local_cloud: Template, sid: str, denied: set[str], role: str
):
    (body,) = (s.body for s in statements(on_aws) if s.name == f"CardKey.{sid}")
    generated = f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/${{AWS::StackName}}-{role}-*"
    assert (body["Effect"], body["Principal"], set(body["Action"])) == ("Deny", {"AWS": "*"}, denied)
    assert body["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": {"Fn::Sub": generated}}}
    assert "RoleName" not in properties(on_aws, role), "CloudFormation names it, by the stack and its logical id"
    others = {name for name in resources(on_aws, "AWS::IAM::Role") if name.startswith(role)}
    assert others == {role}, "another role's name would match too"
    assert f"CardKey.{sid}" not in {s.name for s in statements(on_local_cloud)}


def test_administrators_can_still_manage_the_card_key(on_aws: Template):
    # KMS refuses a policy after which nobody can change it (lock-out safety check).
    denied = {a for s in statements(on_aws) if s.holder == "CardKey" and not s.allows for a in s.actions}
    assert not {action for action in denied if "*" in action or "Policy" in action or "Key" in action} - DATA_KEYS


def test_a_second_reader_of_cards_is_found(template: Template):
    added = {"Sid": "Peek", "Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": get_att("CardKey")}
    properties(template, "FulfilOrderRole")["Policies"][0]["PolicyDocument"]["Statement"].append(added)
    assert "FulfilOrderRole" in holders(deploy(template, on_aws=True), "kms:Decrypt", "CardKey")

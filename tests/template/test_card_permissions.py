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
from template.reading import Template, as_list, deploy, get_att, properties, resources

DATA_KEYS = {
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
}
DECRYPTING = {"kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"}
DERIVING = {"kms:GenerateMac", "kms:CreateGrant"}
READS = {"GetItem", "BatchGetItem", "Query", "Scan", "DescribeTable"}


def test_only_two_functions_decrypt_cards(on_aws: Template):
    # RevealCards for a caller with IAM, RedeemLink for the holder of a link.
    readers = {role_of(on_aws, function) for function in ("RevealCardsFunction", "RedeemLinkFunction")}
    assert holders(on_aws, "kms:Decrypt", "CardKey") == readers


def test_only_link_functions_derive_tokens(on_aws: Template):
    # A token opens a link, so this is as strong as decrypting.
    makers = {role_of(on_aws, function) for function in ("CreateLinkFunction", "SendLinkFunction")}
    assert holders(on_aws, "kms:GenerateMac", "LinkKey") == makers
    assert holders(on_aws, "kms:VerifyMac", "LinkKey") == {role_of(on_aws, "RedeemLinkFunction")}


def test_function_that_stores_an_address_cannot_decrypt_it(on_aws: Template):
    assert holders(on_aws, "kms:Encrypt", "RecipientKey") == {role_of(on_aws, "StoreRecipientFunction")}
    assert holders(on_aws, "kms:Decrypt", "RecipientKey") == {role_of(on_aws, "SendLinkFunction")}


@pytest.mark.parametrize("resource", ["Key", "CardTable", "AuditTable"])
def test_public_page_has_no_key_and_cannot_read_cards(on_aws: Template, resource: str):
    allowed = grants(on_aws, role_of(on_aws, "ServePageFunction"))
    assert not {grant for grant in allowed if resource in grant.split(" on ")[1]}
    assert not {grant for grant in allowed if grant.split(" ")[0] in {"dynamodb:Query", "dynamodb:Scan"}}


@pytest.mark.parametrize("function", ["StoreRecipientFunction", "SendLinkFunction", "RecordMailStatusFunction"])
def test_mailing_functions_cannot_read_cards(on_aws: Template, function: str):
    allowed = grants(on_aws, role_of(on_aws, function))
    assert not {grant for grant in allowed if "Card" in grant.split(" on ")[1] or "lambda:" in grant}


def test_only_the_page_may_redeem_links(on_aws: Template):
    callers = holders(on_aws, "lambda:InvokeFunction", "RedeemLinkFunctionAliaslive")
    assert callers == {role_of(on_aws, "ServePageFunction")}


def test_only_deliver_cards_generates_data_keys(on_aws: Template):
    assert holders(on_aws, "kms:GenerateDataKey", "CardKey") == {role_of(on_aws, "DeliverCardsFunction")}


def test_roles_have_no_other_action_on_the_card_key(on_aws: Template):
    every = {grant for role in resources(on_aws, "AWS::IAM::Role") for grant in grants(on_aws, role)}
    assert {grant for grant in every if grant.endswith(" on CardKey")} == {
        "kms:Decrypt on CardKey",
        "kms:GenerateDataKey on CardKey",
    }


def test_card_key_policy_admits_only_the_account(on_aws: Template):
    principals = [
        s["Principal"] for s in properties(on_aws, "CardKey")["KeyPolicy"]["Statement"] if s["Effect"] == "Allow"
    ]
    assert principals == [{"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}]


def test_sweep_orders_reads_no_cards(on_aws: Template):
    reads = {
        g for g in grants(on_aws, role_of(on_aws, "SweepOrdersFunction")) if g.split(" ")[0].split(":")[1] in READS
    }
    assert reads == {"dynamodb:Query on CardTable/index/open-orders"}


@pytest.mark.parametrize(
    ("function", "action", "sid"),
    [
        ("ReconcileOrdersFunction", "BatchGetItem", "ReadOrdersWithoutCards"),
        ("CreateLinkFunction", "GetItem", "ReadTheOrder"),
    ],
)
def test_order_readers_may_read_only_order_attributes(on_aws: Template, function: str, action: str, sid: str):
    role = role_of(on_aws, function)
    assert {grant for grant in grants(on_aws, role) if "CardTable" in grant} == {f"dynamodb:{action} on CardTable"}
    (body,) = (s.body for s in statements(on_aws) if s.name == f"{role}.{sid}")
    # `dynamodb:Attributes` also has keys and projected attributes; all attributes need their own `Select`.
    assert body["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "sk", *ORDER_ATTRIBUTES]},
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    }, f"template.yaml, {sid}: list every field of Order under dynamodb:Attributes, in alphabetical order"


@pytest.mark.parametrize("resource", ["CardTable", "AuditTable", "CardKey"])
def test_check_status_cannot_read_cards(on_aws: Template, resource: str):
    reached = {grant for grant in grants(on_aws, role_of(on_aws, "CheckStatusFunction")) if resource in grant}
    assert not reached


@pytest.mark.parametrize("function", ["RevealCardsFunction", "RedeemLinkFunction"])
def test_functions_that_reveal_cards_cannot_write_them(on_aws: Template, function: str):
    on_cards = {g for g in grants(on_aws, role_of(on_aws, function)) if g.endswith(" on CardTable")}
    assert {grant.split(":")[1].split(" ")[0] for grant in on_cards} <= READS


@pytest.mark.parametrize("function", ["RevealCardsFunction", "RedeemLinkFunction"])
def test_functions_that_reveal_cards_only_add_audit_records(on_aws: Template, function: str):
    of_audit = {g for g in grants(on_aws, role_of(on_aws, function)) if g.endswith(" on AuditTable")}
    assert of_audit == {"dynamodb:PutItem on AuditTable"}


def test_only_callers_of_the_supplier_read_its_key(on_aws: Template):
    readers = holders(on_aws, "secretsmanager:GetSecretValue", "SupplierApiKeySecret")
    assert readers == {role_of(on_aws, function) for function in CALLING_THE_SUPPLIER}


@pytest.mark.parametrize(
    ("function", "sid"),
    [
        ("DeliverCardsFunction", "EncryptCards"),
        ("RevealCardsFunction", "DecryptCards"),
        ("RedeemLinkFunction", "DecryptCards"),
        ("StoreRecipientFunction", "SealAddresses"),
        ("SendLinkFunction", "OpenAddresses"),
    ],
)
def test_key_requires_the_order_and_user_as_context(on_aws: Template, function: str, sid: str):
    bodies = {s.name: s.body for s in statements(on_aws)}
    condition = bodies[f"{role_of(on_aws, function)}.{sid}"]["Condition"]
    assert condition["Null"] == {"kms:EncryptionContext:orderId": "false", "kms:EncryptionContext:userId": "false"}


@pytest.mark.parametrize(
    ("statement", "denied", "roles"),
    [
        ("CardKey.OnlyRevealCardsAndRedeemLinkDecrypt", DECRYPTING, ["RevealCardsRole", "RedeemLinkRole"]),
        ("CardKey.OnlyDeliverCardsEncrypts", {"kms:Encrypt", "kms:ReEncryptTo", *DATA_KEYS}, ["DeliverCardsRole"]),
        ("LinkKey.OnlyLinkFunctionsDeriveTokens", DERIVING, ["CreateLinkRole", "SendLinkRole"]),
        ("LinkKey.OnlyRedeemLinkVerifiesTokens", {"kms:VerifyMac"}, ["RedeemLinkRole"]),
        ("RecipientKey.OnlySendLinkDecrypts", DECRYPTING, ["SendLinkRole"]),
    ],
)
def test_key_policy_denies_its_actions_to_other_roles(
    on_aws: Template, on_local_cloud: Template, statement: str, denied: set[str], roles: list[str]
):
    (body,) = (s.body for s in statements(on_aws) if s.name == statement)
    assert (body["Effect"], body["Principal"], set(as_list(body["Action"]))) == ("Deny", {"AWS": "*"}, denied)
    (key,) = body["Condition"]["ArnNotLike"]
    assert (list(body["Condition"]), key) == (["ArnNotLike"], "aws:PrincipalArn")
    for role, arn in zip(roles, as_list(body["Condition"]["ArnNotLike"][key]), strict=True):
        generated = f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/${{AWS::StackName}}-{role}-*"
        assert arn == {"Fn::Sub": generated}
        assert "RoleName" not in properties(on_aws, role), "CloudFormation names it, by the stack and its logical id"
        others = {name for name in resources(on_aws, "AWS::IAM::Role") if name.startswith(role)}
        assert others == {role}, "another role's name would match too"
    assert statement not in {s.name for s in statements(on_local_cloud)}


@pytest.mark.parametrize("key", ["CardKey", "LinkKey", "RecipientKey"])
def test_administrators_can_manage_the_key(on_aws: Template, key: str):
    # KMS refuses a policy that its principal could not change afterwards (lock-out safety check).
    denied = {a for s in statements(on_aws) if s.holder == key and not s.allows for a in s.actions}
    assert denied
    assert not {action for action in denied if "*" in action or "Policy" in action or "Key" in action} - DATA_KEYS


def test_second_reader_of_cards_is_detected(template: Template):
    added = {"Sid": "Peek", "Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": get_att("CardKey")}
    properties(template, "FulfilOrderRole")["Policies"][0]["PolicyDocument"]["Statement"].append(added)
    assert "FulfilOrderRole" in holders(deploy(template, on_aws=True), "kms:Decrypt", "CardKey")

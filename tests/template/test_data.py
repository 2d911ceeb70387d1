"""Tables, keys and the secret are encrypted, can be restored, and are not deleted by a deployment."""

from collections.abc import Callable

import pytest

from template.reading import Template, deploy, get_att, properties, ref, resources

# Types whose content a deployment must not delete.
STATEFUL = (
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
)
DISPOSABLE = {
    "GateTable": "One record, which the supplier's next answer writes again.",
    "RecipientKey": "It seals addresses for RecipientDays at most; the shop can name a recipient again.",
    "ShopApiKeySecret": "It is generated; a new one is generated with the next ShopApi=true.",
    "WebhookKeySecret": "It is generated; a new one is generated with the next WebhookUrl.",
    "DifferenceTable": "The next run finds and publishes remaining discrepancies again.",
}
ARCHIVED = ("CardTable", "AuditTable", "LinkTable")


def deletable(template: Template) -> list[str]:
    """Return a problem for each resource that loses its content when it is removed or replaced."""
    found = []
    for name, resource in resources(template, *STATEFUL).items():
        expected = "Delete" if name in DISPOSABLE else "Retain"
        found += [
            f"{name}: write {policy}: {expected}"
            for policy in ("DeletionPolicy", "UpdateReplacePolicy")
            if resource.get(policy) != expected
        ]
    return found


def careless_tables(template: Template) -> list[str]:
    """Return a problem for each table that is not encrypted with the storage key or cannot be restored."""
    encrypted = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": get_att("StorageKey")}
    found = []
    for name, table in resources(template, "AWS::DynamoDB::Table").items():
        held = table["Properties"]
        if held.get("SSESpecification") != encrypted:
            found.append(f"{name}: SSESpecification must be {encrypted}")
        if held.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            found.append(f"{name}: enable point-in-time recovery")
        if held.get("BillingMode") != "PAY_PER_REQUEST":
            found.append(f"{name}: BillingMode must be PAY_PER_REQUEST, so that a burst of orders is not throttled")
    return found


def careless_keys(template: Template) -> list[str]:
    """Return a problem for each key that does not rotate or has no alias."""
    named = {alias["Properties"]["TargetKeyId"]["Ref"] for alias in resources(template, "AWS::KMS::Alias").values()}
    found = []
    for name, key in resources(template, "AWS::KMS::Key").items():
        # KMS rotates no HMAC key, and another key would derive other tokens: every link would end.
        if key["Properties"].get("EnableKeyRotation") is not (None if is_hmac(key) else True):
            found.append(f"{name}: set EnableKeyRotation")
        if name not in named:
            found.append(f"{name}: add an AWS::KMS::Alias")
    return found


def is_hmac(key: Template) -> bool:
    return str(key["Properties"].get("KeySpec", "")).startswith("HMAC")


def key_schema(hash_key: str, range_key: str) -> list[dict[str, str]]:
    return [{"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}]


def test_deployments_never_delete_retained_data(on_aws: Template):
    assert not deletable(on_aws)


def test_tables_are_encrypted_and_can_be_restored(on_aws: Template):
    assert not careless_tables(on_aws)


def test_keys_rotate_and_have_an_alias(on_aws: Template):
    assert not careless_keys(on_aws)


def test_there_is_one_key_for_each_purpose(template: Template):
    assert set(resources(template, "AWS::KMS::Key")) == {"CardKey", "StorageKey", "LinkKey", "RecipientKey"}


def test_link_key_can_do_nothing_but_derive_tokens(template: Template):
    key = properties(template, "LinkKey")
    assert (key["KeySpec"], key["KeyUsage"]) == ("HMAC_256", "GENERATE_VERIFY_MAC")
    assert [name for name, key in resources(template, "AWS::KMS::Key").items() if is_hmac(key)] == ["LinkKey"]


@pytest.mark.parametrize("table", ["CardTable", "AuditTable", "GateTable", "DifferenceTable", "LinkTable"])
def test_table_keys(template: Template, table: str):
    assert properties(template, table)["KeySchema"] == key_schema("pk", "sk")


def test_indexes_find_orders_by_user_and_open_orders(template: Template):
    indexes = {i["IndexName"]: i for i in properties(template, "CardTable")["GlobalSecondaryIndexes"]}
    assert {name: index["KeySchema"] for name, index in indexes.items()} == {
        "orders-by-user": key_schema("userId", "claimedAt"),
        "open-orders": key_schema("openStatus", "claimedAt"),
    }
    assert all(index["Projection"] == {"ProjectionType": "ALL"} for index in indexes.values())


def test_indexes_contain_no_cards(template: Template):
    # Only the order row has claimedAt, so the card rows, which have a userId, stay out of both indexes.
    for index in properties(template, "CardTable")["GlobalSecondaryIndexes"]:
        assert index["KeySchema"][1]["AttributeName"] == "claimedAt"


@pytest.mark.parametrize(
    ("table", "attribute"),
    # A link's expiresAt is its end, not its row's: for 90 days more, the page can answer "expired".
    [("CardTable", "expiresAt"), ("DifferenceTable", "expiresAt"), ("LinkTable", "expireAt")],
)
def test_rows_expire_by_one_attribute(template: Template, table: str, attribute: str):
    assert properties(template, table)["TimeToLiveSpecification"] == {"AttributeName": attribute, "Enabled": True}


def test_index_of_due_mails_holds_keys_only(template: Template):
    (index,) = properties(template, "LinkTable")["GlobalSecondaryIndexes"]
    assert (index["IndexName"], index["KeySchema"]) == ("due-mails", key_schema("mailDue", "mailDueAt"))
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


@pytest.mark.parametrize("table", ARCHIVED)
def test_table_is_protected_from_deletion_on_aws_only(on_aws: Template, on_local_cloud: Template, table: str):
    assert properties(on_aws, table)["DeletionProtectionEnabled"] is True
    assert properties(on_local_cloud, table)["DeletionProtectionEnabled"] is False


def test_an_unset_api_key_stays_unset(template: Template):
    # A generated value would be presented to the supplier as an API key, and five refused keys block the address.
    secret = properties(template, "SupplierApiKeySecret")
    assert not {"SecretString", "GenerateSecretString"} & set(secret)
    assert secret["KmsKeyId"] == get_att("StorageKey")


def test_outputs_point_at_what_they_name(template: Template):
    locally = {"Fn::Sub": "/_aws/execute-api/${PageApi}/$default"}
    without_domain = {"Fn::If": ["OnAws", get_att("PageApi", "ApiEndpoint"), locally]}
    assert {name: output["Value"] for name, output in template["Outputs"].items()} == {
        "OrderBusName": ref("OrderBus"),
        "StateMachineArn": ref("FulfilOrderStateMachine"),
        "CardTableName": ref("CardTable"),
        "CardKeyArn": get_att("CardKey"),
        "OrderBusArn": get_att("OrderBus"),
        "RevealCardsAliasArn": ref("RevealCardsFunction.Alias"),
        "SupplierApiKeySecretArn": get_att("SupplierApiKeySecret", "Id"),
        "AlarmTopicArn": ref("AlarmTopic"),
        "PageUrl": {"Fn::If": ["OwnDomain", {"Fn::Sub": "https://${PageDomainName}"}, without_domain]},
        "ShopApiUrl": {"Fn::If": ["OwnDomain", {"Fn::Sub": "https://${PageDomainName}"}, without_domain]},
        "ShopApiKeySecretArn": get_att("ShopApiKeySecret", "Id"),
        "WebhookKeySecretArn": get_att("WebhookKeySecret", "Id"),
        "PageDomainTarget": get_att("PageDomain", "RegionalDomainName"),
        "CreateLinkFunctionArn": ref("CreateLinkFunction.Alias"),
    }


# Each check above must detect a broken template.


@pytest.mark.parametrize(
    "name",
    [
        "CardTable",
        "CardKey",
        "LinkTable",
        "LinkKey",
        "SupplierApiKeySecret",
        "OrderPlacedDeadLetterQueue",
        "FunctionsDeadLetterQueue",
        "WebhookDeadLetterQueue",
    ],
)
@pytest.mark.parametrize("policy", ["DeletionPolicy", "UpdateReplacePolicy"])
def test_unprotected_resource_is_detected(template: Template, name: str, policy: str):
    del template["Resources"][name][policy]
    assert deletable(deploy(template, on_aws=True)) == [f"{name}: write {policy}: Retain"]


@pytest.mark.parametrize("lost", ["SSESpecification", "PointInTimeRecoverySpecification", "BillingMode"])
def test_careless_table_is_detected(template: Template, lost: str):
    del properties(template, "AuditTable")[lost]
    assert careless_tables(deploy(template, on_aws=True))


def no_rotation(template: Template) -> None:
    del properties(template, "CardKey")["EnableKeyRotation"]


def no_alias(template: Template) -> None:
    del template["Resources"]["CardKeyAlias"]


@pytest.mark.parametrize("break_it", [no_rotation, no_alias])
def test_careless_key_is_detected(template: Template, break_it: Callable[[Template], None]):
    break_it(template)
    assert careless_keys(deploy(template, on_aws=True))

"""The shop's API and webhook: what exists with and without them, who may do what, and how the webhook is delivered."""

import re
from typing import Any

import pytest

from giftcards.contracts.events import OUTGOING_EVENTS, WEBHOOK_EVENTS
from giftcards_cli.commands.replay_dlq import REPLAY_SOURCE
from giftcards_local.webhooks import KEY_HEADER
from template.permissions import grants
from template.reading import Template, deploy, get_att, properties, ref, resources

OF_THE_API = {
    *("ServeShopFunction", "ServeShopRole", "ServeShopLogGroup", "ShopIntegration", "ShopRoute", "ShopPermission"),
    *("ShopApiKeySecret", "ShopCallsFailedAlarm", "ShopKeyRefusedAlarm"),
}
OF_THE_WEBHOOK = {
    *("WebhookKeySecret", "WebhookConnection", "WebhookDestination", "WebhookRule", "WebhookRuleRole"),
    *("WebhookDeadLetterQueue", "WebhookDeadLetterQueuePolicy", "WebhookDeadLettersAlarm"),
}


@pytest.mark.parametrize(
    ("parameter", "off", "names"), [("ShopApi", "false", OF_THE_API), ("WebhookUrl", "none", OF_THE_WEBHOOK)]
)
def test_nothing_exists_without_its_parameter(
    template: Template, on_aws: Template, parameter: str, off: str, names: set[str]
):
    without = deploy(template, on_aws=True, **{parameter: off})
    gone = set(on_aws["Resources"]) - set(without["Resources"])
    assert {name for name in gone if not name.startswith("ServeShopFunction")} == names - {"ServeShopFunction"}
    referring = {name for name, held in without["Resources"].items() if any(f"'{each}'" in str(held) for each in names)}
    assert referring <= {"Dashboard"}, "the dashboard's body has names as variables"


def test_outputs_exist_with_their_parameters(template: Template):
    conditions = {name: output.get("Condition") for name, output in template["Outputs"].items()}
    assert conditions["ShopApiUrl"] == conditions["ShopApiKeySecretArn"] == "HasShopApi"
    assert conditions["WebhookKeySecretArn"] == "HasWebhook"
    assert template["Outputs"]["ShopApiUrl"]["Value"] == template["Outputs"]["PageUrl"]["Value"]


def test_defaults_have_neither(template: Template):
    deployed = deploy(template, on_aws=True, ShopApi="false", WebhookUrl="none")
    assert not (OF_THE_API | OF_THE_WEBHOOK) & set(deployed["Resources"])


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("none", True),
        ("https://shop.example", True),
        ("https://shop.example:8443/hooks/gift-cards", True),
        ("http://127.0.0.1:8787", True),
        ("http://shop.example", False),
        ("shop.example", False),
        ("https://shop.example/?key=1", False),
        ("https://user:password@shop.example/", False),
        ("https://shop.example/*", False),
        ("file:///etc/passwd", False),
    ],
)
def test_webhook_url_is_an_http_address_without_secrets_or_wildcards(template: Template, url: str, *, accepted: bool):
    pattern = template["Parameters"]["WebhookUrl"]["AllowedPattern"]
    assert (re.fullmatch(pattern, url) is not None) is accepted


def test_route_goes_to_the_shops_function(on_aws: Template):
    assert properties(on_aws, "ShopRoute")["RouteKey"] == "ANY /v1/{proxy+}"
    assert properties(on_aws, "ShopRoute")["Target"] == {"Fn::Sub": "integrations/${ShopIntegration}"}
    assert properties(on_aws, "ShopIntegration")["IntegrationUri"] == ref("ServeShopFunctionAliaslive")
    assert (
        properties(on_aws, "ServeShopFunction")["Timeout"] * 1000
        <= properties(on_aws, "ShopIntegration")["TimeoutInMillis"]
    )
    assert properties(on_aws, "CreateLinkFunction")["Timeout"] >= 10
    # The stage has a limit for the route, so the route has to exist first.
    assert on_aws["Resources"]["PageStage"]["Metadata"]["Route"] == ref("ShopRoute")


@pytest.mark.parametrize("secret", ["ShopApiKeySecret", "WebhookKeySecret"])
def test_keys_are_generated_and_long(on_aws: Template, secret: str):
    held = properties(on_aws, secret)
    assert held["GenerateSecretString"] == {"PasswordLength": 43, "ExcludePunctuation": True}  # 256 bits
    assert held["KmsKeyId"] == get_att("StorageKey")


def test_webhook_posts_every_event_for_shops_and_replays(on_aws: Template):
    rule = properties(on_aws, "WebhookRule")
    assert rule["EventBusName"] == ref("OrderBus")
    assert rule["EventPattern"] == {
        "source": ["giftcards", REPLAY_SOURCE],
        "detail-type": [*WEBHOOK_EVENTS],
    }
    for_operators = {"OrderRepeated", "OrderUnclaimed", "OrderOverdue", "OrderMismatch"}
    assert set(WEBHOOK_EVENTS) == {event.detail_type for event in OUTGOING_EVENTS} - for_operators, (
        "decide who gets the event: shops (WEBHOOK_EVENTS in contracts/events.py) or operators (this test)"
    )


def test_no_other_rule_matches_a_replayed_event(on_aws: Template):
    for name, rule in resources(on_aws, "AWS::Events::Rule").items():
        pattern = rule["Properties"]["EventPattern"]
        if name != "WebhookRule" and set(pattern.get("detail-type", [])) & set(WEBHOOK_EVENTS):
            assert pattern["source"] == ["giftcards"], f"{name} would handle an event twice"


def test_webhook_is_retried_for_a_day_and_then_kept(on_aws: Template, template: Template):
    for deployed in (on_aws, deploy(template, on_aws=False)):
        (target,) = properties(deployed, "WebhookRule")["Targets"]
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
        assert target["DeadLetterConfig"] == {"Arn": get_att("WebhookDeadLetterQueue")}
        assert target["RoleArn"] == get_att("WebhookRuleRole")
        assert "InputTransformer" not in target, "the shop gets the whole event"


def test_webhook_sends_the_key_and_nothing_else(on_aws: Template):
    connection = properties(on_aws, "WebhookConnection")
    assert connection["AuthParameters"] == {
        "ApiKeyAuthParameters": {
            "ApiKeyName": KEY_HEADER,
            "ApiKeyValue": {"Fn::Sub": "{{resolve:secretsmanager:${WebhookKeySecret}}}"},
        }
    }
    destination = properties(on_aws, "WebhookDestination")
    assert (destination["InvocationEndpoint"], destination["HttpMethod"]) == (ref("WebhookUrl"), "POST")
    assert destination["ConnectionArn"] == get_att("WebhookConnection")


def test_webhooks_rule_may_post_to_the_shop_and_nothing_else(on_aws: Template):
    assert grants(on_aws, "WebhookRuleRole") == {"events:InvokeApiDestination on WebhookDestination"}


def test_local_cloud_gets_no_type_that_it_does_not_know(template: Template):
    local = deploy(template, on_aws=False)
    assert not resources(local, "AWS::Events::Connection", "AWS::Events::ApiDestination")
    (target,) = properties(local, "WebhookRule")["Targets"]
    name: dict[str, Any] = properties(deploy(template, on_aws=True), "WebhookDestination")["Name"]
    assert target["Arn"]["Fn::Sub"].endswith(":api-destination/" + name["Fn::Sub"])

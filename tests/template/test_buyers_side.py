"""The buyer's page and mails: what is public, what is logged, and what exists without mail and without a domain."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from template.reading import WITH_MAIL_AND_DOMAIN, Template, deploy, get_att, properties, ref, resources

OF_MAIL = {
    *("StoreRecipientFunction", "StoreRecipientRole", "StoreRecipientLogGroup", "RecipientSetRule"),
    *("SendLinkFunction", "SendLinkRole", "SendLinkLogGroup", "DeliveredRule", "SendLinkSchedule"),
    *("RecordMailStatusFunction", "RecordMailStatusRole", "RecordMailStatusLogGroup", "MailStatusRule"),
    *("RecipientSetPermission", "DeliveredPermission", "MailStatusPermission"),
    *("MailConfigurationSet", "MailEventDestination", "RecipientKey", "RecipientKeyAlias"),
}
LOGGED = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "route": "$context.routeKey",
    "status": "$context.status",
    "bytes": "$context.responseLength",
    "milliseconds": "$context.responseLatency",
    "error": "$context.integrationErrorMessage",
}
"""The route key is the pattern `GET /c/{token}`. No path, query, address or user agent: a path holds a token."""


def access_log(template: Template) -> dict[str, str]:
    """Return what the access log has of each request."""
    written = properties(template, "PageStage")["AccessLogSettings"]["Format"]
    found: dict[str, str] = json.loads(written)
    return found


def test_access_log_holds_no_token(template: Template):
    assert access_log(template) == LOGGED
    assert properties(template, "PageStage")["AccessLogSettings"]["DestinationArn"] == get_att("PageAccessLogGroup")


def test_page_is_throttled(template: Template):
    assert properties(template, "PageStage")["DefaultRouteSettings"] == {
        "ThrottlingBurstLimit": 20,
        "ThrottlingRateLimit": 10,
    }
    shop = {"ANY /v1/{proxy+}": {"ThrottlingBurstLimit": 200, "ThrottlingRateLimit": 100}}
    assert properties(deploy(template, on_aws=True), "PageStage")["RouteSettings"] == shop
    without = properties(deploy(template, on_aws=True, ShopApi="false"), "PageStage")
    assert "RouteSettings" not in without, "no route of the page has a separate limit"


def test_routes_are_those_of_the_contract_and_all_go_to_the_page(template: Template):
    routes = resources(deploy(template, on_aws=True, ShopApi="false"), "AWS::ApiGatewayV2::Route").values()
    assert sorted(route["Properties"]["RouteKey"] for route in routes) == [
        "$default",
        "GET /c/{token}",
        "GET /robots.txt",
        "HEAD /c/{token}",
        "POST /c/{token}",
    ]
    assert {json.dumps(route["Properties"]["Target"]) for route in routes} == {
        json.dumps({"Fn::Sub": "integrations/${PageIntegration}"})
    }
    assert properties(template, "PageIntegration")["IntegrationUri"] == ref("ServePageFunction.Alias")


def test_page_may_be_read_by_no_other_site(template: Template):
    assert "CorsConfiguration" not in properties(template, "PageApi")


def test_page_answers_before_the_api_gives_up(template: Template):
    api = properties(template, "PageIntegration")["TimeoutInMillis"] / 1000
    assert properties(template, "RedeemLinkFunction")["Timeout"] < properties(template, "ServePageFunction")["Timeout"]
    assert properties(template, "ServePageFunction")["Timeout"] <= api


@pytest.mark.parametrize("function", ["ServePageFunction", "RedeemLinkFunction"])
def test_flood_of_visitors_leaves_room_for_deliveries(template: Template, function: str):
    def reserved(**parameters: str) -> Any:
        on_aws = parameters.pop("DeployTarget", "aws") == "aws"
        return properties(deploy(template, on_aws=on_aws, **parameters), function).get("ReservedConcurrentExecutions")

    assert reserved() == ref("PageConcurrency")
    assert reserved(PageConcurrency="0") is None, "0 as a reservation would stop the function"
    assert reserved(DeployTarget="local") is None


def test_only_the_page_reserves_concurrency(on_aws: Template):
    reserving = {
        name
        for name, function in resources(on_aws, "AWS::Lambda::Function").items()
        if "ReservedConcurrentExecutions" in function["Properties"]
    }
    assert reserving == {"ServePageFunction", "RedeemLinkFunction"}


def test_mail_resources_exist_only_with_a_sender(template: Template):
    everything = {"GradualDeployment": "true"}
    with_mail = set(deploy(template, on_aws=True, **everything)["Resources"])
    without = set(deploy(template, on_aws=True, **everything, MailFrom="none")["Resources"])
    made_of_mail = {name for name in with_mail - without if name not in OF_MAIL}
    assert with_mail - without >= OF_MAIL
    functions = ("StoreRecipientFunction", "SendLinkFunction", "RecordMailStatusFunction")
    assert {name for name in made_of_mail if not name.startswith(functions)} == set()
    assert not resources(deploy(template, on_aws=True, MailFrom="none"), "AWS::SES::ConfigurationSet")


def test_nothing_of_a_stack_without_mail_refers_to_mail(template: Template):
    deployed = deploy(template, on_aws=True, MailFrom="none")
    assert "ses:Send" not in json.dumps(deployed["Resources"])
    del deployed["Resources"]["Dashboard"]  # its body has these names as variables, whose values are then `none`
    kept = json.dumps(deployed["Resources"])
    assert [name for name in sorted(OF_MAIL) if f'"{name}"' in kept or f"${{{name}" in kept] == []


def test_mail_is_sent_from_the_sender_only(on_aws: Template):
    for role in ("SendLinkRole", "CreateLinkRole"):
        (statement,) = (
            statement
            for statement in properties(on_aws, role)["Policies"][0]["PolicyDocument"]["Statement"]
            if statement["Sid"] == "SendMail"
        )
        assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": ref("MailFrom")}}
        assert len(statement["Resource"]) == 3


def test_mails_are_not_tracked_and_need_tls(on_aws: Template):
    held = properties(on_aws, "MailConfigurationSet")
    assert held["DeliveryOptions"] == {"TlsPolicy": "REQUIRE"}
    assert "TrackingOptions" not in held
    assert held["VdmOptions"] == {
        "DashboardOptions": {"EngagementMetrics": "DISABLED"},
        "GuardianOptions": {"OptimizedSharedDelivery": "DISABLED"},
    }
    for function in ("SendLinkFunction", "CreateLinkFunction"):
        assert properties(on_aws, function)["Environment"]["Variables"]["MAIL_CONFIGURATION_SET"] == held["Name"]


def test_ses_reports_no_opens_and_no_clicks(on_aws: Template):
    (destination,) = resources(on_aws, "AWS::SES::ConfigurationSetEventDestination").values()
    event = destination["Properties"]["EventDestination"]
    # To count opens and clicks, SES puts a picture into the mail and its own address before the link.
    assert event["MatchingEventTypes"] == ["bounce", "complaint", "reject"]
    bus = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
    assert event["EventBridgeDestination"] == {"EventBusArn": {"Fn::Sub": bus}}
    rule = properties(on_aws, "MailStatusRule")
    assert "EventBusName" not in rule, "SES publishes to the default bus only"
    assert rule["EventPattern"]["detail-type"] == ["Email Bounced", "Email Complaint Received", "Email Rejected"]
    assert rule["EventPattern"]["detail"] == {
        "mail": {"tags": {"ses:configuration-set": [properties(on_aws, "MailConfigurationSet")["Name"]]}}
    }


def test_domain_replaces_the_name_of_the_api(template: Template):
    with_domain = deploy(template, on_aws=True)
    without = deploy(template, on_aws=True, PageDomainName="none", PageCertificateArn="none")
    of_domain = ("AWS::ApiGatewayV2::DomainName", "AWS::ApiGatewayV2::ApiMapping")
    assert set(resources(with_domain, *of_domain)) == {"PageDomain", "PageMapping"}
    assert not resources(without, *of_domain)
    # The mail's link and the page have one name, and the other one answers nothing.
    assert properties(with_domain, "PageApi")["DisableExecuteApiEndpoint"] is True
    assert properties(without, "PageApi")["DisableExecuteApiEndpoint"] is False
    for function in ("SendLinkFunction", "CreateLinkFunction"):
        url = properties(with_domain, function)["Environment"]["Variables"]["PAGE_URL"]
        assert url == {"Fn::Sub": "https://${PageDomainName}"}
        assert properties(without, function)["Environment"]["Variables"]["PAGE_URL"] == get_att(
            "PageApi", "ApiEndpoint"
        )
    (configuration,) = properties(with_domain, "PageDomain")["DomainNameConfigurations"]
    assert configuration["SecurityPolicy"] == "TLS_1_2"


def test_domain_needs_a_certificate(template: Template):
    rule = template["Rules"]["PageDomainWithCertificate"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [ref("PageDomainName"), "none"]}]}
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [ref("PageCertificateArn"), "none"]}]}
    assert set(WITH_MAIL_AND_DOMAIN) == {"MailFrom", "PageDomainName", "PageCertificateArn"}


def test_recipient_is_named_by_any_source_and_deliveries_by_the_service(on_aws: Template):
    assert properties(on_aws, "RecipientSetRule")["EventPattern"] == {"detail-type": ["RecipientSet"]}
    assert properties(on_aws, "DeliveredRule")["EventPattern"] == {
        "source": ["giftcards"],
        "detail-type": ["CardsDelivered", "CardsPartiallyDelivered"],
    }
    for name in ("RecipientSetRule", "DeliveredRule"):
        # Its transformer does not escape a value, and an address is anything that a buyer has typed.
        assert "InputTransformer" not in properties(on_aws, name)["Targets"][0]


# Each check above must detect a broken template.


def logs_the_path(template: Template) -> None:
    settings = properties(template, "PageStage")["AccessLogSettings"]
    settings["Format"] = settings["Format"].replace("$context.routeKey", "$context.path")


def logs_the_address(template: Template) -> None:
    settings = properties(template, "PageStage")["AccessLogSettings"]
    settings["Format"] = json.dumps(LOGGED | {"ip": "$context.identity.sourceIp"})


@pytest.mark.parametrize("break_it", [logs_the_path, logs_the_address])
def test_talkative_access_log_is_detected(template: Template, break_it: Callable[[Template], None]):
    break_it(template)
    assert access_log(template) != LOGGED


@pytest.mark.parametrize(
    ("sender", "is_taken"),
    [
        ("none", True),
        ("cards@shop.example", True),
        ("cards.dz+en_1-a@mail.shop-1.example", True),
        ("a" * 64 + "@shop.example", True),
        ("a" * 65 + "@shop.example", False),
        (".cards@shop.example", False),
        ("cards.@shop.example", False),
        ("cards..dz@shop.example", False),
        ("cards@-shop.example", False),
        ("cards@shop", False),
        ("Cards <cards@shop.example>", False),
        ("cards@shop.example,other@shop.example", False),
    ],
)
def test_sender_is_one_address_that_ses_accepts(template: Template, sender: str, *, is_taken: bool):
    assert bool(re.fullmatch(template["Parameters"]["MailFrom"]["AllowedPattern"], sender)) is is_taken

"""Parameters and outputs: the contract with everyone who deploys the stack."""

import re

import pytest

from giftcards.rules.schedule import PollSchedule
from template.reading import Template

PARAMETERS = {
    "Stage": "prod",
    "Release": "none",
    "SupplierBaseUrl": "https://api.oneclickdz.com",
    "PollSchedule": "120:5,300:15,3600:60,86400:120",
    "DelayedAfterSeconds": 600,
    "PythonRuntime": "python3.13",
    "Architecture": "arm64",
    "DeployTarget": "aws",
    "LogRetentionDays": 90,
    "CardRetentionDays": 0,
    "GradualDeployment": "false",
    "RunbookUrl": "docs/runbook.md",
    "VpcSubnetIds": "none",
    "VpcSecurityGroupIds": "none",
    "PermissionsBoundaryArn": "none",
    "RevealPrincipalArns": "none",
    "LinkPrincipalArns": "none",
    "ShopName": "Gift cards",
    "ShopContact": "the shop",
    "PageLanguage": "ar",
    "LinkDays": 30,
    "LinkUses": 10,
    "PageDomainName": "none",
    "PageCertificateArn": "none",
    "PageConcurrency": 20,
    "MailFrom": "none",
    "RecipientDays": 30,
    "ShopApi": "false",
    "WebhookUrl": "none",
}
OUTPUTS = {
    "OrderBusName",
    "StateMachineArn",
    "CardTableName",
    "CardKeyArn",
    "SupplierApiKeySecretArn",
    "AlarmTopicArn",
    "OrderBusArn",
    "RevealCardsAliasArn",
    "PageUrl",
    "PageDomainTarget",
    "CreateLinkFunctionArn",
    "ShopApiUrl",
    "ShopApiKeySecretArn",
    "WebhookKeySecretArn",
}


def test_parameters_and_their_defaults_are_those_of_the_contract(template: Template):
    assert {name: parameter.get("Default") for name, parameter in template["Parameters"].items()} == PARAMETERS


def test_outputs_are_those_of_the_contract(template: Template):
    assert set(template["Outputs"]) == OUTPUTS


@pytest.mark.parametrize("kind", ["Parameters", "Outputs"])
def test_every_parameter_and_output_has_a_description(template: Template, kind: str):
    self_explaining = {"Architecture", "LogRetentionDays"}
    silent = {name for name, entry in template[kind].items() if not entry.get("Description")} - self_explaining
    assert not silent, f"give these {kind} a Description: {sorted(silent)}"


def test_one_condition_tells_aws_from_the_local_cloud(template: Template):
    assert template["Conditions"]["OnAws"] == {"Fn::Equals": [{"Ref": "DeployTarget"}, "aws"]}
    assert template["Parameters"]["DeployTarget"]["AllowedValues"] == ["aws", "local"]


def test_no_parameter_takes_a_secret(template: Template):
    secret = [name for name in template["Parameters"] if re.search("key|secret|token|password", name, re.IGNORECASE)]
    assert not secret, f"the API key is not a parameter; put {secret} into Secrets Manager"


def test_default_poll_schedule_is_one_the_functions_accept(template: Template):
    schedule = PollSchedule.parse(template["Parameters"]["PollSchedule"]["Default"])
    assert schedule.deadline_seconds == 86_400


def deploys(template: Template, schedule: str) -> bool:
    """Whether CloudFormation accepts a PollSchedule; AllowedPattern must match the whole value."""
    return re.fullmatch(template["Parameters"]["PollSchedule"]["AllowedPattern"], schedule, re.ASCII) is not None


@pytest.mark.parametrize("schedule", ["120:5", "1:1", "120:5,300:15", "120:5,300:15,3600:60,86400:120"])
def test_functions_accept_every_schedule_that_deploys(template: Template, schedule: str):
    assert PollSchedule.parse(schedule)
    assert deploys(template, schedule), f"AllowedPattern refuses {schedule}, which PollSchedule.parse accepts"


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        " ",
        "120",
        "120:",
        ":5",
        "120:5,",
        ",120:5",
        "a:b",
        "120:5;300:15",
        "-1:5",
        "1.5:5",
        "120:5:7",
        "120:5,,300:9",
        "0:5",
        "120:0",
        "120:5,0:5",
    ],
)
def test_schedule_that_functions_refuse_does_not_deploy(template: Template, schedule: str):
    with pytest.raises(ValueError, match="PollSchedule"):
        PollSchedule.parse(schedule)
    assert not deploys(template, schedule), f"AllowedPattern accepts {schedule!r}, then no function would start"


@pytest.mark.parametrize("schedule", ["300:15,120:5", "120:5,120:15", "86400:1"])
def test_functions_refuse_what_a_pattern_cannot_express(schedule: str):
    with pytest.raises(ValueError, match=r"each until must be later|at most"):
        PollSchedule.parse(schedule)


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://api.oneclickdz.com", True),
        ("http://127.0.0.1:8080/base", True),
        ("api.oneclickdz.com", False),
        ("ftp://api.oneclickdz.com", False),
        ("https://", False),
        ("https://a b", False),
    ],
)
def test_supplier_base_url_is_an_http_address(template: Template, url: str, *, accepted: bool):
    pattern = template["Parameters"]["SupplierBaseUrl"]["AllowedPattern"]
    assert (re.fullmatch(pattern, url) is not None) is accepted

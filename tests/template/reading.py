"""Read the template and the workflow as plain dicts, without deploying anything and without AWS."""

import json
import tomllib
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import boto3
import cfnlint.decode
from samcli.cli.types import CfnParameterOverridesType
from samtranslator.metrics.metrics import DummyMetricsPublisher, Metrics
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[2]
NO_VALUE = {"Ref": "AWS::NoValue"}

Template = dict[str, Any]


INCLUDE = {"Name": "AWS::Include", "Parameters": {"Location": "wiring.yaml"}}


def _parse(name: str) -> Template:
    parsed, problems = cfnlint.decode.decode(str(ROOT / name))
    assert not problems, f"{name} cannot be parsed: {problems}"
    return json.loads(json.dumps(parsed))


@cache
def _template_text() -> str:
    template, included = _parse("template.yaml"), _parse("wiring.yaml")
    assert template["Resources"].pop("Fn::Transform") == INCLUDE
    assert not template["Resources"].keys() & included.keys()
    template["Resources"] |= included
    return json.dumps(template)


def load() -> Template:
    """Return a fresh copy of template.yaml with wiring.yaml included, intrinsic functions in their long form."""
    return json.loads(_template_text())


def load_workflow() -> dict[str, Any]:
    """Return the workflow as written, with its placeholders."""
    return json.loads((ROOT / "statemachine/fulfil_order.asl.json").read_text())


def stage_settings(stage: str, command: str = "deploy") -> dict[str, Any]:
    """Return the settings of a stage in samconfig.toml for a command, read as sam reads them."""
    sections = tomllib.loads((ROOT / "samconfig.toml").read_text())[stage]
    return {
        name: value
        for section in ("global", command)
        for name, value in sections.get(section, {}).get("parameters", {}).items()
    }


def stage_parameters(stage: str, command: str = "deploy") -> dict[str, str]:
    """Return a stage's template parameters in samconfig.toml for a command."""
    overrides = stage_settings(stage, command).get("parameter_overrides", [])
    return CfnParameterOverridesType().convert(overrides, None, None)


def transform(template: Template, parameters: dict[str, str] | None = None) -> Template:
    """Return a fresh copy of a template after SAM's transform, run offline as CloudFormation runs it."""
    return json.loads(_transformed(json.dumps(template), tuple((parameters or {}).items())))


@lru_cache(maxsize=32)  # one run takes 0.2 s, and most tests need the same ones
def _transformed(text: str, parameters: tuple[tuple[str, str], ...]) -> str:
    template = json.loads(text)
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                # The transform requires an S3 URL, which `sam package` would write.
                resource["Properties"][key] = f"s3://bucket/{resource['Properties'][key]}"
    session = boto3.Session(region_name="eu-central-1")
    silent = Metrics("SamTranslator", DummyMetricsPublisher())
    return json.dumps(
        Translator({}, Parser(), boto_session=session, metrics=silent).translate(template, dict(parameters))
    )


WITH_MAIL_AND_DOMAIN = {
    "MailFrom": "cards@shop.example",
    "PageDomainName": "cards.shop.example",
    "PageCertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/0123abcd-0000-0000-0000-000000000000",
}
"""Parameters of a shop whose domain and sender are verified."""
WITH_SHOP = {"ShopApi": "true", "WebhookUrl": "https://shop.example/webhook"}
"""Parameters of a shop without AWS."""
IN_PRODUCTION = {"GradualDeployment": "true", **WITH_MAIL_AND_DOMAIN, **WITH_SHOP}
"""Parameters of samconfig.toml that differ from the defaults, and those that add everything a stack can have."""
LOCALLY = {"DeployTarget": "local", "Stage": "local", "MailFrom": "cards@shop.example"} | {
    "ShopApi": "true",
    "WebhookUrl": "http://127.0.0.1:8787",
}
"""Parameters of giftcards_local.cloud, except those of the build."""


def deploy(template: Template, *, on_aws: bool, **parameters: str) -> Template:
    """Return a template as deployed to AWS or the local cloud: transformed, with conditions evaluated."""
    given = (IN_PRODUCTION if on_aws else LOCALLY) | parameters
    transformed = transform(template, given)
    values = {name: str(entry.get("Default", "")) for name, entry in template["Parameters"].items()} | given
    met = {name: _holds(condition, values) for name, condition in transformed["Conditions"].items()}
    transformed["Resources"] = {
        name: resource
        for name, resource in transformed["Resources"].items()
        if "Condition" not in resource or met[resource["Condition"]]
    }
    return _decide(transformed, met)


def _holds(condition: dict[str, Any], values: dict[str, str]) -> bool:
    ((function, arguments),) = condition.items()
    if function == "Fn::Not":
        return not _holds(arguments[0], values)
    if function == "Fn::And":
        return all(_holds(part, values) for part in arguments)
    if function == "Condition":
        return _holds(load()["Conditions"][arguments], values)
    assert function == "Fn::Equals", f"not supported here: {function}"
    left, right = (values[side["Ref"]] if isinstance(side, dict) else side for side in arguments)
    return str(left) == str(right)  # CloudFormation compares text


def _decide(node: Any, met: dict[str, bool]) -> Any:
    if isinstance(node, dict):
        if set(node) == {"Fn::If"}:
            condition, then, otherwise = node["Fn::If"]
            return _decide(then if met[condition] else otherwise, met)
        decided = {key: _decide(value, met) for key, value in node.items()}
        return {key: value for key, value in decided.items() if value != NO_VALUE}
    if isinstance(node, list):
        return [value for value in (_decide(item, met) for item in node) if value != NO_VALUE]
    return node


def resources(template: Template, *types: str) -> dict[str, dict[str, Any]]:
    """Return the resources of these types by logical id."""
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] in types}


def properties(template: Template, name: str) -> dict[str, Any]:
    """Return the properties of one resource."""
    return template["Resources"][name]["Properties"]


def as_list(value: Any) -> list[Any]:
    """Return what IAM and CloudFormation accept as one value or a list, as a list."""
    return value if isinstance(value, list) else [value]


def get_att(name: str, attribute: str = "Arn") -> dict[str, list[str]]:
    """Return ``!GetAtt name.attribute``."""
    return {"Fn::GetAtt": [name, attribute]}


def ref(name: str) -> dict[str, str]:
    """Return ``!Ref name``."""
    return {"Ref": name}

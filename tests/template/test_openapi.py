"""docs/openapi.yaml is written from the models, and every status that ServeShop can answer is in it."""

import re

import yaml
from jsonschema import Draft202012Validator

from giftcards.contracts.links import LinkOutcome
from giftcards.use_cases import serve_shop
from support.scripts import load
from template.reading import ROOT

PAGE = ROOT / "docs/openapi.yaml"


def test_openapi_matches_the_models():
    assert PAGE.read_text(encoding="utf-8") == load("tools/write_openapi.py").text(), "run `make docs`"


def test_every_route_is_described_and_no_other():
    paths = yaml.safe_load(PAGE.read_text(encoding="utf-8"))["paths"]
    assert {path: [method.upper() for method in calls] for path, calls in paths.items()} == {
        path: [method] for path, method in serve_shop.METHODS.items()
    }


def test_every_call_needs_the_key_and_can_be_throttled():
    document = yaml.safe_load(PAGE.read_text(encoding="utf-8"))
    assert document["security"] == [{"key": []}]
    for calls in document["paths"].values():
        for call in calls.values():
            assert {"401", "429", "503"} <= set(call["responses"])
            assert "security" not in call


def test_every_schema_is_valid_and_every_reference_leads_to_a_part():
    document = yaml.safe_load(PAGE.read_text(encoding="utf-8"))
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in re.findall(r"'#/([\w/]+)'", PAGE.read_text(encoding="utf-8")):
        part = document
        for name in reference.split("/"):
            part = part[name]


def test_every_outcome_of_create_link_has_a_status():
    answered = set(serve_shop._STATUS_OF_OUTCOME) | {LinkOutcome.MAIL_DISABLED}
    never = {LinkOutcome.CREATED, LinkOutcome.EXISTS, LinkOutcome.INVALID_REQUEST}
    assert answered == set(LinkOutcome) - never

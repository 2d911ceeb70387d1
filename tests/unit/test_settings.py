"""A function with wrong settings fails at its start, with the variable's name and no value."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from giftcards.settings import (
    CheckStatusSettings,
    DeliverCardsSettings,
    ReconcileOrdersSettings,
    RevealCardsSettings,
    Settings,
)
from support.cloud import template
from support.secrets import MARK, leaks

EVERYWHERE = {"STAGE_NAME": "test"}
CHECK_STATUS = EVERYWHERE | {
    "SUPPLIER_BASE_URL": "https://supplier.test",
    "SUPPLIER_API_KEY_SECRET_ARN": "arn:secret",
    "GATE_TABLE_NAME": "gate",
    "POLL_SCHEDULE": "120:5,300:15",
    "DELAYED_AFTER_SECONDS": "600",
}
DELIVER_CARDS = CHECK_STATUS | {
    "CARD_TABLE_NAME": "cards",
    "CARD_KEY_ARN": "arn:key",
    "ORDER_BUS_NAME": "bus",
    "CARD_RETENTION_DAYS": "0",
}
REVEAL_CARDS = EVERYWHERE | {
    "CARD_TABLE_NAME": "cards",
    "AUDIT_TABLE_NAME": "audit",
    "CARD_KEY_ARN": "arn:key",
}
RECONCILE_ORDERS = EVERYWHERE | {
    "SUPPLIER_BASE_URL": "https://supplier.test",
    "SUPPLIER_API_KEY_SECRET_ARN": "arn:secret",
    "GATE_TABLE_NAME": "gate",
    "CARD_TABLE_NAME": "cards",
    "DIFFERENCE_TABLE_NAME": "differences",
    "ORDER_BUS_NAME": "bus",
}
FUNCTIONS: dict[str, tuple[type[Settings], dict[str, str]]] = {
    "CheckStatusFunction": (CheckStatusSettings, CHECK_STATUS),
    "DeliverCardsFunction": (DeliverCardsSettings, DELIVER_CARDS),
    "RevealCardsFunction": (RevealCardsSettings, REVEAL_CARDS),
    "ReconcileOrdersFunction": (ReconcileOrdersSettings, RECONCILE_ORDERS),
}
EVERY_VARIABLE = [(function, name) for function, (_, environment) in FUNCTIONS.items() for name in environment]


def refusal(function: str, **changes: str | None) -> str:
    """Read the settings in an environment full of other values, and return the error's text."""
    model, environment = FUNCTIONS[function]
    among_others = {"A": MARK, **environment, **changes, "ZZZ": MARK}  # pydantic shows the beginning and the end
    changed = {name: value for name, value in among_others.items() if value is not None}
    with pytest.raises(ValidationError) as error:
        model.from_environment(changed)
    return f"{error.value} {error.value!r}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_settings_are_what_the_template_sets(function: str):
    variables = template()["Resources"][function]["Properties"]["Environment"]["Variables"]

    assert set(variables) | set(EVERYWHERE) == set(FUNCTIONS[function][1])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_settings_are_read_from_the_environment(function: str, monkeypatch: pytest.MonkeyPatch):
    model, environment = FUNCTIONS[function]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert model.from_environment() == model.from_environment(environment)


@pytest.mark.parametrize(("function", "name"), EVERY_VARIABLE)
def test_missing_variable_fails_by_its_name(function: str, name: str):
    assert name in refusal(function, **{name: None})


@pytest.mark.parametrize(("function", "name"), EVERY_VARIABLE)
def test_missing_variable_fails_without_the_values_of_others(function: str, name: str):
    assert not leaks(refusal(function, **{name: None}))


@pytest.mark.parametrize(("function", "name"), EVERY_VARIABLE)
def test_empty_variable_fails_by_its_name_only(function: str, name: str):
    text = refusal(function, **{name: ""})

    assert name in text
    assert not leaks(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPPLIER_BASE_URL", "supplier.test"),
        ("SUPPLIER_BASE_URL", "ftp://supplier.test"),
        ("DELAYED_AFTER_SECONDS", "0"),
        ("DELAYED_AFTER_SECONDS", "-1"),
        ("DELAYED_AFTER_SECONDS", "ten minutes"),
        ("CARD_RETENTION_DAYS", "-1"),
        ("CARD_RETENTION_DAYS", "1.5"),
        ("POLL_SCHEDULE", "120:5,60:15"),
    ],
)
def test_malformed_variable_fails_by_its_name_only(name: str, value: str):
    text = refusal("DeliverCardsFunction", **{name: value})

    assert name in text
    assert not leaks(text)


def test_bad_schedule_is_named_with_its_value():
    text = refusal("CheckStatusFunction", POLL_SCHEDULE="120:5,60:15")

    assert "PollSchedule '120:5,60:15': " in text


def test_poll_policy_is_made_of_schedule_and_delay():
    policy = CheckStatusSettings.from_environment(CHECK_STATUS).policy

    assert (policy.schedule.steps, policy.delayed_after_seconds) == (((120, 5), (300, 15)), 600)


@pytest.mark.parametrize(("days", "retention"), [("0", None), ("1", timedelta(days=1)), ("365", timedelta(days=365))])
def test_retention_of_0_days_keeps_the_cards(days: str, retention: timedelta | None):
    settings = DeliverCardsSettings.from_environment(DELIVER_CARDS | {"CARD_RETENTION_DAYS": days})

    assert settings.card_retention == retention

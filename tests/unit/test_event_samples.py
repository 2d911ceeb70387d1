"""The sample events and schemas match what the service reads and publishes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import jsonschema
import pytest

from giftcards.contracts.events import OUTGOING_EVENTS, SOURCE, OrderPlaced, OutgoingEvent
from giftcards.contracts.links import RecipientSet
from giftcards.rules.orders import delivery_id_of
from support.scripts import load

EVENTS = Path(__file__).parents[2] / "events"
MODELS = {model.detail_type: model for model in (OrderPlaced, RecipientSet, *OUTGOING_EVENTS)}
OUTGOING = sorted(model.detail_type for model in OUTGOING_EVENTS)
ENVELOPE = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}

each_event = pytest.mark.parametrize("detail_type", sorted(MODELS))
each_outgoing_event = pytest.mark.parametrize("detail_type", OUTGOING)


def sample(detail_type: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{detail_type}.json").read_text())


def schema(detail_type: str) -> dict[str, Any]:
    return json.loads((EVENTS / "schemas" / f"{detail_type}.schema.json").read_text())


def violations(detail_type: str, detail: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema(detail_type))
    return [error.message for error in validator.iter_errors(detail)]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """Return tools/write_schemas.py, which is a script and in no package."""
    return load("tools/write_schemas.py")


def test_every_event_has_a_sample_and_every_sample_an_event():
    assert {path.stem for path in EVENTS.glob("*.json")} == set(MODELS)


def test_every_event_is_listed():
    def kinds(model: type[OutgoingEvent]) -> Iterator[type[OutgoingEvent]]:
        for kind in model.__subclasses__():
            yield kind
            yield from kinds(kind)

    assert {kind for kind in kinds(OutgoingEvent) if "detail_type" in vars(kind)} == set(OUTGOING_EVENTS)


def test_schemas_on_disk_are_those_of_the_models(writer: ModuleType):
    on_disk = {path.name: path.read_text() for path in (EVENTS / "schemas").iterdir()}
    assert on_disk == writer.documents(), "the events have changed: run `make docs`"


@each_event
def test_sample_is_a_complete_eventbridge_event(detail_type: str):
    event = sample(detail_type)
    assert set(event) == ENVELOPE
    assert event["detail-type"] == detail_type
    assert event["account"] == "123456789012"
    assert str(UUID(event["id"])) == event["id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])


def test_samples_have_different_ids():
    assert len({sample(detail_type)["id"] for detail_type in MODELS}) == len(MODELS)


@each_event
def test_sample_is_valid_for_its_model(detail_type: str):
    assert MODELS[detail_type].model_validate(sample(detail_type)["detail"])


@each_event
def test_sample_is_valid_for_its_schema(detail_type: str):
    assert not violations(detail_type, sample(detail_type)["detail"])


@each_event
def test_sample_shows_every_field_and_no_other(detail_type: str):
    assert set(sample(detail_type)["detail"]) == set(schema(detail_type)["properties"])


@each_outgoing_event
def test_sample_is_what_the_service_would_send(detail_type: str):
    event = sample(detail_type)
    sent = MODELS[detail_type].model_validate(event["detail"]).model_dump_json(by_alias=True, exclude_none=True)
    assert json.loads(sent) == event["detail"] | {"occurredAt": json.loads(sent)["occurredAt"]}
    assert event["source"] == SOURCE


@pytest.mark.parametrize("detail_type", ["CardsDelivered", "CardsPartiallyDelivered", "LinkMailSent"])
def test_sample_has_the_delivery_id_of_its_order(detail_type: str):
    detail = sample(detail_type)["detail"]
    assert detail["deliveryId"] == delivery_id_of(detail["orderId"])


def test_counts_and_amounts_of_a_partial_delivery_add_up():
    detail = sample("CardsPartiallyDelivered")["detail"]
    assert detail["quantity"] == detail["fulfilledQuantity"] + detail["refundedQuantity"]
    assert detail["fulfilledAmount"] == detail["fulfilledQuantity"] * detail["pricePerCard"]


def names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


CARD_FIELDS = {"card", "cards", "value", "serial", "ciphertext", "code", "pin"}


@each_event
def test_no_event_has_room_for_a_card(detail_type: str):
    fields = {*names_in(sample(detail_type)), *schema(detail_type)["properties"]}
    assert not {name.lower() for name in fields} & CARD_FIELDS


BUYER_FIELDS = {"email", "address", "recipient", "token", "url", "link", "code"}


@pytest.mark.parametrize("detail_type", [*OUTGOING, "OrderPlaced"])
def test_only_recipient_set_has_room_for_an_address_and_no_event_for_a_link(detail_type: str):
    fields = {*names_in(sample(detail_type)), *schema(detail_type)["properties"]}
    assert not {name.lower() for name in fields} & BUYER_FIELDS


@each_event
def test_schema_is_a_schema_and_points_nowhere(detail_type: str):
    held = schema(detail_type)
    jsonschema.Draft202012Validator.check_schema(held)
    assert held["$id"] == f"{detail_type}.schema.json"
    assert held["title"] == detail_type
    assert held["description"]
    del held["$schema"]
    assert "http" not in json.dumps(held)


@each_event
def test_schema_lets_additional_fields_pass(detail_type: str):
    assert not violations(detail_type, sample(detail_type)["detail"] | {"addedLater": 1})


@each_outgoing_event
def test_schema_wants_the_version_of_every_outgoing_event(detail_type: str):
    detail = sample(detail_type)["detail"]
    assert violations(detail_type, {name: held for name, held in detail.items() if name != "schemaVersion"})
    assert violations(detail_type, detail | {"schemaVersion": "2"})


@pytest.mark.parametrize("field", ["orderId", "userId"])
@pytest.mark.parametrize("wrong", ["", "a b", "ä", "x" * 129, 5, None])
def test_schema_refuses_the_ids_that_the_model_refuses(field: str, wrong: Any):
    detail = sample("OrderPlaced")["detail"] | {field: wrong}
    assert violations("OrderPlaced", detail)
    with pytest.raises(ValueError, match=field):
        OrderPlaced.model_validate(detail)


def test_an_order_needs_no_more_than_its_ids():
    detail = {"orderId": "6901616fe9e88196b4eb64b3", "userId": "user-4711"}
    assert not violations("OrderPlaced", detail)
    assert OrderPlaced.model_validate(detail)


def test_a_recipient_needs_no_more_than_ids_and_address():
    detail = {"orderId": "6901616fe9e88196b4eb64b3", "userId": "user-4711", "email": "amina@mail.example"}
    assert not violations("RecipientSet", detail)
    assert RecipientSet.model_validate(detail)


@pytest.mark.parametrize("field", ["orderId", "userId", "email"])
@pytest.mark.parametrize("wrong", ["x" * 255, 5, None])
def test_schema_refuses_the_recipients_that_the_model_refuses(field: str, wrong: Any):
    detail = sample("RecipientSet")["detail"] | {field: wrong}
    assert violations("RecipientSet", detail)
    with pytest.raises(ValueError, match=field):
        RecipientSet.model_validate(detail)


def test_held_order_event_leaves_out_invalid_ids():
    detail = {name: held for name, held in sample("OrderHeld")["detail"].items() if name not in {"orderId", "userId"}}
    assert not violations("OrderHeld", detail)

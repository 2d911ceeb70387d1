"""Write the JSON Schema of every event's detail, from the models that the service itself uses.

The schemas stay open (no ``additionalProperties: false``), in and out: what a shop sends besides is ignored,
and a consumer that checks against them goes on working when an event gets a field more.
"""

import json
from pathlib import Path
from typing import Any

from giftcards.contracts.events import OUTGOING_EVENTS, OrderPlaced, OutgoingEvent

SCHEMAS = Path(__file__).parents[1] / "events/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type[OutgoingEvent | OrderPlaced]) -> dict[str, Any]:
    """Return the JSON Schema of one event's detail.

    Parameters
    ----------
    model
        Its model in ``giftcards.contracts.events``.
    """
    goes_out = issubclass(model, OutgoingEvent)
    drawn = model.model_json_schema(mode="serialization" if goes_out else "validation", by_alias=True)
    optional = {str(field.alias) for field in model.model_fields.values() if field.default is None}
    schema = {
        "$schema": DRAFT,
        "$id": f"{model.detail_type}.schema.json",
        "title": model.detail_type,
        "description": drawn["description"],
        "type": "object",
        "properties": {name: _tidy(field) for name, field in drawn["properties"].items()},
        # pydantic leaves out what has a default, but what goes out always has its schemaVersion
        "required": [name for name in drawn["properties"] if name not in optional],
    }
    if "$defs" in drawn:
        schema["$defs"] = drawn["$defs"]
    return schema


def _tidy(field: dict[str, Any]) -> dict[str, Any]:
    """Leave out what comes from Python only: titles made of names, null for what is left out, int beside float."""
    tidy = {key: value for key, value in field.items() if key not in {"title", "default", "anyOf"}}
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if {"type": "number"} in choices:  # to which every integer belongs
        choices = [{"type": "number"}]
    match choices:
        case []:
            return tidy
        case [choice]:
            return {**choice, **tidy}
        case _:
            return tidy | {"anyOf": choices}


def documents() -> dict[str, str]:
    """Return the text of every schema file by its name."""
    models: tuple[type[OutgoingEvent | OrderPlaced], ...] = (OrderPlaced, *OUTGOING_EVENTS)
    return {f"{m.detail_type}.schema.json": json.dumps(schema_of(m), indent=2) + "\n" for m in models}


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for name, text in documents().items():
        (SCHEMAS / name).write_text(text)

"""Write the JSON Schema of every event's detail, from the service's models.

The schemas allow additional properties: the service ignores further fields from shops, and consumers that validate
against a schema keep working when an event gets a new field.
"""

import json
from pathlib import Path
from typing import Any

from giftcards.contracts.events import OUTGOING_EVENTS, OrderPlaced, OutgoingEvent
from giftcards.contracts.links import RecipientSet

SCHEMAS = Path(__file__).parents[1] / "events/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type[OutgoingEvent | OrderPlaced | RecipientSet]) -> dict[str, Any]:
    """Return the JSON Schema of one event's detail.

    Parameters
    ----------
    model
        Its model in ``giftcards.contracts.events`` or ``giftcards.contracts.links``.
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
        # pydantic omits fields with a default, but outgoing events always have schemaVersion
        "required": [name for name in drawn["properties"] if name not in optional],
    }
    if "$defs" in drawn:
        schema["$defs"] = drawn["$defs"]
    return schema


def _tidy(field: dict[str, Any]) -> dict[str, Any]:
    """Remove what only Python needs: titles derived from names, null for absent fields, int in addition to float."""
    tidy = {key: value for key, value in field.items() if key not in {"title", "default", "anyOf"}}
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if {"type": "number"} in choices:  # which includes integers
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
    models: tuple[type[OutgoingEvent | OrderPlaced | RecipientSet], ...] = (OrderPlaced, RecipientSet, *OUTGOING_EVENTS)
    return {f"{m.detail_type}.schema.json": json.dumps(schema_of(m), indent=2) + "\n" for m in models}


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for name, text in documents().items():
        (SCHEMAS / name).write_text(text)

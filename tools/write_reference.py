"""Write docs/events.md, the reference of all events, from the schemas and the samples."""

import json
from pathlib import Path
from typing import Any

from giftcards.contracts.events import OutgoingEvent
from write_schemas import documents

SAMPLES = Path(__file__).parents[1] / "events"
PAGE = SAMPLES.parent / "docs/events.md"
EVERYWHERE = [str(field.alias) for field in OutgoingEvent.model_fields.values()]
LIMITS = {r"^[\x21-\x7e]{1,128}$": "1 to 128 visible ASCII characters"}  # patterns in plain words
HEAD = """<!-- Written by `make docs` from the event models (contracts/events.py) and the samples in events/. -->
# Events

All events use one EventBridge bus, the stack output `OrderBusName`. Each event has a JSON Schema in
[`events/schemas/`](../events/schemas) and a complete sample in [`events/`](../events), whose details are shown here.

- **Incoming**: `OrderPlaced` and `RecipientSet`, from any source. Fields that are not listed here are ignored. The same
  order may be published many times for the same user; it is fulfilled once. `RecipientSet` names the address that the
  [link to the cards](buyer-page.md) is mailed to; without `MailFrom` in the stack's parameters it is ignored.
- **Outgoing**: all have the source `giftcards`. Delivery is at least once, in no guaranteed order; `deliveryId` is the
  same on every repeat. No event contains a card, an address, a link or an access code.
- **Never put an address into `OrderPlaced`.** It is ignored there, but it stays readable in the workflow's history, the
  event archive and the dead-letter queue. `RecipientSet` goes to one function, which encrypts it at once.
- **Compatibility**: events may get new fields, so do not reject unknown ones. `schemaVersion` changes if a field is
  removed or changes its meaning.

"""


def _words(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _type_of(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in field:
        return _type_of(definitions[field["$ref"].rpartition("/")[2]], definitions)
    choices = field.get("enum") or ([field["const"]] if "const" in field else [])
    if choices:
        return " · ".join(f"`{choice}`" for choice in choices)
    if field["type"] == "array":
        return f"list of {_type_of(field['items'], definitions)}"
    words = ["time" if field.get("format") == "date-time" else field["type"]]
    if field.get("format") == "email":
        words = ["email address"]
    if "pattern" in field:
        words.append(LIMITS[field["pattern"]])
    if "maxLength" in field:
        words.append(f"at most {field['maxLength']} characters")
    if "minimum" in field:
        words.append(f"at least {field['minimum']}")
    return ", ".join(words)


def _table(schema: dict[str, Any], fields: list[str]) -> str:
    lines = ["| field | type | required | meaning |", "|---|---|---|---|"]
    for name in fields:
        field = schema["properties"][name]
        required = "yes" if name in schema["required"] else "no"
        kind = _type_of(field, schema.get("$defs", {}))
        lines.append(f"| `{name}` | {kind} | {required} | {_words(field['description'])} |")
    return "\n".join(lines)


def _event(schema: dict[str, Any]) -> str:
    name = schema["title"]
    own = [field for field in schema["properties"] if field not in EVERYWHERE]
    sample = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))["detail"]
    shown = json.dumps(sample, indent=2, ensure_ascii=False)
    return f"## {name}\n\n{_words(schema['description'])}\n\n{_table(schema, own)}\n\n```json\n{shown}\n```\n"


def page() -> str:
    """Return the page."""
    schemas = [json.loads(text) for text in documents().values()]
    everywhere = f"Every outgoing event has\n\n{_table(schemas[-1], EVERYWHERE)}\n"
    return HEAD + "\n".join([everywhere, *map(_event, schemas)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

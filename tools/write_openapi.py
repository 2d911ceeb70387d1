"""Write docs/openapi.yaml, the description of the shop's HTTP API, from the models of its calls."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic.json_schema import models_json_schema

from giftcards.contracts.base import Contract
from giftcards.contracts.links import LinkCreated
from giftcards.contracts.shop import LinkBody, OrderBody, OrderTaken, OrderView, Problem
from giftcards.use_cases.serve_shop import LINKS, MAX_BODY_BYTES, METHODS, ORDER, ORDERS

PAGE = Path(__file__).parents[1] / "docs/openapi.yaml"
HEAD = "# Written by `make docs` from contracts/shop.py and tools/write_openapi.py.\n"
ABOUT = (
    "For shops that do not run on AWS: place orders, read them, and get the link that shows the cards to the buyer. "
    "No call shows a card. docs/shops.md has the whole integration, docs/events.md the events of the webhook."
)
PROBLEMS = {
    400: "The body or the order id is invalid; `errors` names the fields.",
    401: "The key is missing or wrong.",
    404: "There is no such order, or it is another user's.",
    405: "The path takes another method; the header `Allow` names it.",
    409: "There is no such link; `reason` says why.",
    410: "The order's cards are no longer stored.",
    413: f"The body has more than {MAX_BODY_BYTES} bytes.",
    415: "The body is not JSON.",
    503: "The service cannot answer just now, and nothing was accepted. Repeat the call after `Retry-After` seconds.",
}
HEADERS = {401: ("WWW-Authenticate", "string"), 405: ("Allow", "string"), 503: ("Retry-After", "integer")}
THROTTLED = "Too many calls. API Gateway answers, so the body is not a problem document. Repeat the call later."
OF_BODY = (400, 413, 415)
CALLS: dict[str, dict[str, Any]] = {
    ORDERS: {
        "id": "placeOrder",
        "summary": "Fulfil an order that is placed and paid at the supplier",
        "about": "Call it any number of times for an order; it is fulfilled once.",
        "body": OrderBody,
        "answer": (202, "The order is accepted. It can be read within seconds.", OrderTaken),
        "problems": OF_BODY,
    },
    ORDER: {
        "id": "getOrder",
        "summary": "Read an order",
        "about": "The webhook reports every change, so there is no need to poll.",
        "answer": (200, "The order.", OrderView),
        "problems": (400, 404),
    },
    LINKS: {
        "id": "createLink",
        "summary": "Get the link that shows the cards to the buyer",
        "about": "The same call returns the same link. Anyone who has the link can see the cards.",
        "body": LinkBody,
        "answer": (200, "The link.", LinkCreated),
        "problems": (*OF_BODY, 404, 409, 410),
    },
}
ORDER_ID = {
    "name": "orderId",
    "in": "path",
    "required": True,
    "description": "The supplier's order id, percent-encoded",
    "schema": {"$ref": "#/components/schemas/OrderId"},
}
LITERALS = {
    "OrderId": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$", "example": "6901616fe9e88196b4eb64b3"},
}


_Model = tuple[type[Contract], Literal["validation", "serialization"]]


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gift-card fulfilment, the shop's API", "version": "1", "description": ABOUT},
        "servers": [{"url": "{ShopApiUrl}", "variables": {"ShopApiUrl": {"default": "https://cards.shop.example"}}}],
        "security": [{"key": []}],
        "paths": {path: {METHODS[path].lower(): _operation(path)} for path in CALLS},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {str(status): _problem(status) for status in PROBLEMS} | {"429": {"description": THROTTLED}},
            "schemas": LITERALS | _schemas(),
        },
    }


def text() -> str:
    """Return the file."""
    return HEAD + yaml.dump(document(), Dumper=_WithoutAliases, sort_keys=False, allow_unicode=True, width=110)


class _WithoutAliases(yaml.SafeDumper):
    """Writes a part in each place where it stands, as a reader expects."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _operation(path: str) -> dict[str, Any]:
    call = CALLS[path]
    status, meaning, model = call["answer"]
    operation: dict[str, Any] = {
        "operationId": call["id"],
        "summary": call["summary"],
        "description": call["about"],
    }
    if "{orderId}" in path:
        operation["parameters"] = [ORDER_ID]
    if "body" in call:
        operation["requestBody"] = {"required": True, "content": _content("application/json", call["body"])}
    statuses = sorted({401, 405, 429, 503, *call["problems"]})
    operation["responses"] = {
        str(status): {"description": meaning, "content": _content("application/json", model)},
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses},
    }
    return operation


def _problem(status: int) -> dict[str, Any]:
    response = {
        "description": PROBLEMS[status],
        "content": _content("application/problem+json", Problem),
    }
    if status in HEADERS:
        name, kind = HEADERS[status]
        response["headers"] = {name: {"required": True, "schema": {"type": kind}}}
    return response


def _content(kind: str, model: type[Any]) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _schemas() -> dict[str, Any]:
    sent: list[_Model] = [(model, "validation") for model in (OrderBody, LinkBody)]
    answered: list[_Model] = [(model, "serialization") for model in (OrderTaken, OrderView, LinkCreated, Problem)]
    _, schema = models_json_schema([*sent, *answered], ref_template="#/components/schemas/{model}")
    out = {model.__name__ for model, _ in answered}
    return {name: _tidy(found, never_null=name in out) for name, found in sorted(schema["$defs"].items())}


def _tidy(node: Any, *, never_null: bool) -> Any:
    """Remove what only Python needs: titles derived from names, and null for fields that an answer leaves out."""
    if isinstance(node, list):
        return [_tidy(item, never_null=never_null) for item in node]
    if not isinstance(node, dict):
        return node
    if never_null and {"type": "null"} in node.get("anyOf", []):
        (only,) = (choice for choice in node["anyOf"] if choice != {"type": "null"})
        node = only | {key: value for key, value in node.items() if key != "anyOf"}
    return {
        key: _tidy(value, never_null=never_null)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")

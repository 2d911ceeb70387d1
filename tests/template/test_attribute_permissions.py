"""Which attributes of an order row a role can name."""

from datetime import UTC, datetime
from types import SimpleNamespace

import rows
from giftcards.adapters.order_table import OrderTable
from giftcards.rules.orders import Order
from template.permissions import (
    attributes_of,
    statements,
)
from template.reading import Template, load_workflow


def allowed_attributes(template: Template, name: str) -> set[str]:
    (body,) = (s.body for s in statements(template) if s.name == name)
    return set(body["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"])


def test_the_workflow_may_name_the_attributes_that_its_states_name_and_no_others(on_aws: Template):
    states = load_workflow()["States"].values()
    named = set().union(*(attributes_of(s["Arguments"]) for s in states if ":dynamodb:" in s.get("Resource", "")))
    assert allowed_attributes(on_aws, "FulfilOrderRole.ClaimHoldAndResumeOrders") == named, (
        "template.yaml, ClaimHoldAndResumeOrders: list under dynamodb:Attributes what the workflow names, "
        "or AWS denies the state that names it"
    )
    assert "ciphertext" not in named


def test_sweep_orders_may_name_the_attributes_that_a_sweep_names_and_no_others(on_aws: Template):
    requests = []
    client = SimpleNamespace(update_item=lambda **request: requests.append(request))
    table = OrderTable("cards", client)  # type: ignore[arg-type]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for execution in ("arn:aws:states:eu-west-1:123456789012:execution:fulfil-order:1", None):
        order = Order.model_validate(rows.claimed(executionArn=execution))
        for sweep in (table.release, table.mark_swept):
            sweep(order, at=now, unless_since=now)
    assert {request.get("ReturnValues", "NONE") for request in requests} == {"NONE"}
    named = set().union(*map(attributes_of, requests))
    assert allowed_attributes(on_aws, "SweepOrdersRole.ReleaseOrders") == named, (
        "template.yaml, ReleaseOrders: list under dynamodb:Attributes what OrderTable.release and mark_swept name, "
        "or AWS denies every sweep"
    )

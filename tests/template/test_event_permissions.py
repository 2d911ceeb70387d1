"""Who can publish which events."""

from giftcards.contracts.events import OUTGOING_EVENTS, OrderPlaced
from giftcards.contracts.links import RecipientSet
from giftcards.use_cases import serve_shop, sweep_orders
from template.permissions import (
    statements,
)
from template.reading import Template, load_workflow

PUBLISHES = {
    "FulfilOrderRole": ("giftcards", {"OrderDelayed", "OrderDisputed", "OrderHeld", "OrderRepeated"}),
    "DeliverCardsRole": ("giftcards", {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded"}),
    "SweepOrdersRole": ("giftcards.sweeper", {"OrderPlaced"}),
    "ReconcileOrdersRole": ("giftcards", {"OrderMismatch", "OrderOverdue", "OrderUnclaimed"}),
    "StoreRecipientRole": ("giftcards", {"LinkMailFailed"}),
    "SendLinkRole": ("giftcards", {"LinkMailSent", "LinkMailFailed"}),
    "RecordMailStatusRole": ("giftcards", {"LinkMailBounced", "LinkMailFailed"}),
    "RedeemLinkRole": ("giftcards", {"CardsViewed"}),
    "ServeShopRole": ("giftcards.shop", {"OrderPlaced", "RecipientSet"}),
}
# An address can turn out to be unusable when it is named, when the mail is sent, and when Amazon SES rejects the mail.
PUBLISHED_BY_SEVERAL = {
    "LinkMailFailed": ["RecordMailStatusRole", "SendLinkRole", "StoreRecipientRole"],
    "OrderPlaced": ["ServeShopRole", "SweepOrdersRole"],  # a shop's order, and one that is resumed
}


def test_each_role_publishes_its_own_events(on_aws: Template):
    found = {}
    for statement in statements(on_aws):
        if "events:PutEvents" in statement.actions:
            assert list(statement.body["Condition"]) == ["StringEquals"]
            bound = statement.body["Condition"]["StringEquals"]
            assert set(bound) == {"events:source", "events:detail-type"}
            found[statement.holder] = (bound["events:source"], set(bound["events:detail-type"]))
    assert found == PUBLISHES


def test_every_event_that_goes_out_is_published_by_one_role_or_for_a_reason_by_several():
    events = {event.detail_type for event in (*OUTGOING_EVENTS, OrderPlaced, RecipientSet)}
    published = {
        event: sorted(role for role, (_, names) in PUBLISHES.items() if event in names)
        for event in events.union(*(names for _, names in PUBLISHES.values()))
    }
    assert set(published) == events
    assert {event: roles for event, roles in published.items() if len(roles) != 1} == PUBLISHED_BY_SEVERAL
    assert PUBLISHES["SweepOrdersRole"][0] == sweep_orders.SOURCE
    assert PUBLISHES["ServeShopRole"][0] == serve_shop.SOURCE


def test_the_workflow_may_publish_what_its_states_do(on_aws: Template):
    states = load_workflow()["States"].values()
    entries = [entry for state in states for entry in state.get("Arguments", {}).get("Entries", [])]
    assert {entry["DetailType"] for entry in entries} == PUBLISHES["FulfilOrderRole"][1]
    assert {entry["Source"] for entry in entries} == {PUBLISHES["FulfilOrderRole"][0]}

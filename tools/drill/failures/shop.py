"""Mistakes of a shop."""

from uuid import uuid4

from drill.scene import USER, Failure, Scene
from giftcards.contracts.events import HeldReason
from giftcards.metrics import Metric
from support.webhook import webhook


def places_an_unknown_order(scene: Scene) -> Failure:
    """The supplier does not know the order."""
    scene.order_id = uuid4().hex[:24]
    scene.place()
    held = scene.held(HeldReason.ORDER_UNKNOWN)
    scene.run("MeasureOrders")
    yield f"{held}, {scene.emitted(Metric.ORDERS_HELD)}"
    scene.service.supplier.control.add_order(1, order_id=scene.order_id, fulfil_after=0)
    yield None
    scene.until_published()


def places_an_order_for_two_users(scene: Scene) -> Failure:
    """OrderPlaced names another user for a delivered order."""
    scene.delivered_order()
    scene.place("mallory")
    yield scene.emitted(Metric.ORDER_DISPUTED)
    yield None
    order = scene.service.stack.orders.get(scene.order_id)
    assert order is not None
    assert order.user_id == USER


def never_places_an_order(scene: Scene) -> Failure:
    """An order was paid at the supplier twenty minutes ago, without an OrderPlaced event."""
    scene.order_id = scene.service.order(placed_seconds_ago=1200)
    scene.run("ReconcileOrders")
    yield scene.emitted(Metric.RECONCILIATION_DIFFERENCE)
    yield None
    scene.until_published()


def sends_an_invalid_address(scene: Scene) -> Failure:
    """RecipientSet has no valid address."""
    scene.delivered_order()
    scene.set_recipient("alice at mail.example")
    yield scene.emitted(Metric.MAIL_FAILED)
    yield None


def refuses_the_webhook(scene: Scene) -> Failure:
    """The shop's endpoint answers 404, which is not retried."""
    with webhook(scene.service) as endpoint:
        endpoint.status = 404
        scene.delivered_order()
        yield scene.queued("WebhookDeadLetterQueue")
        endpoint.status = 204
        yield None
        endpoint.until_accepted(scene.order_id, "CardsDelivered")


def calls_while_the_bus_denies_it(scene: Scene) -> Failure:
    """ServeShop may not publish, so the shop's calls fail."""
    scene.order_id = scene.service.order()
    order = {"orderId": scene.order_id, "userId": USER}
    with scene.without_permissions("ServeShop", sid="PublishOrdersAndRecipients"):
        answers = [scene.service.shop("POST", "/v1/orders", order).status_code for _ in range(3)]
        assert answers == [503] * 3
        yield scene.emitted(Metric.SHOP_CALL_FAILED, 3)
    yield None
    assert scene.service.shop("POST", "/v1/orders", order).status_code == 202
    scene.until_published()


def calls_with_an_old_key(scene: Scene) -> Failure:
    """The shop has a wrong key."""
    scene.delivered_order()
    path = f"/v1/orders/{scene.order_id}"
    assert {scene.service.shop("GET", path, key="old").status_code for _ in range(10)} == {401}
    yield scene.emitted(Metric.SHOP_KEY_REFUSED, 10)
    yield None
    assert scene.service.shop("GET", path).status_code == 200

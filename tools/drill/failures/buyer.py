"""Failures of the buyer's side: mail, links and the page."""

import json
from datetime import UTC, datetime, timedelta

import httpx

from drill.scene import USER, Failure, Scene
from giftcards.metrics import Metric


def mail_waits_for_an_hour(scene: Scene) -> Failure:
    """Mails stay due, because SendLink may not decrypt addresses."""
    with scene.without_permissions("SendLink", sid="OpenAddresses"):
        scene.delivered_order()
        scene.set_recipient("alice@mail.example")
        scene.make_mail_due_since(datetime.now(UTC) - timedelta(hours=2))
        scene.since = datetime.now(UTC)
        scene.run("SendLink")
        yield f"{scene.emitted(Metric.OLDEST_MAIL_DUE, 3600)} s"
    scene.make_mail_due_since(datetime.now(UTC))  # ends the lease of the run that failed
    scene.run("SendLink")
    yield None
    scene.emitted(Metric.MAIL_SENT)


def access_code_is_guessed(scene: Scene) -> Failure:
    """Someone tries access codes until the link is locked."""
    scene.delivered_order()
    url = scene.link("--code", "4815")
    answers = [httpx.post(url, data={"code": f"000{digit}"}, trust_env=False).status_code for digit in range(6)]
    assert answers == [403] * len(answers)
    yield f"{scene.emitted(Metric.VIEW_WRONG_CODE, 4)}, {scene.emitted(Metric.VIEW_CODE_LOCKED)}"
    yield None
    assert httpx.post(url, data={"code": "4815"}, trust_env=False).status_code == 410


def replaced_link_is_used(scene: Scene) -> Failure:
    """A buyer uses a link after the shop replaced it."""
    scene.delivered_order()
    url = scene.link()
    scene.link("--replace")
    assert httpx.post(url, trust_env=False).status_code == 410
    yield f"{scene.emitted(Metric.VIEW_REFUSED)}, {scene.emitted(Metric.VIEW_REPLACED)}"
    yield None


def create_link_has_no_permissions(scene: Scene) -> Failure:
    """The role of CreateLink loses its permissions."""
    scene.delivered_order()
    with scene.without_permissions("CreateLink"):
        request = json.dumps({"orderId": scene.order_id, "userId": USER}).encode()
        name = scene.service.physical_id("CreateLinkFunction")
        answer = scene.client("lambda").invoke(FunctionName=name, Qualifier="live", Payload=request)
        assert "FunctionError" in answer, "CreateLink succeeds without permissions"
        yield "AWS/Lambda Errors 1"
    yield None


def create_link_is_throttled(scene: Scene) -> Failure:
    """Lambda throttles CreateLink."""
    scene.delivered_order()
    with scene.without_concurrency("CreateLink"):
        yield scene.throttled("CreateLink")
    yield None

"""`giftcards rotate-key`: two keys, no stop, and nothing printed."""

import boto3
import pytest

from giftcards_cli.stack import Stack
from support.cloud import Cloud, client_error
from support.command_line import Giftcards


class Keys:
    """The stack's two secrets, and what EventBridge sends."""

    def __init__(self) -> None:
        self.secrets = boto3.client("secretsmanager")
        self.outputs = {
            f"{name}SecretArn": self.secrets.create_secret(Name=name, SecretString=f"old-{name}")["ARN"]
            for name in ("ShopApiKey", "WebhookKey")
        }
        self.sent: list[dict[str, str]] = []

    def value(self, name: str, stage: str = "AWSCURRENT") -> str:
        return self.secrets.get_secret_value(SecretId=name, VersionStage=stage)["SecretString"]


@pytest.fixture
def keys(cloud: Cloud, giftcards: Giftcards, monkeypatch: pytest.MonkeyPatch) -> Keys:
    keys = Keys()
    monkeypatch.setattr(Stack, "_outputs", lambda _stack: {"CardTableName": cloud.card_table, **keys.outputs})
    monkeypatch.setattr(Stack, "set_webhook_key", lambda _stack, key: keys.sent.append(key))
    return keys


def test_shop_key_is_new_and_the_old_one_is_the_previous(giftcards: Giftcards, keys: Keys):
    result = giftcards("rotate-key", "shop")
    assert result.code == 0
    new = keys.value("ShopApiKey")
    assert new != "old-ShopApiKey"
    assert len(new) >= 40
    assert new not in result.out
    assert keys.value("ShopApiKey", "AWSPREVIOUS") == "old-ShopApiKey"


def test_webhook_key_is_sent_only_after_the_second_step(giftcards: Giftcards, keys: Keys):
    assert giftcards("rotate-key", "webhook").code == 0
    pending = keys.value("WebhookKey", "AWSPENDING")
    assert (keys.value("WebhookKey"), keys.sent) == ("old-WebhookKey", [])

    result = giftcards("rotate-key", "webhook", "--finish")

    assert (result.code, pending in result.out) == (0, False)
    assert (keys.value("WebhookKey"), keys.sent) == (pending, [pending])
    assert keys.value("WebhookKey", "AWSPREVIOUS") == "old-WebhookKey"


def test_finishing_again_is_refused_and_changes_nothing(giftcards: Giftcards, keys: Keys):
    giftcards("rotate-key", "webhook")
    giftcards("rotate-key", "webhook", "--finish")
    result = giftcards("rotate-key", "webhook", "--finish")
    assert (result.code, len(keys.sent)) == (1, 1)
    assert "rotate-key webhook" in result.err


def test_finish_can_be_repeated_after_a_crash(cloud: Cloud, giftcards: Giftcards, keys: Keys):
    giftcards("rotate-key", "webhook")
    pending = keys.value("WebhookKey", "AWSPENDING")
    cloud.at_next("UpdateSecretVersionStage", client_error("UpdateSecretVersionStage"))
    assert giftcards("rotate-key", "webhook", "--finish").code == 1
    assert giftcards("rotate-key", "webhook", "--finish").code == 0
    assert (keys.value("WebhookKey"), keys.sent) == (pending, [pending, pending])


@pytest.mark.parametrize(
    ("arguments", "code"), [(["shop", "--finish"], 2), (["supplier"], 2), (["webhook", "--finish"], 1)]
)
def test_wrong_use_is_refused(giftcards: Giftcards, keys: Keys, arguments: list[str], code: int):
    assert giftcards("rotate-key", *arguments).code == code
    assert (keys.value("ShopApiKey"), keys.sent) == ("old-ShopApiKey", [])


def test_stack_without_the_key_is_named(giftcards: Giftcards, keys: Keys):
    keys.outputs.clear()
    result = giftcards("rotate-key", "webhook")
    assert (result.code, "WebhookUrl" in result.err) == (1, True)

"""``giftcards rotate-key``: new keys for the shop's API and its webhook, without a stop."""

import secrets
from enum import StrEnum
from typing import Annotated

import typer

from giftcards_cli import output
from giftcards_cli.arguments import StackName
from giftcards_cli.stack import CommandError, SecretVersions, Stack, aws_errors
from giftcards_local import STACK_NAME

KEY_BYTES = 32


class Key(StrEnum):
    """Which key."""

    SHOP = "shop"
    WEBHOOK = "webhook"


def rotate_key(
    key: Annotated[Key, typer.Argument(metavar="KEY", help="`shop` or `webhook`.")],
    finish: Annotated[  # noqa: FBT002
        bool, typer.Option("--finish", help="Send the new webhook key from now on. The shop must accept it already.")
    ] = False,
    stack: StackName = STACK_NAME,
) -> None:
    """Make a new key for the shop's API, or for its webhook. No key is printed.

    The API accepts the current and the previous key of the secret. The webhook sends one key, so its rotation has two
    steps: the first stores a new key, which your shop accepts beside the old one; `--finish` sends it.
    """
    if finish and key is Key.SHOP:
        raise CommandError("--finish is for the webhook's key; the shop's key has one step", exit_code=2)
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        versions = deployed.secret_versions("ShopApiKeySecretArn" if key is Key.SHOP else "WebhookKeySecretArn")
        if key is Key.SHOP:
            versions.put_current(_new_key())
            output.say(f"new key in {versions.arn}; the previous one is accepted until the next rotation")
        elif finish:
            _finish(deployed, versions)
            output.say("the webhook sends the new key; let your shop forget the old one")
        else:
            versions.put_pending(_new_key())
            output.say(
                f"new key in {versions.arn}, version stage AWSPENDING; let your shop accept it beside the old one, "
                "then run giftcards rotate-key webhook --finish"
            )


def _finish(deployed: Stack, versions: SecretVersions) -> None:
    """Send the key first, so that the secret's current key is never one that was not sent yet."""
    pending = versions.pending()
    if pending is None:
        raise CommandError("there is no new webhook key; run giftcards rotate-key webhook first")
    deployed.set_webhook_key(pending)
    versions.promote_pending()


def _new_key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)

"""What the functions of the buyer and the shop build once per container: the second composition root.

Everything is imported where it is built. ServePage imports this module on the cold start of a public page, and needs
neither pydantic nor the Encryption SDK.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from giftcards.outside import now, once, outside

if TYPE_CHECKING:
    from giftcards.use_cases.create_link import LinkCreation
    from giftcards.use_cases.record_mail_status import MailStatusRecording
    from giftcards.use_cases.redeem_link import LinkRedemption
    from giftcards.use_cases.send_link import LinkMailing
    from giftcards.use_cases.serve_page import LinkPage
    from giftcards.use_cases.serve_shop import ShopApi
    from giftcards.use_cases.store_recipient import RecipientStorage

__all__ = ["now"]  # ServePage gets the time from this module


@once
def recipient_storage() -> "RecipientStorage":
    """Build what StoreRecipient needs."""
    from datetime import timedelta

    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.mail_table import MailTable
    from giftcards.adapters.recipient_cipher import RecipientCipher
    from giftcards.settings import StoreRecipientSettings
    from giftcards.use_cases.store_recipient import RecipientStorage

    settings = StoreRecipientSettings.from_environment(outside().environment)
    return RecipientStorage(
        mails=MailTable(settings.link_table_name, aws.dynamodb()),
        cipher=RecipientCipher(settings.recipient_key_arn, aws.kms()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        retention=timedelta(days=settings.recipient_days),
    )


@once
def link_mailing() -> "LinkMailing":
    """Build what SendLink needs."""
    from giftcards import composition_root
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_key import LinkKey
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.mail_table import MailTable
    from giftcards.adapters.mailer import Mailer
    from giftcards.adapters.recipient_cipher import RecipientCipher
    from giftcards.settings import SendLinkSettings
    from giftcards.use_cases.issue_link import LinkIssue
    from giftcards.use_cases.mail_link import LinkMailer
    from giftcards.use_cases.send_link import LinkMailing

    settings = SendLinkSettings.from_environment(outside().environment)
    links = LinkTable(settings.link_table_name, aws.dynamodb())
    mailer = Mailer(settings.mail_from, settings.mail_configuration_set, aws.ses())
    return LinkMailing(
        mails=MailTable(settings.link_table_name, aws.dynamodb()),
        links=links,
        issue=LinkIssue(links, LinkKey(settings.link_key_arn, aws.kms())),
        cipher=RecipientCipher(settings.recipient_key_arn, aws.kms()),
        mailer=LinkMailer(mailer, settings.mail_policy),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        policy=settings.mail_policy,
        measure=composition_root.measure,
    )


@once
def link_creation() -> "LinkCreation":
    """Build what CreateLink needs."""
    from giftcards import composition_root
    from giftcards.adapters import aws
    from giftcards.adapters.link_key import LinkKey
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.mailer import Mailer
    from giftcards.adapters.order_table import OrderTable
    from giftcards.settings import CreateLinkSettings
    from giftcards.use_cases.create_link import LinkCreation
    from giftcards.use_cases.issue_link import LinkIssue
    from giftcards.use_cases.mail_link import LinkMailer

    settings = CreateLinkSettings.from_environment(outside().environment)
    mailer = None
    if settings.mail_from != "none":
        mailer = LinkMailer(
            Mailer(settings.mail_from, settings.mail_configuration_set, aws.ses()), settings.mail_policy
        )
    return LinkCreation(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        issue=LinkIssue(LinkTable(settings.link_table_name, aws.dynamodb()), LinkKey(settings.link_key_arn, aws.kms())),
        mailer=mailer,
        policy=settings.mail_policy,
        measure=composition_root.measure,
    )


@once
def link_redemption() -> "LinkRedemption":
    """Build what RedeemLink needs."""
    import secrets

    from giftcards import composition_root
    from giftcards.adapters import aws
    from giftcards.adapters.audit_table import AuditTable
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_key import LinkKey
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.order_table import OrderTable
    from giftcards.settings import RedeemLinkSettings
    from giftcards.use_cases.redeem_link import LinkRedemption
    from giftcards.use_cases.reveal_cards import CardReveal

    settings = RedeemLinkSettings.from_environment(outside().environment)
    return LinkRedemption(
        links=LinkTable(settings.link_table_name, aws.dynamodb()),
        key=LinkKey(settings.link_key_arn, aws.kms()),
        reveal=CardReveal(
            orders=OrderTable(settings.card_table_name, aws.dynamodb()),
            cipher=outside().card_cipher(settings.card_key_arn),
            audit=AuditTable(settings.audit_table_name, aws.dynamodb()),
            measure=composition_root.measure,
        ),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        new_ticket=lambda: secrets.token_hex(16),
        measure=composition_root.measure,
    )


@once
def mail_status_recording() -> "MailStatusRecording":
    """Build what RecordMailStatus needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.mail_table import MailTable
    from giftcards.settings import RecordMailStatusSettings
    from giftcards.use_cases.record_mail_status import MailStatusRecording

    settings = RecordMailStatusSettings.from_environment(outside().environment)
    return MailStatusRecording(
        links=LinkTable(settings.link_table_name, aws.dynamodb()),
        mails=MailTable(settings.link_table_name, aws.dynamodb()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
    )


@once
def link_page() -> "LinkPage":
    """Build what ServePage needs. Its settings are read without pydantic, which alone doubles the cold start."""
    from giftcards.adapters import aws
    from giftcards.adapters.link_table import LinkTable
    from giftcards.use_cases.serve_page import LinkPage

    environment = outside().environment
    return LinkPage(
        links=LinkTable(environment["LINK_TABLE_NAME"], aws.dynamodb()),
        redeem=_function(environment["REDEEM_LINK_FUNCTION_ARN"]),
        shop_name=environment["SHOP_NAME"],
        shop_contact=environment["SHOP_CONTACT"],
        language=environment["PAGE_LANGUAGE"],
    )


@once
def shop_api() -> "ShopApi":
    """Build what ServeShop needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.order_table import OrderTable
    from giftcards.adapters.shop_keys import ShopKeys
    from giftcards.settings import ServeShopSettings
    from giftcards.use_cases.serve_shop import ShopApi

    settings = ServeShopSettings.from_environment(outside().environment)
    return ShopApi(
        keys=ShopKeys(settings.shop_api_key_secret_arn, aws.secrets_manager()),
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        create_link=_function(settings.create_link_function_arn),
    )


def _function(arn: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return what calls a function with a JSON document and returns its answer."""
    from giftcards.adapters import aws

    def call(request: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = aws.lambda_().invoke(FunctionName=arn, Payload=json.dumps(request).encode())
        if "FunctionError" in answer:
            raise RuntimeError("the function failed")
        document: Mapping[str, Any] = json.load(answer["Payload"])
        return document

    return call

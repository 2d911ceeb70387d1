"""What the buyer's functions build once per container: the second composition root.

Everything is imported where it is built. ServePage imports this module on the cold start of a public page, and needs
neither pydantic nor the Encryption SDK.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from giftcards.use_cases.create_link import LinkCreation
    from giftcards.use_cases.record_mail_status import MailStatusRecording
    from giftcards.use_cases.redeem_link import LinkRedemption
    from giftcards.use_cases.send_link import LinkMailing
    from giftcards.use_cases.serve_page import LinkPage
    from giftcards.use_cases.store_recipient import RecipientStorage


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


@cache
def recipient_storage() -> "RecipientStorage":
    """Build what StoreRecipient needs."""
    from datetime import timedelta

    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.recipient_cipher import RecipientCipher
    from giftcards.settings import StoreRecipientSettings
    from giftcards.use_cases.store_recipient import RecipientStorage

    settings = StoreRecipientSettings.from_environment()
    return RecipientStorage(
        links=LinkTable(settings.link_table_name, aws.dynamodb()),
        cipher=RecipientCipher(settings.recipient_key_arn, aws.kms()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        retention=timedelta(days=settings.recipient_days),
    )


@cache
def link_mailing() -> "LinkMailing":
    """Build what SendLink needs."""
    from giftcards import composition_root
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_key import LinkKey
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.mailer import Mailer
    from giftcards.adapters.recipient_cipher import RecipientCipher
    from giftcards.settings import SendLinkSettings
    from giftcards.use_cases.issue_link import LinkIssue
    from giftcards.use_cases.send_link import LinkMailing

    settings = SendLinkSettings.from_environment()
    links = LinkTable(settings.link_table_name, aws.dynamodb())
    return LinkMailing(
        links=links,
        issue=LinkIssue(links, LinkKey(settings.link_key_arn, aws.kms())),
        cipher=RecipientCipher(settings.recipient_key_arn, aws.kms()),
        mailer=Mailer(settings.mail_from, settings.mail_configuration_set, aws.ses()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        policy=settings.mail_policy,
        measure=composition_root.measure,
    )


@cache
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

    settings = CreateLinkSettings.from_environment()
    sends_mail = settings.mail_from != "none"
    return LinkCreation(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        issue=LinkIssue(LinkTable(settings.link_table_name, aws.dynamodb()), LinkKey(settings.link_key_arn, aws.kms())),
        mailer=Mailer(settings.mail_from, settings.mail_configuration_set, aws.ses()) if sends_mail else None,
        policy=settings.mail_policy,
        measure=composition_root.measure,
    )


@cache
def link_redemption() -> "LinkRedemption":
    """Build what RedeemLink needs."""
    import secrets

    from giftcards import composition_root
    from giftcards.adapters import aws
    from giftcards.adapters.audit_table import AuditTable
    from giftcards.adapters.card_cipher import CardCipher
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_table import LinkTable
    from giftcards.adapters.order_table import OrderTable
    from giftcards.settings import RedeemLinkSettings
    from giftcards.use_cases.redeem_link import LinkRedemption
    from giftcards.use_cases.reveal_cards import CardReveal

    settings = RedeemLinkSettings.from_environment()
    return LinkRedemption(
        links=LinkTable(settings.link_table_name, aws.dynamodb()),
        reveal=CardReveal(
            orders=OrderTable(settings.card_table_name, aws.dynamodb()),
            cipher=CardCipher(settings.card_key_arn),
            audit=AuditTable(settings.audit_table_name, aws.dynamodb()),
            measure=composition_root.measure,
        ),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        new_ticket=lambda: secrets.token_hex(16),
        measure=composition_root.measure,
    )


@cache
def mail_status_recording() -> "MailStatusRecording":
    """Build what RecordMailStatus needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.link_table import LinkTable
    from giftcards.settings import RecordMailStatusSettings
    from giftcards.use_cases.record_mail_status import MailStatusRecording

    settings = RecordMailStatusSettings.from_environment()
    return MailStatusRecording(
        LinkTable(settings.link_table_name, aws.dynamodb()), EventBus(settings.order_bus_name, aws.event_bridge())
    )


@cache
def link_page() -> "LinkPage":
    """Build what ServePage needs. Its settings are read without pydantic, which alone doubles the cold start."""
    from giftcards.adapters import aws
    from giftcards.adapters.link_table import LinkTable
    from giftcards.use_cases.serve_page import LinkPage

    function = os.environ["REDEEM_LINK_FUNCTION_ARN"]

    def redeem(request: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = aws.lambda_().invoke(FunctionName=function, Payload=json.dumps(request).encode())
        if "FunctionError" in answer:
            raise RuntimeError("RedeemLink failed")
        redeemed: Mapping[str, Any] = json.load(answer["Payload"])
        return redeemed

    return LinkPage(
        links=LinkTable(os.environ["LINK_TABLE_NAME"], aws.dynamodb()),
        redeem=redeem,
        shop_name=os.environ["SHOP_NAME"],
        shop_contact=os.environ["SHOP_CONTACT"],
        language=os.environ["PAGE_LANGUAGE"],
    )


BUILDERS = (recipient_storage, link_mailing, link_creation, link_redemption, mail_status_recording, link_page)
"""Everything that is built once; tests clear it."""

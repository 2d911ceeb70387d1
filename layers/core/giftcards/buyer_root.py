"""What the buyer's functions build once per container: the second composition root.

Everything is imported where it is built. ServePage imports this module on the cold start of a public page, and needs
neither pydantic nor the Encryption SDK.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from giftcards.outside import now, once, outside

if TYPE_CHECKING:
    from giftcards.use_cases.create_link import LinkCreation
    from giftcards.use_cases.record_mail_status import MailStatusRecording
    from giftcards.use_cases.redeem_link import LinkRedemption
    from giftcards.use_cases.send_link import LinkMailing
    from giftcards.use_cases.serve_page import LinkPage
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
    function = environment["REDEEM_LINK_FUNCTION_ARN"]

    def redeem(request: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = aws.lambda_().invoke(FunctionName=function, Payload=json.dumps(request).encode())
        if "FunctionError" in answer:
            raise RuntimeError("RedeemLink failed")
        redeemed: Mapping[str, Any] = json.load(answer["Payload"])
        return redeemed

    return LinkPage(
        links=LinkTable(environment["LINK_TABLE_NAME"], aws.dynamodb()),
        redeem=redeem,
        shop_name=environment["SHOP_NAME"],
        shop_contact=environment["SHOP_CONTACT"],
        language=environment["PAGE_LANGUAGE"],
    )

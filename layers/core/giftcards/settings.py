"""Settings of each function, read from environment variables once per container."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from giftcards.rules.languages import Language
from giftcards.rules.next_step import PollPolicy
from giftcards.rules.schedule import PollSchedule

if TYPE_CHECKING:
    from giftcards.rules.mails import MailPolicy

NonEmpty = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """Settings of every function. A variable is the field's name in capitals."""

    model_config = ConfigDict(
        defer_build=True,
        alias_generator=str.upper,
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,  # the input is the whole environment with its credentials
    )

    stage_name: NonEmpty

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment; raise a ValidationError for a missing or invalid variable."""
        return cls.model_validate(dict(os.environ if environment is None else environment))


class SupplierSettings(Settings):
    """Settings of functions that call the supplier."""

    supplier_base_url: Annotated[str, Field(pattern=r"^https?://")]
    supplier_api_key_secret_arn: NonEmpty
    gate_table_name: NonEmpty


class CheckStatusSettings(SupplierSettings):
    """Settings of CheckStatus."""

    poll_schedule: Annotated[PollSchedule, BeforeValidator(PollSchedule.parse)]
    delayed_after_seconds: Annotated[int, Field(ge=1)]

    @property
    def policy(self) -> PollPolicy:
        """Poll schedule and delay notice."""
        return PollPolicy(self.poll_schedule, self.delayed_after_seconds)


class CountEventsSettings(Settings):
    """Settings of CountEvents."""


class DeliverCardsSettings(CheckStatusSettings):
    """Settings of DeliverCards."""

    card_table_name: NonEmpty
    card_key_arn: NonEmpty
    order_bus_name: NonEmpty
    card_retention_days: Annotated[int, Field(ge=0)]

    @property
    def card_retention(self) -> timedelta | None:
        """None keeps the cards."""
        return timedelta(days=self.card_retention_days) if self.card_retention_days else None


class MeasureOrdersSettings(Settings):
    """Settings of MeasureOrders."""

    supplier_api_key_secret_arn: NonEmpty
    gate_table_name: NonEmpty
    card_table_name: NonEmpty


class SweepOrdersSettings(Settings):
    """Settings of SweepOrders."""

    card_table_name: NonEmpty
    order_bus_name: NonEmpty


class ReconcileOrdersSettings(SupplierSettings):
    """Settings of ReconcileOrders."""

    card_table_name: NonEmpty
    difference_table_name: NonEmpty
    order_bus_name: NonEmpty


class RevealCardsSettings(Settings):
    """Settings of RevealCards."""

    card_table_name: NonEmpty
    audit_table_name: NonEmpty
    card_key_arn: NonEmpty


class LinkSettings(Settings):
    """What every function reads that issues or mails links."""

    link_table_name: NonEmpty
    link_key_arn: NonEmpty
    page_url: NonEmpty
    page_language: Language
    shop_name: NonEmpty
    shop_contact: NonEmpty
    link_days: Annotated[int, Field(ge=1, le=365)]
    link_uses: Annotated[int, Field(ge=1, le=100)]
    mail_from: NonEmpty
    mail_configuration_set: str = ""
    recipient_days: Annotated[int, Field(ge=1)] = 30
    card_retention_days: Annotated[int, Field(ge=0)] = 0
    aws_endpoint_url: str = ""

    @property
    def mail_policy(self) -> "MailPolicy":
        """What mails and links are like. On the local cloud, the page has the cloud's own address."""
        from giftcards.rules.mails import MailPolicy  # noqa: PLC0415 - only the buyer's functions need it

        is_local = self.page_url.startswith("/")
        return MailPolicy(
            page_url=f"{self.aws_endpoint_url}{self.page_url}" if is_local else self.page_url,
            shop_name=self.shop_name,
            shop_contact=self.shop_contact,
            language=self.page_language,
            link_days=self.link_days,
            link_uses=self.link_uses,
            recipient_retention=timedelta(days=self.recipient_days),
            card_retention=timedelta(days=self.card_retention_days) if self.card_retention_days else None,
        )


class CreateLinkSettings(LinkSettings):
    """What CreateLink reads."""

    card_table_name: NonEmpty


class SendLinkSettings(LinkSettings):
    """What SendLink reads."""

    recipient_key_arn: NonEmpty
    order_bus_name: NonEmpty


class ServeShopSettings(Settings):
    """What ServeShop reads."""

    shop_api_key_secret_arn: NonEmpty
    card_table_name: NonEmpty
    order_bus_name: NonEmpty
    create_link_function_arn: NonEmpty


class StoreRecipientSettings(Settings):
    """What StoreRecipient reads."""

    link_table_name: NonEmpty
    recipient_key_arn: NonEmpty
    order_bus_name: NonEmpty
    recipient_days: Annotated[int, Field(ge=1)]


class RedeemLinkSettings(RevealCardsSettings):
    """What RedeemLink reads."""

    link_table_name: NonEmpty
    link_key_arn: NonEmpty
    order_bus_name: NonEmpty


class RecordMailStatusSettings(Settings):
    """What RecordMailStatus reads."""

    link_table_name: NonEmpty
    order_bus_name: NonEmpty

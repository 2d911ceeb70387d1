"""The buyer's side on moto's cloud: tables, keys, SES and the use cases, wired as buyer_root wires them."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import rows
from giftcards.adapters import aws
from giftcards.adapters.audit_table import AuditTable
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.link_key import LinkKey
from giftcards.adapters.link_table import LinkTable
from giftcards.adapters.mail_table import MailTable
from giftcards.adapters.mailer import LINK_TAG, Mailer
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.recipient_cipher import RecipientCipher
from giftcards.contracts.events import CardsDelivered
from giftcards.contracts.links import LinkRequest, RecipientSet, RedeemRequest, SesEvent
from giftcards.metrics import Metric
from giftcards.rules.links import hash_of, token_in
from giftcards.rules.mails import MailPolicy
from giftcards.rules.orders import Order
from giftcards.use_cases.create_link import LinkAnswer, LinkCreation
from giftcards.use_cases.issue_link import LinkIssue
from giftcards.use_cases.mail_link import LinkMailer
from giftcards.use_cases.record_mail_status import MailStatus, MailStatusRecording
from giftcards.use_cases.redeem_link import LinkRedemption, Redeemed
from giftcards.use_cases.reveal_cards import CardReveal
from giftcards.use_cases.send_link import LinkMailing, MailResult
from giftcards.use_cases.serve_page import LinkPage, PageAnswer, PageRequest
from giftcards.use_cases.store_recipient import RecipientOutcome, RecipientStorage
from support.cloud import Cloud, card_cipher, kms_client
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import MARK, cards

PAGE_URL = "https://cards.shop.example"
ADDRESS = f"alice.{MARK}@mail.example"
CODE = "4711"
POLICY = MailPolicy(
    page_url=PAGE_URL,
    shop_name="Dzair Games",
    shop_contact="help@shop.example",
    language="fr",
    link_days=30,
    link_uses=10,
    recipient_retention=timedelta(days=30),
    card_retention=None,
)


class Measurements:
    """Collects what is measured."""

    def __init__(self) -> None:
        self.values: dict[Metric, list[float]] = {}

    def __call__(self, metric: Metric, value: float) -> None:
        """Take one value."""
        self.values.setdefault(metric, []).append(value)

    def total(self, metric: Metric) -> float:
        """Sum the values of a metric."""
        return sum(self.values.get(metric, []))


@dataclass
class Buyer:
    """One order's buyer, the shop and the public, against the real adapters."""

    cloud: Cloud
    storage: RecipientStorage
    mailing: LinkMailing
    creation: LinkCreation
    redemption: LinkRedemption
    page: LinkPage
    reports: MailStatusRecording
    links: LinkTable
    mails_stored: MailTable
    measured: Measurements

    # what happens before

    def deliver(self, count: int = 2, *, quantity: int | None = None, **attributes: Any) -> None:
        """Store a delivered order with its cards, as DeliverCards does."""
        row = rows.closed(rows.claimed(), count, quantity=quantity, **attributes)
        ciphertexts = card_cipher(self.cloud.key_arn).encrypt(Order.model_validate(row), cards(count))
        self.cloud.put(self.cloud.card_table, rows.published(row | {"cardRows": list(ciphertexts)}))
        for first, ciphertext in ciphertexts.items():
            self.cloud.put(self.cloud.card_table, rows.cards(ORDER_ID, first, ciphertext))

    # what the shop does

    def name_recipient(self, now: datetime = NOW, **changes: Any) -> RecipientOutcome:
        """Publish RecipientSet."""
        event = {"orderId": ORDER_ID, "userId": USER_ID, "email": ADDRESS} | changes
        return self.storage.store(RecipientSet.model_validate(event), now=now)

    def announce(self, now: datetime = NOW, count: int = 2) -> MailResult:
        """Publish CardsDelivered."""
        event = CardsDelivered(
            order_id=ORDER_ID,
            user_id=USER_ID,
            occurred_at=NOW,
            delivery_id="delivery-1",
            quantity=count,
            fulfilled_quantity=count,
        )
        return self.mailing.deliver(event, now=now)

    def run_schedule(self, now: datetime) -> list[MailResult]:
        """Run the schedule of SendLink."""
        return self.mailing.send_due(lambda: now, may_go_on=lambda: True)

    def create(self, now: datetime = NOW, **changes: Any) -> LinkAnswer:
        """Ask CreateLink for a link."""
        request = {"orderId": ORDER_ID, "userId": USER_ID} | changes
        return self.creation.create(LinkRequest.model_validate(request), now=now)

    def token(self, **changes: Any) -> str:
        """Create a link and return its token."""
        created = self.create(**changes).created
        assert created is not None
        return created.url.rpartition("/")[2]

    def report(self, link_hash: str, bounce: Mapping[str, str] | None, at: datetime) -> MailStatus:
        """Report a bounce, or a complaint, as SES does."""
        detail: dict[str, Any] = {"mail": {"tags": {LINK_TAG: [link_hash]}}}
        if bounce is not None:
            detail["bounce"] = bounce
        name = "Email Complaint Received" if bounce is None else "Email Bounced"
        event = {"source": "aws.ses", "detail-type": name, "time": at.isoformat(), "detail": detail}
        return self.reports.record(SesEvent.model_validate(event))

    # what the buyer or the public does

    def redeem(self, token: str, now: datetime = NOW, **changes: Any) -> Redeemed:
        """Use a link."""
        request = RedeemRequest.model_validate({"token": token} | changes)
        return self.redemption.redeem(request, request_id=next(_REQUEST_IDS), now=now)

    def visit(
        self, method: str, token: str, now: datetime = NOW, *, form: Mapping[str, str] | None = None, language: str = ""
    ) -> PageAnswer:
        """Open the page of a link."""
        request = PageRequest(f"{method} /c/{{token}}", token, language or None, form or {})
        return self.page.serve(request, now=now)

    # what can be looked at

    def mails(self) -> list[EmailMessage]:
        """Give the mails that were sent, the oldest first."""
        return [
            message_from_bytes(params["Content"]["Raw"]["Data"], policy=policy.default)  # type: ignore[misc]
            for params in self.cloud.sent("SendEmail")
        ]

    def mailed_token(self) -> str:
        """Give the token in the last mail."""
        text = self.mails()[-1].get_body(("plain",)).get_content()  # type: ignore[union-attr]
        (url,) = (line for line in text.splitlines() if line.startswith(PAGE_URL))
        found = token_in(url.rpartition("/")[2])
        assert found is not None
        return found

    def link_row(self, token: str) -> dict[str, Any]:
        """Give the stored row of a link."""
        (row,) = (row for row in self.cloud.rows("LinkTable") if row["pk"] == f"LINK#{hash_of(token)}")
        return row

    def published(self) -> list[str]:
        """Name the events that were published."""
        return [detail_type for detail_type, _ in self.cloud.announced()]


_REQUEST_IDS = (f"request-{number}" for number in itertools.count())


def new_buyer(cloud: Cloud) -> Buyer:
    """Wire the buyer's side on a cloud."""
    measured = Measurements()
    hmac_key = kms_client().create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["Arn"]
    recipient_key = cloud.create_key()
    links = LinkTable(cloud.link_table, aws.dynamodb())
    mails = MailTable(cloud.link_table, aws.dynamodb())
    orders = OrderTable(cloud.card_table, aws.dynamodb())
    bus = EventBus(cloud.bus, aws.event_bridge())
    aws.ses().create_email_identity(EmailIdentity="shop.example")
    mailer = LinkMailer(Mailer("cards@shop.example", "links", aws.ses()), POLICY)
    key = LinkKey(hmac_key, kms_client())
    issue = LinkIssue(links, key)
    cipher = RecipientCipher(recipient_key, kms_client())
    reveal = CardReveal(orders, card_cipher(cloud.key_arn), AuditTable(cloud.audit_table, aws.dynamodb()), measured)
    tickets = (f"{number:032x}" for number in itertools.count())
    redemption = LinkRedemption(links, key, reveal, bus, lambda: next(tickets), measured)

    def redeem(request: Mapping[str, Any]) -> Mapping[str, Any]:
        redeemed = redemption.redeem(RedeemRequest.model_validate(request), request_id=next(_REQUEST_IDS), now=NOW)
        return redeemed.to_json()

    cloud.forget()
    return Buyer(
        cloud=cloud,
        storage=RecipientStorage(mails, cipher, bus, POLICY.recipient_retention),
        mailing=LinkMailing(mails, links, issue, cipher, mailer, bus, POLICY, measured),
        creation=LinkCreation(orders, issue, mailer, POLICY, measured),
        redemption=redemption,
        page=LinkPage(links, redeem, POLICY.shop_name, POLICY.shop_contact, POLICY.language),
        reports=MailStatusRecording(links, mails, bus),
        links=links,
        mails_stored=mails,
        measured=measured,
    )

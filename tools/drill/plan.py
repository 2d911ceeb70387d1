"""Which failure shows which alarms and held reasons."""

from collections.abc import Callable
from dataclasses import dataclass

from drill.failures import buyer, deployment, shop, supplier
from drill.scene import Failure, Scene
from giftcards.contracts.events import HeldReason
from support.webhook import WEBHOOK_URL

PARAMETERS = {
    "PollSchedule": "14:1",
    "DelayedAfterSeconds": "6",
    "LogRetentionDays": "1",
    "WebhookUrl": WEBHOOK_URL,
}


@dataclass(frozen=True)
class Drill:
    """A failure, the alarms that it fires, and the reasons for which it holds an order."""

    failure: Callable[[Scene], Failure]
    alarms: tuple[str, ...] = ()
    reasons: tuple[HeldReason, ...] = ()

    @property
    def sections(self) -> list[str]:
        """The alarms and held reasons, which each have a section in the runbook."""
        return [*self.alarms, *self.reasons]


DRILLS = (
    Drill(supplier.limits_calls_for_a_day, ("GateClosedAlarm",)),
    Drill(supplier.answers_503, ("NoDeliveriesAlarm",)),
    Drill(shop.places_an_unknown_order, ("OrdersHeldAlarm",), (HeldReason.ORDER_UNKNOWN,)),
    Drill(supplier.rejects_the_order_id, ("ExecutionsFailedAlarm",), (HeldReason.INVALID_ORDER,)),
    Drill(supplier.sends_an_unknown_status, reasons=(HeldReason.SUPPLIER_CONTRACT_BROKEN,)),
    Drill(supplier.never_settles, reasons=(HeldReason.DEADLINE_PASSED,)),
    Drill(shop.places_an_order_for_two_users, ("OrdersDisputedAlarm",)),
    Drill(supplier.is_slow, ("DeliveryLagAlarm",)),
    Drill(deployment.workflow_uses_another_table, ("DeadLettersAlarm",)),
    Drill(deployment.execution_is_stopped, ("OrdersSweptAlarm",)),
    Drill(supplier.revokes_the_key, ("KeyRefusedAlarm",)),
    Drill(shop.never_places_an_order, ("ReconciliationAlarm",)),
    Drill(supplier.fails_to_list, ("ReconciliationIncompleteAlarm",)),
    Drill(deployment.ciphertext_is_changed, ("CardsUnreadableAlarm",)),
    Drill(deployment.order_row_is_unreadable, ("FailedSchedulesAlarm",)),
    Drill(deployment.check_status_has_no_permissions, ("FunctionErrorsAlarm",), (HeldReason.UNEXPECTED_ERROR,)),
    Drill(deployment.reveal_cards_is_throttled, ("FunctionThrottlesAlarm",)),
    Drill(shop.sends_an_invalid_address, ("MailsFailingAlarm",)),
    Drill(buyer.mail_waits_for_an_hour, ("MailsDueAlarm",)),
    Drill(buyer.access_code_is_guessed, ("WrongCodesAlarm",)),
    Drill(buyer.replaced_link_is_used, ("ViewsRefusedAlarm",)),
    Drill(shop.refuses_the_webhook, ("WebhookDeadLettersAlarm",)),
    Drill(shop.calls_while_the_bus_denies_it, ("ShopCallsFailedAlarm",)),
    Drill(shop.calls_with_an_old_key, ("ShopKeyRefusedAlarm",)),
    Drill(buyer.create_link_has_no_permissions, ("BuyerFunctionErrorsAlarm",)),
    Drill(buyer.create_link_is_throttled, ("BuyerFunctionThrottlesAlarm",)),
    Drill(deployment.nothing_is_measured, ("MeasurementsMissingAlarm",)),
)
"""In their order. The last one needs a minute without measurements; the schedule is switched off before the first."""

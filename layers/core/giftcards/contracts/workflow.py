"""What the state machine passes to its functions and gets back: ids, counts and enums, never a card."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, Field, ValidationError, computed_field, model_validator

from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.supplier_failure import FailureKind

Level = Literal["INFO", "WARNING", "ERROR"]
"""Log level: INFO for a step that is done, WARNING for a failure that needs nobody, ERROR where a person must act."""


class NextStep(StrEnum):
    """What the workflow does after a step. Its Route state reads this and nothing else."""

    WAIT = "WAIT"
    DELIVER = "DELIVER"
    HOLD = "HOLD"
    DONE = "DONE"


class Outcome(StrEnum):
    """All planned outcomes of a step."""

    SETTLED = "SETTLED"
    """The supplier has settled the order."""
    CLOSED = "CLOSED"
    """The order is delivered or refunded, and its event is published."""

    PENDING = "PENDING"
    SUPPLIER_BUSY = "SUPPLIER_BUSY"
    KEY_REFUSED = "KEY_REFUSED"
    GATE_CLOSED = "GATE_CLOSED"

    DEADLINE_PASSED = "DEADLINE_PASSED"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    SUPPLIER_CONTRACT_BROKEN = "SUPPLIER_CONTRACT_BROKEN"
    INVALID_ORDER = "INVALID_ORDER"
    """The last four hold the order; each is the held reason of the same name."""

    @property
    def next(self) -> NextStep:
        """What the workflow does next."""
        match self:
            case Outcome.SETTLED:
                return NextStep.DELIVER
            case Outcome.CLOSED:
                return NextStep.DONE
            case Outcome.PENDING | Outcome.SUPPLIER_BUSY | Outcome.KEY_REFUSED | Outcome.GATE_CLOSED:
                return NextStep.WAIT
            case _:
                return NextStep.HOLD

    @property
    def level(self) -> Level:
        """Level of the step's log line."""
        match self:
            case Outcome.SETTLED | Outcome.CLOSED | Outcome.PENDING | Outcome.GATE_CLOSED:
                return "INFO"
            case Outcome.SUPPLIER_BUSY:
                return "WARNING"
            case _:
                return "ERROR"


class Doubt(Contract):
    """Consecutive answers that contradict the supplier's documentation, or that refuse or do not know the order."""

    kind: FailureKind = Field(description="Kind of the last of these answers")
    since: AwareDatetime = Field(description="Time of the first of them")
    count: int = Field(ge=1)
    at_delivery: bool = Field(default=False, description="Whether DeliverCards received one of them")


class AcceptedArrival(Contract):
    """Consecutive answers that say the same, with as many cards as an operator has accepted."""

    cards: int = Field(ge=0)
    arrived: int | None = Field(default=None, ge=0, description="Number of cards, the undeliverable ones included")
    status: OrderStatus | None = None
    quantity: int | None = None
    fulfilled_quantity: int | None = None
    since: AwareDatetime = Field(description="Time of the first of these answers")
    count: int = Field(ge=0)


class RetryState(Contract):
    """What a step needs to know about the steps before it.

    The workflow hands it back as it is, with one exception: WaitForAws, which runs when a function did not, counts a
    failure in it.
    """

    failures: int = Field(default=0, ge=0, description="Consecutive checks without an answer about the order")
    queued: int = Field(default=0, ge=0, description="Consecutive steps that found no slot for a call")
    unanswered_since: AwareDatetime | None = Field(
        default=None, description="Time of the first of these checks and steps"
    )
    unanswered_seconds: int = Field(default=0, ge=0, description="Duration of all earlier rows of such checks")
    doubt: Doubt | None = None
    accepted: AcceptedArrival | None = None


COUNTS_OF_PREVIOUS_RELEASE = ("failures", "unansweredSince", "unansweredSeconds")
"""An execution of the previous release sends these beside ``retryState``, and expects them there."""


def _readable(state: Any) -> dict[str, Any]:
    try:
        return RetryState.model_validate(state).model_dump(mode="json", by_alias=True)
    except ValidationError:  # written by a later release, before a rollback
        return {}


class StepRequest(Contract):
    """Input of CheckStatus and DeliverCards.

    A running execution keeps the workflow that it started with, so fields that the previous release does not send
    have defaults.
    """

    order_id: Identifier
    user_id: Identifier
    execution: Identifier | None = Field(default=None, description="Name of the execution")
    claimed_at: AwareDatetime = Field(description="The order's age counts from here; resuming an order resets it")
    checks: int = Field(ge=0, description="Checks that this execution has made")
    delay_announced: bool = Field(description="Whether OrderDelayed is published")
    retry_state: RetryState = Field(default_factory=RetryState, description="From the last step's result")

    @model_validator(mode="before")
    @classmethod
    def _read_counts_of_the_previous_release(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "retry_state" in data:
            return data
        counts = {name: data[name] for name in COUNTS_OF_PREVIOUS_RELEASE if name in data}
        return {**data, "retryState": _readable(data.get("retryState", {})) | counts}


class StepResult(Contract):
    """Result of CheckStatus and DeliverCards."""

    outcome: Outcome
    message: str = Field(description="One sentence for a person; never text from the supplier's answer")
    age_seconds: int = Field(ge=0)
    wait_seconds: int = Field(ge=1, le=99_999_999, description="Time to the next check, if the next step is WAIT")
    announce_delay: bool = Field(description="Whether OrderDelayed is due now")
    retry_delivery: bool = Field(
        default=False, description="Whether DeliverCards runs again after the wait, because the order is settled"
    )
    retry_state: RetryState
    is_irregular: bool = Field(
        default=False, exclude=True, description="Whether an operator should look at the order although it is closed"
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def next(self) -> NextStep:
        """What the workflow does next."""
        return self.outcome.next

    @computed_field  # type: ignore[prop-decorator]
    @property
    def failures(self) -> int:
        """For executions of the previous release."""
        return self.retry_state.failures

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unanswered_since(self) -> datetime | None:
        """For executions of the previous release."""
        return self.retry_state.unanswered_since

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unanswered_seconds(self) -> int:
        """For executions of the previous release."""
        return self.retry_state.unanswered_seconds

    @property
    def level(self) -> Level:
        """Level of the step's log line."""
        return "WARNING" if self.is_irregular else self.outcome.level

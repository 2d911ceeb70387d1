"""What the state machine passes to its functions and gets back: ids, counts and enums, never a card."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationError

from giftcards.contracts.events import Contract, Identifier
from giftcards.rules.supplier_failure import FailureKind

Level = Literal["INFO", "WARNING", "ERROR"]
"""How loud a line of the log is: a step that was done, trouble that ends by itself, something for a person."""


class Outcome(StrEnum):
    """Everything foreseen that a step can come to. The workflow routes on it, and on nothing else."""

    SETTLED = "SETTLED"
    """The supplier is done with the order: deliver."""
    CLOSED = "CLOSED"
    """The order is delivered or refunded, and announced: done."""

    PENDING = "PENDING"
    SUPPLIER_BUSY = "SUPPLIER_BUSY"
    KEY_REFUSED = "KEY_REFUSED"
    GATE_CLOSED = "GATE_CLOSED"
    """The four above: wait and ask again."""

    DEADLINE_PASSED = "DEADLINE_PASSED"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    SUPPLIER_CONTRACT_BROKEN = "SUPPLIER_CONTRACT_BROKEN"
    INVALID_ORDER = "INVALID_ORDER"
    """The four above: hold for a person; each is the held reason of the same name."""

    @property
    def level(self) -> Level:
        """How loud its line in the log is: INFO for a step that was done, ERROR where a person has to act."""
        match self:
            case Outcome.SETTLED | Outcome.CLOSED | Outcome.PENDING | Outcome.GATE_CLOSED:
                return "INFO"
            case Outcome.SUPPLIER_BUSY:
                return "WARNING"
            case _:
                return "ERROR"


class Doubt(Contract):
    """Answers in a row that contradict the supplier's documents, or that refuse or do not know the order."""

    kind: FailureKind = Field(description="Of the last of them")
    since: AwareDatetime = Field(description="When the first of them came")
    count: int = Field(ge=1)
    at_delivery: bool = Field(default=False, description="Whether DeliverCards has met one of them")


class AcceptedArrival(Contract):
    """Answers in a row with as many cards as a person has accepted."""

    cards: int = Field(ge=0)
    since: AwareDatetime = Field(description="When the first of them came")
    count: int = Field(ge=0)


class RetryState(Contract):
    """What a step has to know of the steps before it. The workflow carries it and does not look inside."""

    doubt: Doubt | None = None
    accepted: AcceptedArrival | None = None


def _empty_if_invalid(value: Any) -> RetryState | None:
    try:
        return None if value is None else RetryState.model_validate(value)
    except ValidationError:  # written by a later version, before a rollback
        return RetryState()


class StepRequest(Contract):
    """What CheckStatus and DeliverCards are called with.

    Executions that are under way when a new version is deployed go on with the workflow as it was: what they do not
    send yet has a default.
    """

    order_id: Identifier
    user_id: Identifier
    execution: Identifier | None = Field(default=None, description="Name of the execution that asks")
    claimed_at: AwareDatetime = Field(description="Age counts from here; taking an order up again sets it anew")
    checks: int = Field(ge=0, description="Checks made by this execution so far")
    failures: int = Field(ge=0, description="Checks in a row that got no answer about the order")
    unanswered_since: AwareDatetime | None = Field(default=None, description="When the first of these was")
    unanswered_seconds: int = Field(default=0, ge=0, description="How long such rows of checks took that are over")
    delay_announced: bool = Field(description="Whether OrderDelayed has gone out")
    retry_state: Annotated[RetryState | None, BeforeValidator(_empty_if_invalid)] = Field(
        default=None, description="As the last step answered it; None from a workflow that does not carry it"
    )


class StepResult(Contract):
    """What CheckStatus and DeliverCards answer."""

    outcome: Outcome
    message: str = Field(description="One sentence for a person; never text from the supplier's answer")
    age_seconds: int = Field(ge=0)
    wait_seconds: int = Field(ge=1, le=99_999_999, description="Before the next check, where the outcome is to wait")
    failures: int = Field(ge=0)
    unanswered_since: AwareDatetime = Field(description="When the first of these was; now, where there are none")
    unanswered_seconds: int = Field(ge=0, description="That of the request, and this row's if the answer ended it")
    announce_delay: bool = Field(description="Whether OrderDelayed is due now")
    retry_state: RetryState = Field(default_factory=RetryState)
    is_irregular: bool = Field(
        default=False, exclude=True, description="Whether it was done in spite of something that a person should see"
    )

    @property
    def level(self) -> Level:
        """How loud its line in the log is."""
        return "WARNING" if self.is_irregular else self.outcome.level

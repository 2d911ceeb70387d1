"""Base model and types of everything that crosses a boundary."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

Identifier = Annotated[str, StringConstraints(strict=True, pattern=r"^[\x21-\x7e]{1,128}$")]
"""An order or user id: 1 to 128 visible ASCII characters."""


def _json_number(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


Number = Annotated[Decimal, PlainSerializer(_json_number, when_used="json")]
"""A number that becomes an integer in JSON if it is whole."""

Money = Annotated[Number, Field(ge=0, allow_inf_nan=False)]
"""An amount in DZD, the supplier's currency. It can be 0 in the sandbox and can have decimals."""


class Contract(BaseModel):
    """Base of everything that crosses a boundary as JSON: camelCase outside, frozen, errors without input.

    A model is built when it is first used: a function imports more of them than it uses, and building all of them was a
    fifth of its cold start.
    """

    model_config = ConfigDict(
        defer_build=True,
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        hide_input_in_errors=True,
        extra="ignore",
    )


def invalid_fields(error: ValidationError) -> tuple[str, ...]:
    """Return the sorted names of the fields that a model rejects, never their values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return tuple(sorted({".".join(map(str, problem["loc"])) for problem in problems if problem["loc"]}))

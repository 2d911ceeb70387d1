"""Base of all models that are sent over HTTP: camelCase names, no unknown fields."""

import json
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class WireModel(BaseModel):
    """An immutable message. Validation errors never quote the input, which can contain a key."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Parse a JSON body.

        Not with ``model_validate_json``: in pydantic 2.13 it silently ignores a field with its snake_case name, which
        ``model_validate`` refuses.

        Raises
        ------
        ValueError
            If the body is not JSON, or (ValidationError) not such a message.
        """
        try:
            document = json.loads(body)
        except ValueError as error:
            raise ValueError(f"the body is not JSON: {error}") from None
        return cls.model_validate(document)


Seconds = Annotated[float, Field(ge=0)]


def iso_time(moment: datetime) -> str:
    """Format a time as the supplier does. Not the service's formatter: the two formats may diverge."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(error: ValidationError) -> str:
    """Return which fields are invalid and why, without their values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in problems)

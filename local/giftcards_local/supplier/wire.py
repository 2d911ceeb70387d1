"""The base of every model that crosses HTTP: camelCase names outside, nothing unknown let in."""

import json
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class WireModel(BaseModel):
    """A strict-shaped, immutable message; errors never quote what was sent, which can be a key."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Read a JSON body.

        Not by `model_validate_json`: as of pydantic 2.13 it drops a field that is sent under its snake_case name
        without a word, where `model_validate` refuses it.

        Raises
        ------
        ValueError
            The body is not JSON, or (as pydantic's ValidationError) not such a message.
        """
        try:
            document = json.loads(body)
        except ValueError as error:
            raise ValueError(f"the body is not JSON: {error}") from None
        return cls.model_validate(document)


Seconds = Annotated[float, Field(ge=0)]


def iso_time(moment: datetime) -> str:
    """Write a moment as the supplier does: UTC, milliseconds, `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(error: ValidationError) -> str:
    """Say which fields are wrong and why, without the values that were sent."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in problems)

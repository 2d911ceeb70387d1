"""Injected faults: their fields, the calls they apply to, and how they change a response."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from giftcards_local.supplier.answers import DOCUMENTED_ERRORS, Answer, error_body
from giftcards_local.supplier.orders import OrderId
from giftcards_local.supplier.wire import Seconds, WireModel

Route = Literal["checkOrder", "list", "placeOrder", "validate"]
# Without line breaks, which would end the header.
HeaderValue = Annotated[str, Field(pattern=r"^[ -~]*$")]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


# RFC 6901; `*` means every item of a list.
JsonPointer = Annotated[str, Field(pattern=r"^(/[^/~]+)+$")]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SlowBody(WireModel):
    """Send the body in chunks of ``chunkBytes``, with a pause after each."""

    chunk_bytes: Annotated[int, Field(ge=1)]
    interval_seconds: Seconds


class Fault(WireModel):
    """One fault; a field that is not set leaves that part of the response unchanged."""

    order_id: OrderId | None = None
    route: Route | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: JsonValue = None
    raw_body: str | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    retry_after: int | float | HeaderValue | None = None
    delay_seconds: Seconds = 0
    slow_body: SlowBody | None = None
    endless_body: bool = False
    drop_connection: Literal["before", "mid-body"] | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    after_calls: Annotated[int, Field(ge=0)] = 0
    merge: dict[str, JsonValue] | None = None
    put: dict[JsonPointer, JsonValue] = Field(default_factory=dict)
    byte_order_mark: bool = False

    @property
    def applies_before_key_check(self) -> bool:
        """Connection faults apply regardless of the key; all others happen after the key check."""
        return self.drop_connection is not None or self.delay_seconds > 0

    @property
    def replaces_answer(self) -> bool:
        """Whether the request is not processed at all, so that a failing ``placeOrder`` places nothing."""
        has_body = "body" in self.model_fields_set or self.raw_body is not None
        return has_body or self.status not in {None, 200}


@dataclass(frozen=True)
class Reply:
    """The bytes of a response, possibly with a fault."""

    status: int
    content: bytes
    headers: dict[str, str]


@dataclass
class _Active:
    fault: Fault
    matching_calls: int = 0
    applied: int = 0


@dataclass
class FaultBoard:
    """The active faults, oldest first."""

    _active: dict[str, _Active] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add(self, fault: Fault) -> str:
        """Activate a fault and return its id."""
        fault_id = f"fault-{next(self._ids)}"
        self._active[fault_id] = _Active(fault)
        return fault_id

    def remove(self, fault_id: str) -> bool:
        """Remove one fault and return whether it existed. A fault that has used up its ``times`` still exists."""
        return self._active.pop(fault_id, None) is not None

    def clear(self) -> None:
        self._active.clear()

    def take(self, route: Route, order_id: str | None, *, key_refused: bool) -> Fault | None:
        """Return the fault for this call: the oldest one that matches and is due.

        Every matching fault counts the call, whether it applies or not. So ``afterCalls`` of several faults counts the
        same calls.
        """
        due = [active for active in self._active.values() if _is_due(active, route, order_id, key_refused)]
        if not due:
            return None
        due[0].applied += 1
        return due[0].fault


def _is_due(active: _Active, route: Route, order_id: str | None, key_refused: bool) -> bool:  # noqa: FBT001
    fault = active.fault
    if fault.route not in {None, route} or fault.order_id not in {None, order_id}:
        return False
    if key_refused and not fault.applies_before_key_check:
        return False
    active.matching_calls += 1
    return active.matching_calls > fault.after_calls and (fault.times is None or active.applied < fault.times)


def plain_reply(answer: Answer) -> Reply:
    """Return the reply without a fault."""
    return Reply(answer.status, _json(answer.document), {"Content-Type": "application/json; charset=utf-8"})


def faulty_reply(fault: Fault, answer: Answer | None) -> Reply:
    """Return the reply with a fault, from the normal answer; None if the fault replaces it."""
    if fault.replaces_answer or answer is None:
        reply = _replacement(fault)
    else:
        reply = plain_reply(_changed(_merged(answer, fault.merge), fault.put))
    headers = {**reply.headers}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    overridden = {name.lower() for name in fault.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in overridden} | fault.headers
    content = _BYTE_ORDER_MARK + reply.content if fault.byte_order_mark else reply.content
    return Reply(reply.status, content, headers)


def merge_patch(target: JsonValue, patch: JsonValue) -> JsonValue:
    """Apply a JSON merge patch (https://www.rfc-editor.org/rfc/rfc7396): null deletes, objects merge."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _merged(answer: Answer, patch: dict[str, JsonValue] | None) -> Answer:
    if patch is None or answer.status != 200:
        return answer
    return Answer(200, {**answer.document, "data": merge_patch(answer.document["data"], patch)})


def put_at(target: JsonValue, steps: Sequence[str], value: JsonValue) -> JsonValue:
    """Set a value, even null, at a path of a document; a missing parent is not created."""
    if not steps:
        return value
    step, *rest = steps
    if isinstance(target, list):
        return [put_at(item, rest, value) if step in {"*", str(index)} else item for index, item in enumerate(target)]
    if isinstance(target, dict) and (step in target or not rest):
        return target | {step: put_at(target.get(step), rest, value)}
    return target


def _changed(answer: Answer, changes: Mapping[str, JsonValue]) -> Answer:
    if answer.status != 200:
        return answer
    data = answer.document["data"]
    for pointer, value in changes.items():
        data = put_at(data, pointer.split("/")[1:], value)
    return Answer(200, {**answer.document, "data": data})


def _replacement(fault: Fault) -> Reply:
    status = fault.status or 200
    text = fault.raw_body if fault.raw_body is not None else fault.body
    if isinstance(text, str):
        # Text instead of JSON comes from proxies, which send HTML.
        return Reply(status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})
    if "body" in fault.model_fields_set:
        return Reply(status, _json(fault.body), {"Content-Type": "application/json; charset=utf-8"})
    if status < 400:
        return Reply(status, b"", {})
    code, message, details = DOCUMENTED_ERRORS.get(status, ("UNDOCUMENTED_ERROR", f"Status {status}", None))
    return plain_reply(Answer(status, error_body(code, message, details)))


def _json(document: JsonValue) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

"""How the simulator misbehaves: what a fault says, which call it strikes, and the answer it makes of a good one."""

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
# What may stand in a header without breaking the response apart.
HeaderValue = Annotated[str, Field(pattern=r"^[ -~]*$")]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


# RFC 6901; `*` stands for every item of a list.
JsonPointer = Annotated[str, Field(pattern=r"^(/[^/~]+)+$")]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SlowBody(WireModel):
    """Send the body in pieces of `chunkBytes`, with a pause after each."""

    chunk_bytes: Annotated[int, Field(ge=1)]
    interval_seconds: Seconds


class Fault(WireModel):
    """One misbehaviour; what is not said stays as it would have been."""

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
    def strikes_before_key_check(self) -> bool:
        """A slow or broken connection is there whatever key comes over it; other faults are the application's."""
        return self.drop_connection is not None or self.delay_seconds > 0

    @property
    def replaces_answer(self) -> bool:
        """Whether the real answer is not even made, so that a failing `placeOrder` places nothing."""
        has_body = "body" in self.model_fields_set or self.raw_body is not None
        return has_body or self.status not in {None, 200}


@dataclass(frozen=True)
class Reply:
    """What goes out: status, bytes and headers."""

    status: int
    content: bytes
    headers: dict[str, str]


@dataclass
class _Active:
    fault: Fault
    seen: int = 0
    struck: int = 0


@dataclass
class FaultBoard:
    """The faults in force, in the order they were added."""

    _active: dict[str, _Active] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add(self, fault: Fault) -> str:
        """Put a fault in force and return its id."""
        fault_id = f"fault-{next(self._ids)}"
        self._active[fault_id] = _Active(fault)
        return fault_id

    def remove(self, fault_id: str) -> bool:
        """Remove one fault; say whether it was there (one that ran out of `times` still is)."""
        return self._active.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Remove every fault."""
        self._active.clear()

    def take(self, route: Route, order_id: str | None, *, key_refused: bool) -> Fault | None:
        """Find the fault that strikes this call: the earliest added that matches and is due.

        Each matching fault counts the call as seen, struck by it or not, so that `afterCalls` of several faults
        counts the same calls.
        """
        due = [active for active in self._active.values() if _counts(active, route, order_id, key_refused)]
        if not due:
            return None
        due[0].struck += 1
        return due[0].fault


def _counts(active: _Active, route: Route, order_id: str | None, key_refused: bool) -> bool:  # noqa: FBT001
    fault = active.fault
    if fault.route not in {None, route} or fault.order_id not in {None, order_id}:
        return False
    if key_refused and not fault.strikes_before_key_check:
        return False
    active.seen += 1
    return active.seen > fault.after_calls and (fault.times is None or active.struck < fault.times)


def plain_reply(answer: Answer) -> Reply:
    """Send an answer as it is."""
    return Reply(answer.status, _json(answer.document), {"Content-Type": "application/json; charset=utf-8"})


def faulty_reply(fault: Fault, answer: Answer | None) -> Reply:
    """Make the reply that a fault asks for out of the normal answer (None where the fault replaces it)."""
    if fault.replaces_answer or answer is None:
        reply = _replacement(fault)
    else:
        reply = plain_reply(_changed(_merged(answer, fault.merge), fault.put))
    headers = {**reply.headers}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    own = {name.lower() for name in fault.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in own} | fault.headers
    content = _BYTE_ORDER_MARK + reply.content if fault.byte_order_mark else reply.content
    return Reply(reply.status, content, headers)


def merge_patch(target: JsonValue, patch: JsonValue) -> JsonValue:
    """Apply a JSON merge patch (RFC 7396): objects merge, null deletes, anything else replaces."""
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
    """Put a value, which null is too, at a place in a document; a place that is not there stays away."""
    if not steps:
        return value
    step, *rest = steps
    if isinstance(target, list):
        return [put_at(item, rest, value) if step in {"*", str(place)} else item for place, item in enumerate(target)]
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
        # Text in place of JSON is what a proxy sends, and proxies send HTML.
        return Reply(status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})
    if "body" in fault.model_fields_set:
        return Reply(status, _json(fault.body), {"Content-Type": "application/json; charset=utf-8"})
    if status < 400:
        return Reply(status, b"", {})
    code, message, details = DOCUMENTED_ERRORS.get(status, ("UNDOCUMENTED_ERROR", f"Status {status}", None))
    return plain_reply(Answer(status, error_body(code, message, details)))


def _json(document: JsonValue) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

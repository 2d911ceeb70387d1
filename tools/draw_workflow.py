"""Draw docs/workflow.svg from the state machine's definition.

Graphviz does the layout. Labels and colours are defined here; a condition without a label is an error.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DEFINITION = ROOT / "statemachine/fulfil_order.asl.json"
PICTURE = ROOT / "docs/workflow.svg"

LABELS = {  # label of a condition, or of an error that a state catches
    "$next = 'DELIVER' and $answeredBy = 'CheckStatus'": "settled",
    "$next = 'DONE' and $answeredBy = 'DeliverCards'": "closed",
    "$next = 'WAIT'": "wait",
    "$next = 'WAIT' and $announceDelay": "delay due",
    "$next = 'WAIT' and $settled": "wait, settled",
    "$next = 'HOLD'": "hold",
    "$claim = 'TO_RESUME'": "held, or\nnobody has it",
    "$claim = 'TO_PUBLISH'": "closed,\nnot published",
    "$claim = 'ANOTHER_USERS'": "another\nuser's",
    "$claim in ['IN_PROGRESS', 'DONE']": "in progress,\nor done",
    "ClaimOrder: DynamoDB.ConditionalCheckFailedException": "claimed before",
    "ResumeOrder: DynamoDB.ConditionalCheckFailedException": "another has it",
    "RepublishOrder: DynamoDB.ConditionalCheckFailedException": "another has it",
    "CheckStatus: Lambda.TooManyRequestsException": "AWS fails",
    "DeliverCards: Lambda.TooManyRequestsException": "AWS fails",
    "HoldOrder: DynamoDB.ConditionalCheckFailedException": "closed, or\nanother has it",
}
KINDS = {  # by service or type of state: border, fill, second line
    "lambda": ("#c2570c", "#fff0e1", "Lambda function"),
    "dynamodb": ("#2f5dc8", "#e8f0fe", "DynamoDB {action}"),
    "events": ("#b4236f", "#fce8f3", "event {event}"),
    "sqs": ("#6639a6", "#efe9fb", "SQS {action}"),
    "Choice": ("#946c00", "#fff9db", ""),
    "Wait": ("#6e7781", "#f3f4f6", "Wait"),
    "Pass": ("#6e7781", "#f3f4f6", "Pass"),
    "Succeed": ("#1a7f37", "#e6f6ea", "Succeed"),
    "Fail": ("#c62828", "#fdeaea", "Fail"),
}
MAIN, ALWAYS, CAUGHT = (
    'color="#1f2328" penwidth=2 weight=20',
    "weight=3",
    "style=dashed",
)  # weight: how straight
HEAD = """digraph "The workflow" {
graph [nodesep=0.15 ranksep=0.22 pad=0.15 bgcolor=white]
node [shape=box style="filled,rounded" fixedsize=true width=1.62 height=0.43 fontname=Helvetica fontsize=9]
edge [color="#57606a" arrowsize=0.7 fontname=Helvetica fontsize=10]
start [shape=point width=0.1]
"""
STYLE = """<style>
text { font-family: -apple-system, BlinkMacSystemFont, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.node text { font-size: 10.5px; font-weight: 600; transform: translateY(0.7px) }
.node text + text { font-size: 9.4px; font-weight: 400; fill: #57606a }
</style>
"""


class Transition(NamedTuple):
    """A transition between two states, its label, and whether it catches an error."""

    source: str
    target: str
    words: str = ""
    caught: bool = False


def transitions(states: Mapping[str, Any]) -> list[Transition]:
    """Return all transitions except those on unexpected errors. Raise LookupError if a label is missing."""
    drawn: dict[tuple[str, str], Transition] = {}
    for way in chain.from_iterable(_ways(name, state) for name, state in states.items()):
        drawn.setdefault((way.source, way.target), way)  # one for each pair of states
    return list(drawn.values())


def _label_of(key: str) -> str:
    if key.startswith("( $isId :="):  # the text of a long condition would have to be repeated here
        return "ids valid"
    if key not in LABELS:
        raise LookupError(f"tools/draw_workflow.py: add a label to LABELS for {key}")
    return LABELS[key]


def _ways(name: str, state: Mapping[str, Any]) -> Iterator[Transition]:
    if "Next" in state:
        yield Transition(name, state["Next"])
    for choice in state.get("Choices", []):
        yield Transition(name, choice["Next"], _label_of(choice["Condition"][2:-2].strip()))
    if "Default" in state:
        yield Transition(name, state["Default"], "otherwise")
    for catch in state.get("Catch", []):
        if catch["ErrorEquals"] != ["States.ALL"]:
            yield Transition(name, catch["Next"], _label_of(f"{name}: {catch['ErrorEquals'][0]}"), caught=True)


def describe(machine: Mapping[str, Any]) -> str:
    """Return a state machine in the DOT language."""
    states = machine["States"]
    ways = transitions(states)
    main = ["start", machine["StartAt"]]  # then each state's first transition, to the end
    while (target := next((way.target for way in ways if way.source == main[-1]), main[0])) not in main:
        main.append(target)
    lines = [_box(name, state) for name, state in states.items()]
    for way in [Transition("start", machine["StartAt"], "event OrderPlaced"), *ways]:
        look = CAUGHT if way.caught else "" if way.words else ALWAYS
        look = MAIN if way[:2] in pairwise(main) else look
        lines.append(f"{way.source} -> {way.target} [{look} {_label(way.words)}]")
    return HEAD + "\n".join(lines) + "\n}\n"


def _box(name: str, state: Mapping[str, Any]) -> str:
    service, _, action = state.get("Resource", "").removeprefix("arn:${Partition}:states:::").partition(":")
    border, fill, does = KINDS[service or state["Type"]]
    event = state["Arguments"]["Entries"][0]["DetailType"] if service == "events" else ""
    words = "\\n".join(filter(None, [name, does.format(action=action[:1].upper() + action[1:], event=event)]))
    shape = " shape=hexagon style=filled height=0.38" if state["Type"] == "Choice" else ""
    return f'{name} [label="{words}" color="{border}" fillcolor="{fill}"{shape}]'


def _label(words: str) -> str:
    """Return a label of fixed size, so that the layout does not depend on installed fonts."""
    if not words:
        return ""
    lines = words.split("\n")
    size = f'width="{6 * max(map(len, lines)) + 10}" height="{12 * len(lines) + 2}"'
    cell = f'<td align="left" balign="left">{"".join(f"&nbsp;&nbsp;{line}<br/>" for line in lines)}</td>'
    return f'label=<<table border="0" cellpadding="0" cellspacing="0" fixedsize="true" {size}><tr>{cell}</tr></table>>'


def stamp(description: str) -> str:
    """Return a comment with the hash of the description and style."""
    return f"<!-- drawn from {hashlib.sha256((description + STYLE).encode()).hexdigest()} -->"


if __name__ == "__main__":
    from pygraphviz import AGraph  # from requirements/docs.txt; only drawing needs it

    description = describe(json.loads(DEFINITION.read_text()))
    svg = AGraph(string=description).draw(format="svg", prog="dot").decode()
    PICTURE.write_text(svg.replace("<g id=", f"{stamp(description)}\n{STYLE}<g id=", 1))

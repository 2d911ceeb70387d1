"""Draw docs/workflow.svg from the state machine's definition, so that the picture cannot drift from what runs.

The layout is computed: the longest way from start to success is a straight line down, what leads back up lies to
its left, what leads off lies to its right. Only the words for conditions are written here; a condition without
words stops the drawing.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEFINITION = ROOT / "statemachine/fulfil_order.asl.json"
PICTURE = ROOT / "docs/workflow.svg"

Point = tuple[float, float]

# ---------------------------------------------------------------- words

OUTCOMES = {
    "wait": ("PENDING", "SUPPLIER_BUSY", "KEY_REFUSED", "GATE_CLOSED"),
    "hold": ("DEADLINE_PASSED", "ORDER_UNKNOWN", "SUPPLIER_CONTRACT_BROKEN", "INVALID_ORDER"),
}
CONDITIONS = {
    "$orderId != '' and $userId != ''": "ids valid",
    **{f"$outcome in {list(outcomes)}": word for word, outcomes in OUTCOMES.items()},
    f"$outcome in {list(OUTCOMES['wait'])} and $announceDelay": "delay due",
    "$claim = 'TO_TAKE_UP'": "held, or nobody has it",
    "$claim = 'TO_ANNOUNCE'": "closed, not announced",
    "$claim = 'ANOTHER_USERS'": "another user's",
    "$claim in ['IN_HAND', 'DONE']": "in hand, or done",
}
CAUGHT = {
    ("ClaimOrder", "DynamoDB.ConditionalCheckFailedException"): "claimed before",
    ("ResumeOrder", "DynamoDB.ConditionalCheckFailedException"): "another has it",
    ("ReannounceOrder", "DynamoDB.ConditionalCheckFailedException"): "another has it",
    ("HoldOrder", "DynamoDB.ConditionalCheckFailedException"): "closed, or another has it",
}
ANY_ERROR = "States.ALL"
OTHERWISE = "otherwise"


def words_for(condition: str) -> str:
    """Return a short label for a JSONata condition.

    Raises
    ------
    LookupError
        If there are no words for it.
    """
    expression = condition.removeprefix("{%").removesuffix("%}").strip()
    if outcome := re.fullmatch(r"\$outcome = '(\w+)'", expression):
        return outcome[1]
    if expression not in CONDITIONS:
        raise LookupError(f"docs/draw_workflow.py: add words to CONDITIONS for {expression}")
    return CONDITIONS[expression]


# ---------------------------------------------------------------- graph


@dataclass(frozen=True)
class Edge:
    """A transition.

    Attributes
    ----------
    source, target
        Names of states.
    label
        When it is taken; empty where it always is.
    branches
        Whether the source has other ways to go that are not errors.
    caught
        Whether it is taken on an error.
    """

    source: str
    target: str
    label: str = ""
    branches: bool = False
    caught: bool = False


def edges_of(states: Mapping[str, Any]) -> list[Edge]:
    """Return the transitions, one for each pair of states, in the order of the definition.

    An error that leads where success leads too is not drawn: the flow is the same.
    """
    edges: dict[tuple[str, str], Edge] = {}
    for name, state in states.items():
        for edge in _transitions(name, state):
            edges.setdefault((edge.source, edge.target), edge)
    return list(edges.values())


def _transitions(name: str, state: Mapping[str, Any]) -> Iterator[Edge]:
    if "Next" in state:
        yield Edge(name, state["Next"])
    for choice in state.get("Choices", []):
        yield Edge(name, choice["Next"], words_for(choice["Condition"]), branches=True)
    if "Default" in state:
        yield Edge(name, state["Default"], OTHERWISE, branches=True)
    for catch in state.get("Catch", []):
        errors = [error for error in catch["ErrorEquals"] if error != ANY_ERROR]
        label = ", ".join(CAUGHT.get((name, error), error.partition(".")[2]) for error in errors)
        yield Edge(name, catch["Next"], label, caught=True)


# ---------------------------------------------------------------- layout

WIDTH, HEIGHT = 156, 46
COLUMN, ROW = WIDTH + 98, HEIGHT + 38
MARGIN, TOP = 46, 70
TRACK = 22  # between a column and a line that passes it
RADIUS = 18


@dataclass(frozen=True)
class Layout:
    """Where the states are, in columns and rows, and how the transitions run between them.

    Attributes
    ----------
    machine
        The definition.
    """

    machine: Mapping[str, Any]

    @property
    def states(self) -> Mapping[str, Any]:
        """The states by name."""
        return self.machine["States"]

    @cached_property
    def edges(self) -> list[Edge]:
        """The transitions."""
        return edges_of(self.states)

    @cached_property
    def spine(self) -> list[str]:
        """The longest way from the start to a success that takes no error and passes nothing twice."""
        following = {name: [e.target for e in self.edges if e.source == name and not e.caught] for name in self.states}

        def ways(way: list[str]) -> Iterator[list[str]]:
            if self.states[way[-1]]["Type"] == "Succeed":
                yield way
            for target in following[way[-1]]:
                if target not in way:
                    yield from ways([*way, target])

        return max(ways([self.machine["StartAt"]]), key=len)

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """Column and row of every state; the spine is column 0, rows count down from 0."""
        places = {name: (0, row) for row, name in enumerate(self.spine)}
        # Ways off that several states share come first, at the bottom: they are where errors end.
        heads = [edge for edge in self.edges if edge.branches or edge.caught]
        heads.sort(key=lambda edge: len(self._sources(edge.target)) == 1)
        for edge in heads:
            if edge.target in places or edge.source not in places:
                continue
            column, row = places[edge.source]
            way = self._way_from(edge.target, places)
            end = self.states[way[-1]].get("Next")
            if end in self.spine and places[end][1] <= row:
                self._put(places, way, -1, row, step=-1)
            elif len(self._sources(edge.target)) > 1:
                # One beside the spine and the rest beside that one, down to the spine's end.
                row = len(self.spine) - len(way) + 1
                self._put(places, way[:1], 1, row, step=1)
                self._put(places, way[1:], 2, row, step=1)
            else:
                # Beside its source, and from there on down, so that the picture stays narrow.
                self._put(places, way, min(column + 1, 2), row + (column > 0), step=1)
        missing = set(self.states) - set(places)
        if missing:
            raise LookupError(f"docs/draw_workflow.py finds no place for {sorted(missing)}")
        return places

    def _sources(self, name: str) -> set[str]:
        return {edge.source for edge in self.edges if edge.target == name}

    def _way_from(self, name: str, places: Mapping[str, Any]) -> list[str]:
        way = [name]
        while (following := self.states[way[-1]].get("Next")) and following not in places and following not in way:
            way.append(following)
        return way

    @staticmethod
    def _put(places: dict[str, tuple[int, int]], way: list[str], column: int, row: int, *, step: int) -> None:
        outward = 1 if column > 0 else -1
        cells = [(column, row + step * index) for index in range(len(way))]
        while set(cells) & set(places.values()):
            cells = [(c + outward, r) for c, r in cells]
        places.update(zip(way, cells, strict=True))

    @cached_property
    def first_column(self) -> int:
        """The leftmost column."""
        return min(column for column, _ in self.places.values())

    @cached_property
    def last_column(self) -> int:
        """The rightmost column."""
        return max(column for column, _ in self.places.values())

    def x(self, column: float) -> float:
        """Return the middle of a column."""
        return MARGIN + WIDTH / 2 + (column - self.first_column) * COLUMN

    def y(self, row: float) -> float:
        """Return the middle of a row."""
        return TOP + HEIGHT / 2 + row * ROW

    def centre(self, name: str) -> Point:
        """Return the middle of a state."""
        column, row = self.places[name]
        return self.x(column), self.y(row)

    def _free(self, column: int, rows: Iterable[int]) -> bool:
        return not {(column, row) for row in rows} & set(self.places.values())

    def route(self, edge: Edge) -> list[Point]:
        """Return the corners of a transition's line, from the edge of its source to the edge of its target."""
        (from_column, from_row), (to_column, to_row) = self.places[edge.source], self.places[edge.target]
        (x, y), (to_x, to_y) = self.centre(edge.source), self.centre(edge.target)
        if (from_column, abs(to_row - from_row)) == (to_column, 1) and (to_row > from_row or from_column < 0):
            down = 1 if to_row > from_row else -1
            return [(x, y + down * HEIGHT / 2), (x, to_y - down * HEIGHT / 2)]
        if from_row == to_row and abs(to_column - from_column) == 1:
            right = 1 if to_column > from_column else -1
            return [(x + right * WIDTH / 2, y), (to_x - right * WIDTH / 2, y)]
        if to_row < from_row and to_column == 0 and from_column <= 0:
            return self._back(edge)
        if to_column == 0:
            # Back to the spine from the right, lower down: down, then in from the side.
            entry = (to_x + WIDTH / 2, to_y)
            if self._free(from_column, range(from_row + 1, to_row + 1)):
                return [(x - 20, y + HEIGHT / 2), (x - 20, to_y), entry]
            start, track = y + HEIGHT / 4, x - WIDTH / 2 - TRACK - 6
            return [(x - WIDTH / 2, start), (track, start), (track, to_y), entry]
        return self._off(edge)

    def _back(self, edge: Edge) -> list[Point]:
        """Route a line up the left side and into the left of its target."""
        (column, row), (_, to_row) = self.places[edge.source], self.places[edge.target]
        (x, y), (to_x, to_y) = self.centre(edge.source), self.centre(edge.target)
        entry = (to_x - WIDTH / 2, to_y)
        if column < 0 and not edge.caught and self._free(column, range(to_row, row)):
            return [(x, y - HEIGHT / 2), (x, to_y), entry]
        if column < 0:
            track = x - WIDTH / 2 - TRACK / 2
        elif self._free(-1, range(to_row, row)) or not self._free(-1, [row]):
            track = x - WIDTH / 2 - TRACK - 6
        else:
            track = self.x(self.first_column) - WIDTH / 2 - TRACK - 6
        return [(x - WIDTH / 2, y), (track, y), (track, to_y), entry]

    def _off(self, edge: Edge) -> list[Point]:
        """Route a line off to the side: down into the top of its target, or round the outside into its right."""
        (column, row), (to_column, to_row) = self.places[edge.source], self.places[edge.target]
        (x, y), (to_x, to_y) = self.centre(edge.source), self.centre(edge.target)
        shared = len(self._sources(edge.target)) > 1  # then errors arrive beside the plain flow
        top = to_x + shared * (26 if edge.caught else -26), to_y - HEIGHT / 2
        if row < to_row and self._free(to_column, range(row + 1, to_row)):
            if column == to_column:
                return [(top[0], y + HEIGHT / 2), top]
            if column == 0 and edge.caught:  # its sides are for the plain flow
                between = y + ROW / 2
                return [(x + 48, y + HEIGHT / 2), (x + 48, between), (top[0], between), top]
            if self._free(to_column, [row]):
                return [(x + (WIDTH / 2 if column < to_column else -WIDTH / 2), y), (top[0], y), top]
        track = self.x(self.last_column) + WIDTH / 2 + TRACK
        return [(x + WIDTH / 2, y), (track, y), (track, to_y), (to_x + WIDTH / 2, to_y)]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the picture."""
        rows = 1 + max(row for _, row in self.places.values())
        return self.x(self.last_column) + WIDTH / 2 + MARGIN, TOP + rows * ROW - (ROW - HEIGHT) + 28


# ---------------------------------------------------------------- drawing

FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, QUIET, LINE, FAINT = "#1f2328", "#57606a", "#424a53", "#8c959f"
KINDS = {  # fill, border, words for the legend
    "function": ("#fff0e1", "#c2570c", "Lambda function"),
    "table": ("#e8f0fe", "#2f5dc8", "DynamoDB"),
    "bus": ("#fce8f3", "#b4236f", "EventBridge"),
    "queue": ("#efe9fb", "#6639a6", "SQS"),
    "choice": ("#fff9db", "#946c00", "Choice"),
    "plain": ("#f3f4f6", "#6e7781", "Wait, Pass"),
    "success": ("#e6f6ea", "#1a7f37", "Succeed"),
    "failure": ("#fdeaea", "#c62828", "Fail"),
}
KIND_OF_TYPE = {"Choice": "choice", "Wait": "plain", "Pass": "plain", "Succeed": "success", "Fail": "failure"}
KIND_OF_SERVICE = {"lambda": "function", "dynamodb": "table", "events": "bus", "sqs": "queue"}


def kind_of(state: Mapping[str, Any]) -> str:
    """Return which of ``KINDS`` a state is."""
    return KIND_OF_TYPE[state["Type"]] if state["Type"] != "Task" else KIND_OF_SERVICE[_integration(state)[0]]


def _integration(state: Mapping[str, Any]) -> tuple[str, str]:
    service, action = state["Resource"].removeprefix("arn:aws:states:::").split(":")
    return service, action


def what_it_does(state: Mapping[str, Any]) -> str:
    """Return the second line in a state's box."""
    if state["Type"] == "Wait":
        return f"waits {state['Seconds'].strip('{% }')}"
    if state["Type"] != "Task":
        return {"Succeed": "the workflow succeeds", "Fail": "the workflow fails"}.get(state["Type"], "")
    match _integration(state):
        case "lambda", _:
            function = re.sub(r"\W|FunctionArn", "", state["Arguments"]["FunctionName"])
            return "function " + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", function).lower()
        case "events", _:
            return "event " + ", ".join(entry["DetailType"] for entry in state["Arguments"]["Entries"])
        case "sqs", action:
            return f"SQS {action[0].upper()}{action[1:]}"
        case _, action:
            return f"DynamoDB {action[0].upper()}{action[1:]}"


def draw(machine: Mapping[str, Any]) -> str:
    """Return the picture of a state machine as an SVG document."""
    layout = Layout(machine)
    width, height = layout.size
    # Errors first, so that the lines of the plain flow lie over them where they meet.
    edges = sorted(layout.edges, key=lambda edge: not edge.caught)
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}" role="img" aria-labelledby="title desc">',
        '<title id="title">The workflow</title>',
        f'<desc id="desc">{escape(machine["Comment"])}</desc>',
        "<!-- Drawn by docs/draw_workflow.py from statemachine/fulfil_order.asl.json. Do not edit. -->",
        _defs(),
        _card(width, height),
        *_start(layout),
        *(_line(layout, edge) for edge in edges),
        *(_box(layout, name) for name in layout.states),
        *(_label(layout, edge) for edge in layout.edges if edge.label),
        *_key(layout),
        *_outcomes(layout),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _card(width: float, height: float) -> str:
    """Draw the background; it is white on dark pages too."""
    inner = f'width="{width - 1:g}" height="{height - 1:g}"'
    return f'<rect x="0.5" y="0.5" {inner} rx="14" fill="#ffffff" stroke="#d0d7de"/>'


def _defs() -> str:
    def head(name: str, colour: str, size: int) -> str:
        return (
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerUnits="userSpaceOnUse" '
            f'markerWidth="{size}" markerHeight="{size}" orient="auto-start-reverse">'
            f'<path d="M0,0.8 L10,5 L0,9.2 z" fill="{colour}"/></marker>'
        )

    return f"<defs>{head('arrow', LINE, 11)}{head('arrow-main', INK, 12)}{head('arrow-caught', FAINT, 9)}</defs>"


def _start(layout: Layout) -> list[str]:
    x, y = layout.centre(layout.machine["StartAt"])
    top = y - HEIGHT / 2
    return [
        f'<circle cx="{x:g}" cy="{top - 34:g}" r="6" fill="{INK}"/>',
        f'<path d="M{x:g},{top - 28:g} V{top:g}" stroke="{INK}" stroke-width="2.2" marker-end="url(#arrow-main)"/>',
        _text(x + 14, top - 30, "event OrderPlaced", size=12, colour=QUIET),
    ]


def _line(layout: Layout, edge: Edge) -> str:
    points = layout.route(edge)
    if edge.caught:  # drawn backwards, so that the dashes of lines that join lie on one another
        points.reverse()
    path = [f"M{points[0][0]:g},{points[0][1]:g}"]
    for (x1, y1), (x, y), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        before, after = _towards((x, y), (x1, y1)), _towards((x, y), (x2, y2))
        path.append(f"L{before[0]:g},{before[1]:g} Q{x:g},{y:g} {after[0]:g},{after[1]:g}")
    path.append(f"L{points[-1][0]:g},{points[-1][1]:g}")
    main = (edge.source, edge.target) in set(pairwise(layout.spine))
    if edge.caught:
        style = f'stroke="{FAINT}" stroke-width="1.2" stroke-dasharray="4 4" marker-start="url(#arrow-caught)"'
    elif main:
        style = f'stroke="{INK}" stroke-width="2.2" marker-end="url(#arrow-main)"'
    else:
        style = f'stroke="{LINE}" stroke-width="1.6" marker-end="url(#arrow)"'
    return f'<path data-edge="{edge.source} {edge.target}" d="{" ".join(path)}" fill="none" {style}/>'


def _towards(corner: Point, other: Point) -> Point:
    """Return the point where the rounding of a corner ends, on the way to another point."""
    (x, y), (to_x, to_y) = corner, other
    length = abs(to_x - x) + abs(to_y - y)  # lines run straight across or straight down
    share = min(RADIUS, length / 2) / length
    return x + (to_x - x) * share, y + (to_y - y) * share


def _box(layout: Layout, name: str) -> str:
    state = layout.states[name]
    kind = kind_of(state)
    fill, border, _ = KINDS[kind]
    (x, y), does = layout.centre(name), what_it_does(state)
    left, top = x - WIDTH / 2, y - HEIGHT / 2
    style = f'fill="{fill}" stroke="{border}" stroke-width="1.5"'
    if kind == "choice":
        right, bottom, slant = left + WIDTH, top + HEIGHT, 18
        corners = [(left, y), (left + slant, top), (right - slant, top), (right, y), (right - slant, bottom)]
        corners.append((left + slant, bottom))
        shape = f'<polygon points="{" ".join(f"{a:g},{b:g}" for a, b in corners)}" stroke-linejoin="round" {style}/>'
    else:
        rounding = HEIGHT / 2 if kind in {"success", "failure"} else 9
        shape = f'<rect x="{left:g}" y="{top:g}" width="{WIDTH}" height="{HEIGHT}" rx="{rounding:g}" {style}/>'
    lines = [_text(x, y + (-3 if does else 5), name, size=14, weight=600, anchor="middle")]
    if does:
        lines.append(_text(x, y + 14, does, size=11.5, colour=QUIET, anchor="middle"))
    return f'<g data-state="{name}">{shape}{"".join(lines)}</g>'


def _label(layout: Layout, edge: Edge) -> str:
    points = layout.route(edge)
    (x1, y1), (x2, y2) = points[0], points[1]
    right = 1 if x2 > x1 else -1
    beside = "start" if right > 0 else "end"
    is_track = len(points) == 4 and abs(x2 - x1) < COLUMN / 2
    if x1 == x2:  # down
        x, y, anchor = x1 + 9, (y1 + y2) / 2 + 2, "start"
    elif is_track:  # up a line that is close: on its outer side, between the rows
        x, y, anchor = x2 + 8 * right, y1 - ROW / 2 + 4, beside
    elif len(points) > 2:  # away: over its beginning
        x, y, anchor = x1 + 11 * right, y1 - 7, beside
    else:  # straight across: in the middle, past a fork if there is one
        forks = any(other != edge and layout.route(other)[0] == points[0] for other in layout.edges)
        x, y, anchor = (x1 + x2 + forks * right * (TRACK + 6)) / 2, y1 - 7, "middle"
    colour, size = (QUIET, 11.5) if edge.caught else (INK, 12)
    return _text(x, y, edge.label, size=size, colour=colour, anchor=anchor, halo=True)


def _key(layout: Layout) -> list[str]:
    """Draw the legend into the empty corner left of the start."""
    x, y = layout.x(layout.first_column) - WIDTH / 2, layout.y(0) - HEIGHT / 2 - 24
    parts = []
    for index, (fill, border, words) in enumerate(KINDS.values()):
        top = y + index * 21
        style = f'fill="{fill}" stroke="{border}" stroke-width="1.3"'
        parts.append(f'<rect x="{x:g}" y="{top:g}" width="22" height="14" rx="4" {style}/>')
        parts.append(_text(x + 32, top + 11.5, words, size=12, colour=QUIET))
    top = y + len(KINDS) * 21 + 7
    parts.append(
        f'<path d="M{x:g},{top:g} h20" stroke="{FAINT}" stroke-width="1.2" stroke-dasharray="4 4" '
        'fill="none" marker-end="url(#arrow-caught)"/>'
    )
    parts.append(_text(x + 32, top + 4, "error caught", size=12, colour=QUIET))
    return parts


def _outcomes(layout: Layout) -> list[str]:
    """Say what the words at the choices stand for, in the empty corner right of the start."""
    x, top = layout.x(1) - WIDTH / 2, layout.y(0) - HEIGHT / 2 - 12.5
    parts = []
    for word, outcomes in OUTCOMES.items():
        parts.append(_text(x, top, word, size=12, weight=600))
        for index, outcome in enumerate([*outcomes, *(["any other"] if word == "hold" else [])]):
            parts.append(_text(x + 38, top + index * 17, outcome, size=11, colour=QUIET))
        x += WIDTH + TRACK
    return parts


def _text(  # noqa: PLR0913 - they are the attributes of one element
    x: float,
    y: float,
    words: str,
    *,
    size: float,
    weight: int = 400,
    colour: str = INK,
    anchor: str = "start",
    halo: bool = False,
) -> str:
    behind = ' stroke="#ffffff" stroke-width="4" stroke-linejoin="round" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}"{behind}>{escape(words)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(json.loads(DEFINITION.read_text())))

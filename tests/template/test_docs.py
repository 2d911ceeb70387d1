"""The picture of the workflow shows the workflow that runs."""

import copy
import importlib.util
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from template.reading import ROOT, load_workflow

PICTURE = ROOT / "docs/workflow.svg"


@pytest.fixture(scope="module")
def drawing() -> Iterator[ModuleType]:
    """docs/draw_workflow.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("draw_workflow", ROOT / "docs/draw_workflow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def picture() -> ElementTree.Element:
    return ElementTree.fromstring(PICTURE.read_text())


def transitions(states: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (name, way["Next"])
        for name, state in states.items()
        for way in [state, *state.get("Choices", []), *state.get("Catch", []), {"Next": state.get("Default")}]
        if way.get("Next")
    }


def test_picture_is_the_one_of_the_definition(drawing: ModuleType):
    assert drawing.draw(load_workflow()) == PICTURE.read_text(), "the workflow has changed: run `make docs`"


def test_every_state_is_in_the_picture(picture: ElementTree.Element):
    drawn = [element.get("data-state") for element in picture.iter() if element.get("data-state")]
    assert sorted(drawn) == sorted(load_workflow()["States"])


def test_every_transition_is_in_the_picture(picture: ElementTree.Element):
    drawn = [tuple(element.get("data-edge").split()) for element in picture.iter() if element.get("data-edge")]
    assert sorted(drawn) == sorted(transitions(load_workflow()["States"]))


def test_picture_needs_nothing_from_elsewhere():
    text = PICTURE.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in text
    assert "<image" not in text
    assert "@import" not in text


def test_states_do_not_overlap(drawing: ModuleType):
    places = drawing.Layout(load_workflow()).places
    assert len(set(places.values())) == len(places)


def test_no_line_runs_through_a_state(drawing: ModuleType):
    layout = drawing.Layout(load_workflow())
    for edge in layout.edges:
        for (x1, y1), (x2, y2) in pairwise(layout.route(edge)):
            for name in layout.states:
                x, y = layout.centre(name)
                beside = max(x1, x2) <= x - drawing.WIDTH / 2 or min(x1, x2) >= x + drawing.WIDTH / 2
                above_or_below = max(y1, y2) <= y - drawing.HEIGHT / 2 or min(y1, y2) >= y + drawing.HEIGHT / 2
                assert beside or above_or_below, f"the line {edge.source} -> {edge.target} runs through {name}"


def test_lines_of_different_targets_do_not_lie_on_one_another(drawing: ModuleType):
    layout = drawing.Layout(load_workflow())
    for one, other in combinations(layout.edges, 2):
        if one.target == other.target or one.source == other.source:
            continue  # they may join or fork
        for (x1, y1), (x2, y2) in pairwise(layout.route(one)):
            for (u1, v1), (u2, v2) in pairwise(layout.route(other)):
                together_down = x1 == x2 == u1 == u2 and min(max(y1, y2), max(v1, v2)) > max(min(y1, y2), min(v1, v2))
                together_across = y1 == y2 == v1 == v2 and min(max(x1, x2), max(u1, u2)) > max(min(x1, x2), min(u1, u2))
                assert not together_down, f"{one} and {other} cannot be told apart"
                assert not together_across, f"{one} and {other} cannot be told apart"


def test_a_condition_without_words_stops_the_drawing(drawing: ModuleType):
    machine = copy.deepcopy(load_workflow())
    machine["States"]["RouteOrder"]["Choices"][0]["Condition"] = "{% $checks > 5 %}"
    with pytest.raises(LookupError, match=r"add words .* \$checks > 5"):
        drawing.draw(machine)


def test_a_new_state_changes_the_picture(drawing: ModuleType):
    machine = copy.deepcopy(load_workflow())
    machine["States"]["RouteDelivery"]["Choices"][0]["Next"] = "Rest"
    machine["States"]["Rest"] = {"Type": "Wait", "Seconds": "{% $waitSeconds %}", "Next": "OrderClosed"}
    text = drawing.draw(machine)
    assert 'data-state="Rest"' in text
    assert text != PICTURE.read_text()

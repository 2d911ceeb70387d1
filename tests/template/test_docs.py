"""The workflow's picture matches its definition."""

import copy
import runpy
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from giftcards.metrics import Metric
from support.scripts import load
from template.reading import ROOT, load_workflow

PICTURE = ROOT / "docs/workflow.svg"
SVG = "{http://www.w3.org/2000/svg}"
UNEXPECTED = ["States.ALL"]


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    """tools/draw_workflow.py, which is a script outside any package."""
    return load("tools/draw_workflow.py")


def drawn(kind: str) -> dict[str, ElementTree.Element]:
    """Return the nodes or edges of the picture by title, without the start."""
    groups = ElementTree.fromstring(PICTURE.read_text()).iter(f"{SVG}g")
    titles = {group.findtext(f"{SVG}title", ""): group for group in groups if group.get("class") == kind}
    return {title: group for title, group in titles.items() if not title.startswith("start")}


def words(group: ElementTree.Element) -> list[str]:
    return [(text.text or "").strip() for text in group.iter(f"{SVG}text")]


def transitions(*, unexpected: bool) -> set[str]:
    """Return the definition's transitions on unexpected errors, or all others."""
    ways = [
        (name, way)
        for name, state in load_workflow()["States"].items()
        for way in [state, *state.get("Choices", []), *state.get("Catch", []), {"Next": state.get("Default")}]
        if way.get("Next")
    ]
    return {f"{name}->{way['Next']}" for name, way in ways if (way.get("ErrorEquals") == UNEXPECTED) is unexpected}


def changed(state: str, **changes: Any) -> dict[str, Any]:
    machine = copy.deepcopy(load_workflow())
    machine["States"].setdefault(state, {}).update(changes)
    return machine


def test_picture_matches_the_definition(drawing: ModuleType):
    stamp = drawing.stamp(drawing.describe(load_workflow()))
    assert stamp in PICTURE.read_text(), "the workflow or its drawing has changed: run `make docs`"


def test_every_state_is_in_the_picture_with_its_name():
    assert {title: words(group)[0] for title, group in drawn("node").items()} == {
        name: name for name in load_workflow()["States"]
    }


def test_every_expected_transition_is_in_the_picture():
    assert set(drawn("edge")) == transitions(unexpected=False)


def test_unexpected_errors_lead_to_the_documented_states():
    targets = {way.split("->")[1] for way in transitions(unexpected=True) - transitions(unexpected=False)}
    assert targets == {"HoldOrder", "OrderNotHeld", "ParkOrder", "Route"}


def test_every_branch_has_a_label():
    choices = {name for name, state in load_workflow()["States"].items() if state["Type"] == "Choice"}
    assert [way for way, group in drawn("edge").items() if way.split("->")[0] in choices and not words(group)] == []


def test_each_kind_of_state_has_a_separate_colour():
    kinds: dict[str, set[str]] = {}
    for name, group in drawn("node").items():
        state = load_workflow()["States"][name]
        fill = next(element.get("fill", "") for element in group if element.get("fill"))
        kinds.setdefault(fill, set()).add(state["Resource"].split(":")[-2] if "Resource" in state else state["Type"])
    assert sorted(sorted(of_one_colour) for of_one_colour in kinds.values()) == [
        *(["Choice"], ["Fail"], ["Pass", "Wait"], ["Succeed"]),
        *(["dynamodb"], ["events"], ["lambda"], ["sqs"]),
    ]


def test_picture_has_no_external_references():
    text = PICTURE.read_text()
    assert [word for word in ("<image", "@import", "href=", "url(", "<script") if word in text] == []


def test_condition_without_a_label_is_an_error(drawing: ModuleType):
    machine = changed("Route", Choices=[{"Condition": "{% $checks > 5 %}", "Next": "HoldOrder"}])
    with pytest.raises(LookupError, match=r"add a label to LABELS for \$checks > 5"):
        drawing.describe(machine)


def test_expected_error_without_a_label_is_an_error(drawing: ModuleType):
    machine = changed("CheckStatus", Catch=[{"ErrorEquals": ["Lambda.Unknown"], "Next": "HoldOrder"}])
    with pytest.raises(LookupError, match=r"add a label to LABELS for CheckStatus: Lambda\.Unknown"):
        drawing.describe(machine)


def test_new_state_changes_the_picture(drawing: ModuleType):
    description = drawing.describe(changed("Rest", Type="Wait", Seconds=1, Next="OrderClosed"))
    assert "Rest -> OrderClosed" in description
    assert drawing.stamp(description) not in PICTURE.read_text()


def test_metrics_table_matches_the_code():
    written = runpy.run_path(str(ROOT / "tools/write_metrics.py"))
    text = written["PAGE"].read_text(encoding="utf-8")
    assert text == written["page"](text), "the metrics have changed: run `make docs`"
    assert text.count("| `") > len(Metric)

"""The runbook has a section for every alarm and held reason, and the drill covers all of them."""

import pytest

from drill.plan import DRILLS
from drill.runbook import anchor, missing, parts
from giftcards.contracts.events import HeldReason
from template.pages import section, text_of
from template.reading import load, resources

PAGE = "docs/runbook.md"
ALARMS = set(resources(load(), "AWS::CloudWatch::Alarm"))
TITLES = [line.removeprefix("## ") for line in text_of(PAGE).splitlines() if line.startswith("## ")]


def test_every_section_belongs_to_an_alarm_or_held_reason():
    assert sorted(title.lower().replace(" ", "-") for title in TITLES) == sorted(
        anchor(name) for name in [*ALARMS, *(reason.value for reason in HeldReason)]
    )


@pytest.mark.parametrize("title", TITLES)
def test_section_has_all_five_parts_in_order(title: str):
    text = section(PAGE, title)
    places = [text.find(f"**{part}") for part in ("What happened.", "Impact.", "Check.", "Fix.", "Resolved when")]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("reason", HeldReason)
def test_held_reason_section_names_its_reason(reason: HeldReason):
    (title,) = (title for title in TITLES if title.lower().replace(" ", "-") == anchor(reason.value))
    assert f"*Held as `{reason}`.*" in section(PAGE, title)


def test_drill_covers_every_alarm_and_section():
    assert missing(parts(), ALARMS) == []
    rehearsed = [name for drill in DRILLS for name in drill.sections]
    assert len(rehearsed) == len(set(rehearsed))


def test_every_section_has_commands_that_a_laptop_can_run():
    assert {section for section, _ in parts()} == {"", *(title.lower().replace(" ", "-") for title in TITLES)}


def test_alarm_without_a_rehearsal_is_detected():
    assert missing(parts(), ALARMS | {"NewAlarm"}) == ["NewAlarm"]
    assert missing({**parts(), ("forgotten", "Check"): []}, ALARMS) == ["forgotten"]

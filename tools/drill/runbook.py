"""The sections of the runbook, and which of them the drill covers."""

import re
from collections.abc import Mapping
from itertools import groupby

from drill.plan import DRILLS
from giftcards.contracts.events import HeldReason
from template.pages import Block, blocks, text_of

BLOCKS = blocks("docs/runbook.md")
Parts = Mapping[tuple[str, str], list[Block]]
"""Blocks by the anchor of a section and the name of its part: Check, Fix or Resolved."""


def anchor(name: str) -> str:
    """Return the anchor of the section of an alarm or a held reason."""
    name = name.removesuffix("Alarm")
    return name.lower().replace("_", "-") if name.isupper() else re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def parts() -> Parts:
    """Return the blocks that need no AWS."""
    places, section, part = list[tuple[str, str]](), "", ""
    for line in text_of("docs/runbook.md").splitlines():
        if line.startswith("## "):
            section, part = line.removeprefix("## ").lower().replace(" ", "-"), ""
        elif (lead := re.match(r"\*\*(Check|Fix|Resolved)\b", line)) is not None:
            part = lead[1]
        places.append((section, part))
    local = [block for block in BLOCKS if not block.needs_aws]
    return {place: list(group) for place, group in groupby(local, lambda block: places[block.line - 1])}


def missing(parts: Parts, alarms: set[str]) -> list[str]:
    """Return the alarms, held reasons and sections that no drill covers."""
    covered = {name for drill in DRILLS for name in drill.sections}
    required = alarms | {reason.value for reason in HeldReason}
    sections = {section for section, _ in parts} - {""} - {anchor(name) for name in covered}
    return [*sorted(required - covered), *sorted(sections)]

"""docs/operations.md says of every fault what the tests show."""

import re

import pytest

from simulation.supplier_faults import SUPPLIER_FAULTS, SupplierFault
from template.reading import ROOT, load

PAGE = (ROOT / "docs/operations.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
FAULTS = {row[0]: row for row in ROWS if len(row) == 5 and row[4] != "test"}


def said(outcome: str) -> str:
    return f"held `{outcome}`" if outcome.isupper() else outcome


@pytest.mark.parametrize("failure", SUPPLIER_FAULTS, ids=lambda failure: failure.name)
def test_every_fault_of_the_supplier_is_there_with_its_outcome(failure: SupplierFault) -> None:
    at_check, at_delivery = said(failure.at_check), said(failure.expected_at_delivery)

    outcome = FAULTS[failure.name][1]

    assert outcome == (
        at_check if at_check == at_delivery else f"at the check {at_check}; at the delivery {at_delivery}"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_says_what_is_seen_and_what_to_do_and_leads_to_its_test(fault: str) -> None:
    _, _, seen, to_do, test = FAULTS[fault]
    assert seen
    assert to_do
    [(name, path)] = re.findall(r"^\[(\w+)\]\(\.\./(\S+)\)$", test)
    text = (ROOT / path).read_text()
    assert name == "both" or f"def {name}(" in text


@pytest.mark.parametrize("alarm", sorted(set(re.findall(r"\w+Alarm\b", PAGE))))
def test_every_alarm_that_is_named_exists(alarm: str) -> None:
    assert load()["Resources"][alarm]["Type"] == "AWS::CloudWatch::Alarm"

"""docs/operations.md lists the faults with the results that the tests show."""

import re

import pytest

from simulation.supplier_faults import SUPPLIER_FAULTS, SupplierFault
from template.reading import ROOT, load

PAGE = (ROOT / "docs/operations.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
FAULTS = {row[0]: row for row in ROWS if len(row) == 5 and row[4] != "test"}


def written(outcome: str) -> str:
    return f"held `{outcome}`" if outcome.isupper() else outcome


@pytest.mark.parametrize("failure", SUPPLIER_FAULTS, ids=lambda failure: failure.name)
def test_page_has_the_result_of_every_supplier_fault(failure: SupplierFault) -> None:
    at_check, at_delivery = written(failure.at_check), written(failure.expected_at_delivery)

    outcome = FAULTS[failure.name][1]

    assert outcome == (
        at_check if at_check == at_delivery else f"at the check {at_check}; at the delivery {at_delivery}"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_all_cells_and_links_to_its_test(fault: str) -> None:
    _, _, seen, to_do, test = FAULTS[fault]
    assert seen
    assert to_do
    [(name, path)] = re.findall(r"^\[(\w+)\]\(\.\./(\S+)\)$", test)
    text = (ROOT / path).read_text()
    assert name == "both" or f"def {name}(" in text


@pytest.mark.parametrize("alarm", sorted(set(re.findall(r"\w+Alarm\b", PAGE))))
def test_every_alarm_on_the_page_exists(alarm: str) -> None:
    assert load()["Resources"][alarm]["Type"] == "AWS::CloudWatch::Alarm"

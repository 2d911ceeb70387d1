"""What checkov finds in the template as it is deployed to AWS, and why some of it may stay."""

import json
import os
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

from template.reading import ROOT, Template

CHECKOV = ROOT / ".venv-checks/bin/checkov"
FUNCTIONS = "AWS::Lambda::Function.*"

# What may stay, by check and resource, and why. There is no other place: the template has no `checkov:skip`.
ACCEPTED = {
    ("CKV_AWS_27", "AWS::SQS::Queue.*"): (
        "Queues are encrypted by SQS (SqsManagedSseEnabled), which this check does not know. No card comes into them; "
        "for a key of the stack every sender would need permissions on it."
    ),
    ("CKV_AWS_33", "AWS::KMS::Key.StorageKey"): (
        "This check does not look at conditions. The statement for everybody holds within this account and through "
        "DynamoDB, Secrets Manager and Step Functions only, like the policies of the keys that AWS manages."
    ),
    ("CKV_AWS_115", FUNCTIONS): (
        "Reserved concurrency is taken from the account's, and a new account has none to spare: the deployment would "
        "fail. What must not be called by too many at once is the supplier; the gate sees to that."
    ),
    ("CKV_AWS_116", FUNCTIONS): (
        "A function's own queue is for asynchronous runs. Functions that run so have an on-failure destination, which "
        "this check does not know; the others are called by somebody who waits for the answer."
    ),
    ("CKV_AWS_117", FUNCTIONS): (
        "No function listens, so a VPC would protect it from nobody; it would need a NAT gateway to reach the supplier."
    ),
    ("CKV_AWS_173", FUNCTIONS): (
        "Variables hold names, ARNs, addresses and numbers, no secret, and are encrypted with a key of AWS. For a key "
        "of the stack every role would need permission to decrypt with it."
    ),
}


def findings(template: Template, folder: Path) -> set[tuple[str, str]]:
    """Return what checkov finds, as check and resource, without a configuration, an account or the internet."""
    assert CHECKOV.exists(), "run `make .venv-checks/.installed`, as `make test` does"
    (folder / "template.json").write_text(json.dumps(template))
    result = subprocess.run(
        [CHECKOV, "--file", "template.json", "--framework", "cloudformation", "--skip-download", "--output=json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        report = json.loads(result.stdout)
        looked_at = report["summary"]["resource_count"]
    except (ValueError, KeyError):
        raise AssertionError(f"checkov did not read the template:\n{result.stdout}{result.stderr}") from None
    assert looked_at >= len(template["Resources"])
    skipped = [(finding["check_id"], finding["resource"]) for finding in report["results"].get("skipped_checks", [])]
    assert skipped == [], "write it into ACCEPTED with its reason instead"
    return {(finding["check_id"], finding["resource"]) for finding in report["results"]["failed_checks"]}


def test_checkov_finds_nothing_but_what_is_accepted_for_a_reason(on_aws: Template, tmp_path: Path):
    found = findings(on_aws, tmp_path)
    accepted_by = {one: [key for key in ACCEPTED if key[0] == one[0] and fnmatchcase(one[1], key[1])] for one in found}
    assert sorted(one for one, keys in accepted_by.items() if not keys) == [], "mend it, or say why it may stay"
    assert set(ACCEPTED) - {key for keys in accepted_by.values() for key in keys} == set(), "not found any more"
    assert [key for key, reason in ACCEPTED.items() if not reason.strip()] == [], "give the reason"

"""Findings of checkov in the template as deployed to AWS, and why each is accepted."""

import json
import os
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

from template.reading import ROOT, Template

CHECKOV = ROOT / ".venv-checks/bin/checkov"
FUNCTIONS = "AWS::Lambda::Function.*"

# Accepted findings, by check and resource, with the reason. The template has no `checkov:skip`.
ACCEPTED = {
    ("CKV_AWS_27", "AWS::SQS::Queue.*"): (
        "SQS encrypts the queues (SqsManagedSseEnabled), which this check does not know. They contain no card; "
        "with a key of the stack, every sender would need permissions on it."
    ),
    ("CKV_AWS_7", "AWS::KMS::Key.LinkKey"): (
        "KMS rotates no HMAC key. New key material would derive other tokens, and every link would end."
    ),
    ("CKV_AWS_33", "AWS::KMS::Key.StorageKey"): (
        "This check ignores conditions. The statement for all principals applies within this account and through "
        "DynamoDB, Secrets Manager and Step Functions only, like the policies of the keys that AWS manages."
    ),
    ("CKV_AWS_115", FUNCTIONS): (
        "Reserved concurrency reduces the account's, and a new account has none to spare: the deployment would fail. "
        "The supplier gate limits concurrent calls to the supplier."
    ),
    ("CKV_AWS_116", FUNCTIONS): (
        "A function's dead-letter queue is for asynchronous runs. Functions with such runs have an on-failure "
        "destination, which this check does not know; the others are invoked synchronously."
    ),
    ("CKV_AWS_117", FUNCTIONS): (
        "No function accepts connections, so a VPC protects nothing; it would need a NAT gateway to reach the supplier."
    ),
    ("CKV_AWS_173", FUNCTIONS): (
        "Variables hold names, ARNs, URLs and numbers, no secret, and are encrypted with a key of AWS. With a key "
        "of the stack every role would need permission to decrypt with it."
    ),
}


def findings(template: Template, folder: Path) -> set[tuple[str, str]]:
    """Return checkov's findings as pairs of check and resource. Needs no configuration, account or internet access."""
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
        examined = report["summary"]["resource_count"]
    except (ValueError, KeyError):
        raise AssertionError(f"checkov did not read the template:\n{result.stdout}{result.stderr}") from None
    assert examined >= len(template["Resources"])
    skipped = [(finding["check_id"], finding["resource"]) for finding in report["results"].get("skipped_checks", [])]
    assert skipped == [], "add it to ACCEPTED with a reason instead"
    return {(finding["check_id"], finding["resource"]) for finding in report["results"]["failed_checks"]}


def test_every_finding_is_accepted_with_a_reason(on_aws: Template, tmp_path: Path):
    found = findings(on_aws, tmp_path)
    accepted_by = {
        (check, resource): [key for key in ACCEPTED if key[0] == check and fnmatchcase(resource, key[1])]
        for check, resource in found
    }
    assert sorted(finding for finding, keys in accepted_by.items() if not keys) == [], (
        "fix it, or accept it with a reason"
    )
    assert set(ACCEPTED) - {key for keys in accepted_by.values() for key in keys} == set(), "no longer found"
    assert [key for key, reason in ACCEPTED.items() if not reason.strip()] == [], "give the reason"

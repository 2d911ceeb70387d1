"""AWS's own checks of the template."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from template.reading import ROOT, Template, as_list, load, resources


def included() -> Template:
    """Read wiring.yaml as AWS::Include does: it accepts no tags (!Ref, !Sub), and the safe loader refuses them."""
    resources_included: Template = yaml.safe_load((ROOT / "wiring.yaml").read_text(encoding="utf-8"))
    return resources_included


def test_included_file_has_no_nested_transform():
    assert "Fn::Transform" not in (ROOT / "wiring.yaml").read_text(encoding="utf-8")
    # `sam build` and `sam package` do not read the included file: no function, no layer, no local file.
    types = {resource["Type"] for resource in included().values()}
    assert {name for name in types if name.startswith(("AWS::Serverless::", "AWS::Lambda::Function"))} == set()


def test_rollback_alarms_are_in_the_main_template():
    # samtranslator and a reader see them beside the setting that names them.
    named = as_list(load()["Globals"]["Function"]["DeploymentPreference"]["Alarms"])
    alarms = {alarm.get("Ref") or alarm["Fn::If"][1]["Ref"] for alarm in named}
    assert alarms == set(resources(load(), "AWS::CloudWatch::Alarm")) - set(included())


def test_sam_validate_is_clean(tmp_path: Path):
    sam = Path(sys.executable).with_name("sam")
    result = subprocess.run(
        [sam, "validate", "--template", ROOT / "template.yaml"],
        cwd=ROOT,
        # HOME, because sam keeps a settings file there; nothing else of the caller's environment, so no AWS account.
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_DEFAULT_REGION": "eu-central-1",
            "SAM_CLI_TELEMETRY": "0",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, f"sam validate:\n{result.stdout}{result.stderr}"
    assert "is a valid SAM Template" in result.stdout

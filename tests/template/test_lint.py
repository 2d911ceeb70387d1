"""What the tools of AWS say about the template."""

import os
import subprocess
import sys
from pathlib import Path

from template.reading import ROOT


def test_sam_validate_is_clean(tmp_path: Path):
    sam = Path(sys.executable).with_name("sam")
    result = subprocess.run(
        [sam, "validate", "--lint", "--template", ROOT / "template.yaml"],
        cwd=ROOT,
        # HOME, because sam keeps a settings file there; nothing else of the caller's environment, so no account of his.
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
    assert result.returncode == 0, f"sam validate --lint:\n{result.stdout}{result.stderr}"
    assert "is a valid SAM Template" in result.stdout

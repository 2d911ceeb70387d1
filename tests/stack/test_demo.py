"""The demo succeeds, and stops everything that it started."""

import signal
import subprocess
from pathlib import Path

from giftcards_local import PROJECT
from giftcards_local.processes import wait_for
from support.hostile import hostile_environment, listening
from support.laptop import GIFTCARDS, NO_AWS, is_all_stopped, run, uv_cache


def test_demo_succeeds_in_a_hostile_environment_and_stops(tmp_path: Path) -> None:
    home, tmp_path = tmp_path / "home", tmp_path / "gift cards é"
    with listening() as listener:
        variables = hostile_environment(listener.url, home) | {"UV_CACHE_DIR": uv_cache()}
        demo = run("demo", "--keep", str(tmp_path), **variables | {"PYTHONIOENCODING": "latin-1"})
    assert listener.heard == []
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "all seven stories" in demo.stdout
    assert "\x1b" not in demo.stdout
    assert is_all_stopped(tmp_path)
    before_reveal, revealed = demo.stdout.split(" revealed\n")
    revealed, mailed = revealed.split(" mailed to its buyer\n")
    assert "SANDBOX-CARD-" not in before_reveal
    assert revealed.count("SANDBOX-CARD-") == 2
    assert mailed.count("SANDBOX-CARD-") == 4  # two cards, shown twice
    assert "/c/" not in demo.stdout


def test_ctrl_c_stops_the_demo_and_its_processes(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*GIFTCARDS, "demo", "--keep", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=NO_AWS,
        cwd=PROJECT,
    )
    try:
        assert wait_for((tmp_path / "cloud" / "sam-deploy.log").exists, within_seconds=60)
        demo.send_signal(signal.SIGINT)
        _, complaint = demo.communicate(timeout=30)
    finally:
        demo.kill()
    assert (demo.returncode, complaint) == (1, "giftcards: stopped\n")
    assert is_all_stopped(tmp_path)

"""Says at the end how far the explorations went."""

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests have recorded as ``explored``."""
    passed = terminalreporter.stats.get("passed", ())
    lines = [value for report in passed for name, value in report.user_properties if name == "explored"]
    if lines:
        terminalreporter.section("explored")
        for line in sorted(lines):
            terminalreporter.write_line(line)

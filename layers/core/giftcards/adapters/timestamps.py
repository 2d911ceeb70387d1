"""How times are written down."""

from datetime import UTC, datetime


def timestamp(at: datetime) -> str:
    """Write a time as the workflow writes it: ISO 8601 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

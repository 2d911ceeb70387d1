"""The format of stored times."""

from datetime import UTC, datetime


def timestamp(at: datetime) -> str:
    """Format a time as the workflow does: ISO 8601 in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""What runs on a laptop only: the local cloud and the supplier simulator (never deployed)."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_FULFIL_AFTER_SECONDS = 8.0
"""How long the simulator takes for an order."""

"""The service on a laptop: local cloud and supplier simulator. Never deployed."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
STACK_NAME = "giftcards"
"""The stack of the local cloud, and the default of every command's ``--stack``."""
DEFAULT_FULFIL_AFTER_SECONDS = 8.0

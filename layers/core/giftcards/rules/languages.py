"""The languages of the buyer's page and mail. Each has a catalogue in presentation/texts."""

from typing import Literal, get_args

Language = Literal["ar", "fr", "en"]
LANGUAGES: tuple[str, ...] = get_args(Language)
"""The first one is used if neither the shop nor the buyer chooses one."""

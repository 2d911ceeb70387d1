"""``python -m giftcards_cli``: the same as the ``giftcards`` command."""

from giftcards_cli.main import main

main()

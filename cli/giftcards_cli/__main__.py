"""``python -m giftcards_cli`` runs the ``giftcards`` command."""

from giftcards_cli.main import main

main()

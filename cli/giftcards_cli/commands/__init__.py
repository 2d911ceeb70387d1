"""The commands of ``giftcards``: one module per command, named after it."""

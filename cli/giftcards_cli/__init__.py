"""The ``giftcards`` command line, for stacks on AWS and on the local cloud."""

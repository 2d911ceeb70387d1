"""Issue a link: what CreateLink and SendLink share."""

from dataclasses import dataclass
from datetime import datetime

from giftcards.adapters.link_key import LinkKey
from giftcards.adapters.link_table import LinkTable
from giftcards.rules.links import Delivery, Link, LinkOptions, hash_of, new_link, token_of

_ATTEMPTS = 5
"""Tries to write a link while others change the order's links."""


class LinksChangingError(Exception):
    """Others keep changing the order's links. Asking again helps."""


@dataclass(frozen=True)
class IssuedLink:
    """A link with its token.

    Attributes
    ----------
    is_new
        Whether this call created it.
    """

    link: Link
    token: str
    is_new: bool

    def url(self, page_url: str) -> str:
        """Give the address that opens it."""
        return f"{page_url}/c/{self.token}"


@dataclass(frozen=True)
class LinkIssue:
    """Issues links. The same order, user and channel give the same link until it is replaced."""

    links: LinkTable
    key: LinkKey

    def issue(self, delivery: Delivery, options: LinkOptions, *, now: datetime, replace: bool = False) -> IssuedLink:
        """Return the order's link of a channel, and create it where there is none.

        Parameters
        ----------
        options
            Of a new link; an existing one keeps its own.
        replace
            Whether to close all links of the order and create a new one.

        Raises
        ------
        TooManyLinksError
            If the order has as many open links as it may have. Never for the link that SendLink mails.
        LinksChangingError
            If others keep changing the order's links.
        """
        for _ in range(_ATTEMPTS):
            order = self.links.get_links(delivery.order_id, delivery.user_id)
            generation = order.generation + (1 if replace else 0)
            mac = self.key.mac(delivery.order_id, delivery.user_id, options.channel, generation)
            token = token_of(mac)
            existing = None if replace else self.links.get_link(hash_of(token))
            if existing is not None:
                return IssuedLink(existing, token, is_new=False)
            if not replace and hash_of(token) in order.hashes:
                # DynamoDB has deleted the row of a link that ended. The same token must not open anything again.
                return self.issue(delivery, options, now=now, replace=True)
            link = new_link(mac, generation, delivery, options, now)
            is_written = self.links.replace(order, link, at=now) if replace else self.links.create(link, order=order)
            if is_written:
                return IssuedLink(link, token, is_new=True)
        raise LinksChangingError

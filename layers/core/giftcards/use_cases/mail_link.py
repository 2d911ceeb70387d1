"""Mail a link: what CreateLink and SendLink share."""

from dataclasses import dataclass

from pydantic import SecretStr

from giftcards.adapters.mailer import Mailer
from giftcards.presentation.mail import MailContent, render_mail
from giftcards.rules.mails import MailPolicy
from giftcards.use_cases.issue_link import IssuedLink


@dataclass(frozen=True)
class LinkMailer:
    """Writes and sends the mail with a link. The same link and address give the same mail."""

    mailer: Mailer
    policy: MailPolicy

    def send(self, address: SecretStr, issued: IssuedLink) -> None:
        """Send the mail.

        Raises
        ------
        MailRefusedError
            If SES refuses it.
        """
        link = issued.link
        content = MailContent(
            to=address.get_secret_value(),
            mail_from=self.mailer.mail_from,
            shop_name=self.policy.shop_name,
            shop_contact=self.policy.shop_contact,
            language=link.language,
            url=issued.url(self.policy.page_url),
            quantity=link.fulfilled_quantity,
            until=link.expires_at,
            link_id=link.link_id,
        )
        self.mailer.send(address, render_mail(content), link_hash=link.hash)

"""Mail through Amazon SES: one raw message to one recipient."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import SecretStr

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

LINK_TAG = "giftcards-link"
"""The message tag that carries the hash of a link's token, so that a bounce finds its link without an address."""


class MailRefusedError(Exception):
    """SES refuses the mail until an operator changes something. The text is SES's error code."""


class Mailer:
    """Sends mails.

    Parameters
    ----------
    mail_from
        The sender's address, of an identity that SES has verified.
    configuration_set
        Turns tracking off and has bounces published.
    """

    def __init__(self, mail_from: str, configuration_set: str, ses: "SESV2Client") -> None:
        self.mail_from = mail_from
        self._configuration_set = configuration_set
        self._ses = ses

    def send(self, address: SecretStr, message: bytes, *, link_hash: str) -> None:
        """Send one message.

        Raises
        ------
        MailRefusedError
            If SES does not accept it (docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#Errors).
        """
        try:
            self._ses.send_email(
                FromEmailAddress=self.mail_from,
                Destination={"ToAddresses": [address.get_secret_value()]},
                Content={"Raw": {"Data": message}},
                ConfigurationSetName=self._configuration_set,
                EmailTags=[{"Name": LINK_TAG, "Value": link_hash}],
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _REFUSALS:
                raise MailRefusedError(code) from None
            raise


_REFUSALS = {
    # Recipients are checked before they are stored, so it is rather the sender or the configuration set.
    "BadRequestException",
    "MessageRejected",
    "AccountSuspendedException",
    "SendingPausedException",
    "MailFromDomainNotVerifiedException",
    "NotFoundException",
    "AccessDeniedException",
    "LimitExceededException",
}

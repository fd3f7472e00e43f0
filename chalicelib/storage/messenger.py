"""The port `Messenger`: SMS through SNS, e-mail through SES v2.

A message is sent at most once for each call: a send whose answer was lost may have gone out, and the caller's
schedule decides whether it is worth another. No number, address or text is ever logged.
"""

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.services.ports import Undeliverable, Unreachable
from chalicelib.storage import clients

# The network says that it will never take this message to this address.
_NEVER_BY_SMS = frozenset({"InvalidParameter", "InvalidParameterException", "ParameterValueInvalid", "OptedOut"})
_NEVER_BY_EMAIL = frozenset({"MessageRejected", "BadRequestException"})


class AwsMessenger:
    """Sends as `sender`, the e-mail address that the operator has verified with SES."""

    def __init__(self, sender: str) -> None:
        self.sender = sender

    def send_sms(self, number: str, text: str) -> None:
        """Send a text to a phone number in E.164 form."""
        kind = {"AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Transactional"}}
        try:
            clients.client("sns").publish(PhoneNumber=number, Message=text, MessageAttributes=kind)
        except (ClientError, BotoCoreError) as error:
            raise _failure(error, _NEVER_BY_SMS) from None

    def send_email(self, address: str, subject: str, text: str) -> None:
        """Send a plain text mail."""
        content = {"Simple": {"Subject": _utf8(subject), "Body": {"Text": _utf8(text)}}}
        try:
            clients.client("sesv2").send_email(
                FromEmailAddress=self.sender, Destination={"ToAddresses": [address]}, Content=content
            )
        except (ClientError, BotoCoreError) as error:
            raise _failure(error, _NEVER_BY_EMAIL) from None


def _failure(error: ClientError | BotoCoreError, never: frozenset[str]) -> Undeliverable | Unreachable:
    """Say whether another try may help. The service's own message quotes the address; only its code leaves here."""
    if not isinstance(error, ClientError):
        return Unreachable(f"the network cannot be reached: {type(error).__name__}")
    code = error.response["Error"]["Code"]
    if code in never:
        return Undeliverable(f"the network refuses it: {code}")
    return Unreachable(f"the network fails: {code}")


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}

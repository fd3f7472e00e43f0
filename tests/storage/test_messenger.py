"""What the network says of a message: never, or not now. Its own words, which quote the address, go no further."""

from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from chalicelib.services.ports import Undeliverable, Unreachable
from chalicelib.storage import clients
from chalicelib.storage.messenger import AwsMessenger

NUMBER, ADDRESS = "+4915123456789", "alice@example.com"


class Refusing:
    """An SNS and SES that fail every call."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def publish(self, **_: Any) -> None:
        raise self.error

    def send_email(self, **_: Any) -> None:
        raise self.error


def said(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"{NUMBER} {ADDRESS}"}}, "Publish")


@pytest.mark.parametrize(
    ("error", "as_what"),
    [
        (said("OptedOut"), Undeliverable),
        (said("Throttling"), Unreachable),
        (said("InternalError"), Unreachable),
        (EndpointConnectionError(endpoint_url="https://sns.example"), Unreachable),
    ],
    ids=["opted out", "throttled", "failing", "gone"],
)
def test_an_sms_fails_for_good_or_for_now(
    error: ClientError | BotoCoreError, as_what: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "client", lambda _: Refusing(error))
    with pytest.raises(as_what) as raised:
        AwsMessenger("codes@example.com").send_sms(NUMBER, "text")
    assert NUMBER not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("code", "as_what"), [("MessageRejected", Undeliverable), ("TooManyRequestsException", Unreachable)]
)
def test_a_mail_fails_for_good_or_for_now(code: str, as_what: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "client", lambda _: Refusing(said(code)))
    with pytest.raises(as_what) as raised:
        AwsMessenger("codes@example.com").send_email(ADDRESS, "subject", "text")
    assert ADDRESS not in str(raised.value)

"""The world outside: messages captured by the emulator, webhooks and notifications received."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from infra.local.authority import Authority, client_context, server_context
from infra.local.emulator import Emulator
from infra.local.inbox import Inbox
from tests.infra.local.conftest import REGION


@pytest.fixture(scope="module")
def inbox(emulator: Emulator, authority: Authority) -> Iterator[Inbox]:
    inbox = Inbox(emulator.port, server_context(authority.issue_server("inbox")))
    inbox.start()
    yield inbox
    inbox.stop()


def read(inbox: Inbox, path: str) -> Any:
    connection = http.client.HTTPConnection(inbox.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return json.loads(body) if response.status == 200 else response.status
    finally:
        connection.close()


def post(inbox: Inbox, authority: Authority, path: str, body: bytes, **headers: str) -> int:
    connection = http.client.HTTPSConnection(
        inbox.receiving_url.removeprefix("https://"), context=client_context(authority.cert), timeout=10
    )
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        return 0
    finally:
        connection.close()


def test_text_messages_are_listed_oldest_first_for_their_number_only(inbox: Inbox, emulator: Emulator) -> None:
    sns = emulator.client("sns", REGION)
    try:
        for body in ("first", "second"):
            sns.publish(PhoneNumber="+447700900123", Message=body)
        sns.publish(PhoneNumber="+447700900124", Message="another's")
    finally:
        sns.close()
    for asked in ("+447700900123", "%2B447700900123", "tel:+447700900123"):
        messages = read(inbox, f"/messages?to={asked}")
        assert [message["body"] for message in messages] == ["first", "second"]
        assert {(message["channel"], message["to"]) for message in messages} == {("sms", "+447700900123")}
        assert messages == sorted(messages, key=lambda message: message["at"])
    assert read(inbox, "/messages?to=%2B447700900199") == []


def test_mail_is_listed_from_every_region_whatever_the_encoding(inbox: Inbox, emulator: Emulator) -> None:
    for region, body in ((REGION, "from here"), ("us-east-1", "from there")):
        ses = emulator.client("sesv2", region)
        try:
            ses.create_email_identity(EmailIdentity="gp.example")
            ses.send_email(
                FromEmailAddress="codes@gp.example",
                Destination={"ToAddresses": ["alice+tag@example.org"]},
                Content={"Simple": {"Subject": {"Data": "Code"}, "Body": {"Text": {"Data": body}}}},
            )
        finally:
            ses.close()
    for asked in ("alice+tag@example.org", quote("alice+tag@example.org", safe=""), "Alice+tag@EXAMPLE.org"):
        messages = read(inbox, f"/messages?to={asked}")
        assert [message["body"] for message in messages] == ["from here", "from there"]
        assert set(messages[0]) == {"channel", "to", "body", "at"}
        assert messages[0]["channel"] == "email"


def test_deliveries_are_kept_as_received(inbox: Inbox, authority: Authority) -> None:
    body = '{"type":"webhook.test",  "é":1}'
    assert post(inbox, authority, "/alpha", body.encode(), **{"Webhook-Id": "evt_1"}) == 204
    assert post(inbox, authority, "/alpha/any/where?status=503", b"{}") == 503
    assert post(inbox, authority, "/observer", b"[]") == 204
    first, second = read(inbox, "/webhooks?ap=alpha")
    assert (first["body"], first["headers"]["webhook-id"]) == (body, "evt_1")
    assert second["body"] == "{}"
    assert first["at"] <= second["at"]
    assert [each["body"] for each in read(inbox, "/notifications?gp=observer")] == ["[]"]
    assert read(inbox, "/webhooks?ap=beta") == []


def test_what_is_too_large_or_nameless_is_refused(inbox: Inbox, authority: Authority) -> None:
    assert post(inbox, authority, "/gamma", b"x" * (1024 * 1024 + 1)) == 413
    assert post(inbox, authority, "/", b"x") == 404
    assert post(inbox, authority, "/gamma?status=99", b"x") == 400
    assert read(inbox, "/webhooks") == 404
    assert read(inbox, "/elsewhere?to=1") == 404

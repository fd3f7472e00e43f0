"""What leaves the house: messages, webhooks, alarms. Nothing here goes anywhere; it is kept to be looked at."""

import dataclasses
import re

from chalicelib.protocol.glados.webhooks import check_url
from chalicelib.services.ports import Undeliverable, Unreachable
from tests.fakes.faults import Fake, Faults, fallible, require


@dataclasses.dataclass(frozen=True)
class Message:
    """An SMS (without a subject) or an e-mail, as it was handed to the network."""

    to: str
    text: str
    subject: str | None = None

    @property
    def code(self) -> str:
        """The only run of six digits in the text."""
        (code,) = re.findall(r"(?<!\d)\d{6}(?!\d)", self.text.splitlines()[0])
        return str(code)


class MemoryMessenger(Fake):
    """An inbox for everybody; to addresses in `undeliverable` the network says never."""

    port = "messenger"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.inbox: list[Message] = []
        self.undeliverable: set[str] = set()

    @fallible
    def send_sms(self, number: str, text: str) -> None:
        require(re.fullmatch(r"\+[1-9]\d{4,14}", number) is not None, "an SMS to something that is no number")
        self._send(Message(number, text))

    @fallible
    def send_email(self, address: str, subject: str, text: str) -> None:
        require(address.isascii() and address.count("@") == 1, "mail to something that is no address")
        require("\n" not in subject, "a subject of two lines")
        self._send(Message(address, text, subject))

    def to(self, address: str) -> list[Message]:
        """Return what an address was sent, in order."""
        return [message for message in self.inbox if message.to == address]

    def _send(self, message: Message) -> None:
        require(bool(message.text), "a message that says nothing")
        if message.to in self.undeliverable:
            raise Undeliverable
        self.inbox.append(message)


@dataclasses.dataclass(frozen=True)
class Post:
    """One request to a webhook."""

    url: str
    headers: dict[str, str]
    body: bytes


class MemoryWebhooks(Fake):
    """Endpoints that answer as scripted, then 200; None stands for no answer at all."""

    port = "webhook_sender"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.posts: list[Post] = []
        self._script: dict[str, list[int | None]] = {}

    def script(self, url: str, *statuses: int | None) -> None:
        """Say how the next posts to `url` are answered."""
        self._script.setdefault(url, []).extend(statuses)

    @fallible
    def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        check_url(url)
        self.posts.append(Post(url, dict(headers), body))
        script = self._script.get(url)
        status = script.pop(0) if script else 200
        if status is None:
            raise Unreachable
        return status


class MemoryAlarms(Fake):
    """Every alarm raised, in order, as (name, about)."""

    port = "alarms"

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.raised: list[tuple[str, str]] = []

    @fallible
    def raise_(self, name: str, about: str) -> None:
        require(not re.search(r"[@+:]|\d{6}", about), "an alarm that may name a person")
        self.raised.append((name, about))

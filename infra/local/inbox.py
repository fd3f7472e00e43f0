"""The world outside: people's phones and mailboxes, and the endpoints of application providers and peers.

Two listeners in the process that runs the others. Scripts read over plain HTTP what was received; providers
post webhooks and notifications over TLS, to a path whose first segment names the receiver.
"""

import datetime
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import parseaddr
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from infra.local.http1 import Connection, ConnectionEnded, Request, RequestRefused, Timeouts
from infra.local.listener import Listener, reserve_port
from infra.local.problems import MEDIA_TYPE, GatewayProblem

BODY_LIMIT = 1024 * 1024
KEPT_PER_NAME = 10_000
MAX_NAMES = 256
EMULATOR_SECONDS = 10.0

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STATUS = re.compile(r"[2-5][0-9]{2}")

Answer = tuple[int, object]


class Inbox:
    """Records what providers send to the world, and shows it.

    Per name the newest 10,000 deliveries are kept.
    """

    def __init__(self, emulator_port: int, context: ssl.SSLContext) -> None:
        self._emulator_port = emulator_port
        self._received: dict[str, deque[dict[str, object]]] = {}
        self._first_seen: dict[str, float] = {}
        self._lock = threading.Lock()
        self._reading = Listener(reserve_port(), lambda sock: _serve(sock, self._read))
        self._receiving = Listener(reserve_port(), lambda sock: _serve(sock, self._receive), context)
        self.url = f"http://127.0.0.1:{self._reading.port}"
        self.receiving_url = f"https://127.0.0.1:{self._receiving.port}"

    def start(self) -> None:
        """Begin to listen."""
        self._reading.start()
        self._receiving.start()

    def stop(self) -> None:
        """Stop listening."""
        self._reading.stop()
        self._receiving.stop()

    def _receive(self, request: Request) -> Answer:
        """Record a delivery; answer 204, or the status that its URL asks for."""
        path, _, query = request.target.partition("?")
        name = path.split("/")[1]
        if request.method != "POST" or not _NAME.fullmatch(name):
            return 404, None
        delivery: dict[str, object] = {
            "headers": {field: ", ".join(values) for field, values in request.headers.items()},
            "body": request.body.decode("utf-8", "replace"),
            "at": _moment(time.time()),
        }
        with self._lock:
            if name not in self._received and len(self._received) >= MAX_NAMES:
                return 404, None
            self._received.setdefault(name, deque(maxlen=KEPT_PER_NAME)).append(delivery)
        status = parse_qs(query).get("status", ["204"])[-1]
        return (int(status), None) if _STATUS.fullmatch(status) else (400, None)

    def _read(self, request: Request) -> Answer:
        """Show what was received, oldest first."""
        path, _, query = request.target.partition("?")
        asked = dict(pair.partition("=")[::2] for pair in query.split("&"))
        match request.method, path:
            case "GET", "/messages" if "to" in asked:
                return 200, self._messages(_address(asked["to"]))
            case "GET", "/webhooks" if "ap" in asked:
                return 200, self._deliveries(asked["ap"])
            case "GET", "/notifications" if "gp" in asked:
                return 200, self._deliveries(asked["gp"])
        return 404, None

    def _deliveries(self, name: str) -> list[dict[str, object]]:
        with self._lock:
            return list(self._received.get(name, ()))

    def _messages(self, to: str) -> list[dict[str, object]]:
        if "@" in to:
            messages = [
                (float(mail["Timestamp"]), "email", mail["BodyText"] or mail["BodyHtml"] or "")
                for mails in self._emulated("/_ministack/ses/messages")["messages"].values()
                for mail in mails
                if any(parseaddr(receiver)[1].lower() == to.lower() for receiver in mail["To"])
            ]
        else:
            texts = self._emulated(f"/_ministack/sns/sms-messages?phoneNumber={quote(to, safe='')}")
            messages = [
                (self._seen(text["MessageId"]), "sms", text["Message"]) for text in texts["sms_messages"].get(to, ())
            ]
        messages.sort(key=lambda message: message[0])
        return [{"channel": channel, "to": to, "body": body, "at": _moment(at)} for at, channel, body in messages]

    def _seen(self, message_id: str) -> float:
        """Return when a text message was first looked at: the emulator does not say when it was sent."""
        with self._lock:
            return self._first_seen.setdefault(message_id, time.time())

    def _emulated(self, path: str) -> Any:
        """Ask the emulator what it captured; a connection each time, for there is nothing to keep alive."""
        connection = http.client.HTTPConnection("127.0.0.1", self._emulator_port, timeout=EMULATOR_SECONDS)
        try:
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()


def _serve(sock: socket.socket, answer: Callable[[Request], Answer]) -> None:
    """Answer the requests of one connection."""
    connection = Connection(sock, BODY_LIMIT, Timeouts())
    try:
        while True:
            request = connection.read_request()
            try:
                status, content = answer(request)
            except (OSError, http.client.HTTPException):
                status, content = 502, None  # The emulator is gone.
            body = b"" if content is None else json.dumps(content).encode()
            headers = [("Content-Type", "application/json")] if body else []
            connection.send_response(status, headers, body, method=request.method, keep_alive=request.keeps_alive)
            if not request.keeps_alive:
                return
    except RequestRefused as refusal:
        _refuse(connection, refusal.problem)
    except ConnectionEnded:
        pass  # Both sides know.


def _refuse(connection: Connection, problem: GatewayProblem) -> None:
    try:
        connection.send_response(problem.status, [("Content-Type", MEDIA_TYPE)], problem.document(""), keep_alive=False)
        connection.drain()
    except ConnectionEnded:
        pass  # It need not wait for its refusal.


def _address(text: str) -> str:
    """Return the address that a query names; `+` stands for itself, percent-encoded or not."""
    address = unquote(text)
    return address.removeprefix("tel:").removeprefix("mailto:")


def _moment(seconds: float) -> str:
    """Return a time as RFC 3339 with milliseconds, in UTC."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

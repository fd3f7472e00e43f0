"""API Gateway on one machine: HTTPS in, Lambda proxy events to one Chalice application, answers out.

One `Gateway` serves both domains of a stage. On the main listener every client has shown a certificate of
the development authority, which the event carries as API Gateway's does; on the public one there is none and
the application must notice. AWS's limits hold here too, so that what works here works there.

An integration that outlives its 29 seconds is answered for by a watchdog. Each exchange stands in a dictionary
until someone takes it out in order to answer: the connection's thread or the watchdog, and only one of them
finds it there. The application's thread itself cannot be stopped and runs on; its answer is dropped.
"""

import contextlib
import logging
import socket
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalice import Chalice

from infra.local.http1 import Connection, ConnectionEnded, Request, RequestRefused, Timeouts
from infra.local.invocation import LambdaContext, isolate_threads, where
from infra.local.listener import Listener
from infra.local.problems import MEDIA_TYPE, GatewayProblem
from infra.local.proxy import Answer, NotAnAnswer, ProxyIntegration, identity_of, is_longer
from infra.local.routes import RouteTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """AWS's bounds: body and integration time of API Gateway, event and response of Lambda."""

    body: int = 10 * 1024 * 1024
    payload: int = 6 * 1024 * 1024
    integration_seconds: float = 29.0


class Gateway:
    """Turns requests into Lambda proxy events for `app`, and what it returns into answers.

    `access_log` is called with one line per request: method, route, status and milliseconds, nothing else.
    """

    def __init__(
        self,
        app: Chalice,
        stage: str,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        access_log: Callable[[str], object] = sys.stdout.write,
    ) -> None:
        isolate_threads(app)
        self._app = app
        self._function_name = f"{stage}-APIHandler"
        self._limits = limits or Limits()
        self._timeouts = timeouts or Timeouts()
        self._access_log = access_log
        self._routes = RouteTable(app.routes)
        self._proxy = ProxyIntegration(stage, app.api.binary_types)
        # What the application is working on: request id -> connection, deadline.
        self._exchanges: dict[str, tuple[Connection, float]] = {}
        self._stopping = threading.Event()
        self._listeners: list[Listener] = []
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watchdog.start()

    def listen(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Serve connections to `sock` from now on; whether a certificate is needed is `context`'s matter."""
        listener = Listener(sock, self._serve, context)
        self._listeners.append(listener)
        listener.start()

    def stop(self) -> None:
        """Stop listening; requests in flight are still answered if that takes a few seconds only."""
        self._stopping.set()
        for listener in self._listeners:
            listener.stop()
        self._watchdog.join()

    def _serve(self, sock: socket.socket) -> None:
        """Answer the requests of one connection, in order, until either side ends it."""
        connection = Connection(sock, self._limits.body, self._timeouts)
        identity = identity_of(sock)
        try:
            while not self._stopping.is_set():
                request = connection.read_request()
                if not self._exchange(connection, request, identity):
                    break
            connection.drain()
        except RequestRefused as refusal:
            self._refuse(connection, refusal)
        except ConnectionEnded:
            pass  # Both sides know.

    def _refuse(self, connection: Connection, refusal: RequestRefused) -> None:
        answer = _problem(refusal.problem, str(uuid.uuid4()), refusal.detail)
        self._access_log(f"- - {answer.status} 0.0 ms\n")
        with contextlib.suppress(ConnectionEnded):  # It need not wait for its refusal.
            connection.send_response(answer.status, answer.headers, answer.body, keep_alive=False)
            connection.drain()

    def _exchange(self, connection: Connection, request: Request, identity: dict[str, Any]) -> bool:
        """Answer one request; return whether the connection goes on."""
        began = time.monotonic()
        request_id = str(uuid.uuid4())
        keep_alive = request.keeps_alive
        self._exchanges[request_id] = (connection, began + self._limits.integration_seconds)
        route, answer = self._integrate(request, request_id, identity)
        # Taking the exchange is the right to answer: without it, the watchdog has answered already.
        in_time = self._exchanges.pop(request_id, None) is not None
        status = answer.status if in_time else GatewayProblem.INTEGRATION_TIMEOUT.status
        milliseconds = (time.monotonic() - began) * 1000
        self._access_log(f"{request.method} {route} {status} {milliseconds:.1f} ms\n")
        if in_time:
            connection.send_response(status, answer.headers, answer.body, method=request.method, keep_alive=keep_alive)
        return in_time and keep_alive

    def _integrate(self, request: Request, request_id: str, identity: dict[str, Any]) -> tuple[str, Answer]:
        """Find the route, invoke the application, and return both the route and what to answer."""
        matched = self._routes.match(request.target.partition("?")[0])
        if matched is None:
            return "-", _problem(GatewayProblem.NOT_FOUND, request_id)
        route, parameters = matched
        event = self._proxy.event(request, request_id=request_id, route=route, parameters=parameters, identity=identity)
        if is_longer(event, self._limits.payload):
            return route, _problem(GatewayProblem.BODY_TOO_LARGE, request_id)
        context = LambdaContext(self._function_name, self._limits.integration_seconds, request_id)
        try:
            response = self._app(event, context)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever ends a function, its caller is answered
            logger.error("%s raised %s", self._function_name, where(error))  # noqa: TRY400 - see `where`
            return route, _problem(GatewayProblem.INTERNAL_ERROR, request_id)
        try:
            answer = self._proxy.answer(request, response, request_id)
        except NotAnAnswer as error:
            logger.error("%s: %s", self._function_name, error)  # noqa: TRY400 - its cause may quote the answer
            return route, _problem(GatewayProblem.BAD_INTEGRATION, request_id)
        if is_longer(response, self._limits.payload):
            logger.error("%s: the response is longer than Lambda passes on", self._function_name)
            return route, _problem(GatewayProblem.BAD_INTEGRATION, request_id)
        return route, answer

    def _watch(self) -> None:
        """Answer for integrations that are past their time, until the gateway stops."""
        while not self._stopping.wait(min(0.25, self._limits.integration_seconds / 4)):
            now = time.monotonic()
            for request_id, (connection, deadline) in list(self._exchanges.items()):
                if deadline > now or self._exchanges.pop(request_id, None) is None:
                    continue
                answer = _problem(GatewayProblem.INTEGRATION_TIMEOUT, request_id)
                with contextlib.suppress(ConnectionEnded):  # The client may have given up before.
                    connection.send_response(answer.status, answer.headers, answer.body, keep_alive=False)


def _problem(problem: GatewayProblem, request_id: str, detail: str | None = None) -> Answer:
    headers = [("Content-Type", MEDIA_TYPE), ("X-Request-Id", request_id)]
    return Answer(problem.status, headers, problem.document(request_id, detail))

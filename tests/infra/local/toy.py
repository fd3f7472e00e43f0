"""An application with one of everything that the local run must serve, for the tests beside it."""

# mypy: disable-error-code="untyped-decorator"

import sys
import threading
import time
from typing import Any

from chalice import Blueprint, Chalice, Response

never = threading.Event()
inside_slow = threading.Event()
finish_slow = threading.Event()
both_inside = threading.Barrier(2, timeout=10)
received: list[list[str]] = []
refuse_messages = threading.Event()
ticks: list[float] = []
tick_lasts = threading.Event()
ticks_inside: list[int] = [0, 0]  # Running now, most at once.


class ToyApp(Chalice):  # type: ignore[misc]  # Chalice is untyped.
    """Has a `__call__` of its own, as the real application does."""

    def __call__(self, event: Any, context: Any) -> Any:
        """Mark each answer."""
        response = super().__call__(event, context)
        response["headers"]["X-Toy"] = "yes"
        return response


app = ToyApp(app_name="toy")
blueprint = Blueprint(__name__)


@app.route("/who")
def who() -> Any:
    return app.current_request.context


@app.route("/echo/{word}", methods=["POST"])
def echo(word: str) -> Any:
    request = app.current_request
    return {"word": word, "length": len(request.raw_body), "query": dict(request.query_params or {})}


@app.route("/meet/{name}")
def meet(name: str) -> Any:
    both_inside.wait()
    return {"named": name, "requested": app.current_request.uri_params["name"]}


@app.route("/slow")
def slow() -> Any:
    inside_slow.set()
    finish_slow.wait(20)
    return {}


@app.route("/redirect", methods=["GET", "POST"])
def redirect() -> Any:
    return Response("", headers={"Location": "https://127.0.0.1/there"}, status_code=307)


@app.route("/nothing", methods=["DELETE"])
def nothing() -> Any:
    return Response("", status_code=204)


@app.route("/bytes")
def octets() -> Any:
    return Response(bytes(range(256)), headers={"Content-Type": "application/octet-stream"})


@app.route("/upload", methods=["POST"], content_types=["application/octet-stream"])
def upload() -> Any:
    return {"sum": sum(app.current_request.raw_body)}


@app.route("/large/{size}")
def large(size: str) -> Any:
    return Response("x" * int(size))


@app.route("/split")
def split() -> Any:
    return Response("", headers={"X-Bad": "one\rTwo: three"})


@app.route("/exit")
def leave() -> Any:
    sys.exit(3)


@blueprint.route("/name")
def name() -> Any:
    return {"app": blueprint.current_app.app_name}


@blueprint.on_sqs_message(queue="toy-work", batch_size=15)
def work(event: Any) -> None:
    received.append([record.body for record in event])
    if refuse_messages.is_set():
        raise RuntimeError("refused: " + received[-1][0])


@app.schedule("rate(1 minute)")
def tick(event: Any) -> None:
    ticks_inside[0] += 1
    ticks_inside[1] = max(ticks_inside)
    ticks.append(time.monotonic())
    if tick_lasts.is_set():
        never.wait(0.25)
    ticks_inside[0] -= 1


app.register_blueprint(blueprint, url_prefix="/blue")

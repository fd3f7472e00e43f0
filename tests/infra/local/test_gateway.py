"""The gateway over real mutual TLS: who gets in, what the application sees, and where the limits are."""

import concurrent.futures
import contextlib
import http.client
import json
import logging
import socket
import ssl
from typing import Any

import pytest

from infra.local.authority import Authority, client_context, server_context
from infra.local.gateway import Gateway
from infra.local.listener import reserve_port
from tests.infra.local import toy
from tests.infra.local.conftest import Doors, problem

HOST = b"Host: 127.0.0.1\r\n"


def call_with(context: ssl.SSLContext, port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def status_and_body(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def test_the_main_listener_refuses_a_client_without_a_certificate(doors: Doors) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        call_with(doors.trusting(), doors.main, "/who")


def test_the_main_listener_refuses_a_certificate_of_another_authority(doors: Doors, tmp_path: Any) -> None:
    foreign = Authority(tmp_path, name="GLADOS development authority").issue_client("alice")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        call_with(client_context(doors.ca, foreign), doors.main, "/who")


def test_the_main_listener_refuses_a_server_certificate(doors: Doors, authority: Authority) -> None:
    server = authority.issue_server("not-a-client")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        call_with(doors.trusting(server), doors.main, "/who")


def test_the_event_carries_the_client_certificate_as_api_gateway_does(doors: Doors) -> None:
    _, context = call_with(doors.trusting(doors.alice), doors.main, "/who")
    certificate = context["identity"]["clientCert"]
    assert certificate["clientCertPem"] == doors.alice.cert.read_text()
    assert certificate["subjectDN"] == "CN=alice"
    assert certificate["issuerDN"] == "CN=GLADOS development authority"
    assert set(certificate) == {"clientCertPem", "subjectDN", "issuerDN", "serialNumber", "validity"}
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert len(context["requestId"]) == 36


def test_the_public_listener_shows_no_certificate_even_if_the_client_has_one(doors: Doors) -> None:
    for context in (doors.trusting(), doors.trusting(doors.alice)):
        status, seen = call_with(context, doors.public, "/who")
        assert status == 200
        assert "clientCert" not in seen["identity"]


def test_two_threads_see_their_own_request(doors: Doors) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: json.loads(doors.call("GET", f"/meet/{name}")[1]), ["alice", "bob"]))
    assert answers == [{"named": name, "requested": name} for name in ("alice", "bob")]


def test_an_overridden_call_of_the_application_stays_in_force(doors: Doors) -> None:
    response, body = doors.call("GET", "/blue/name")
    assert (response.status, json.loads(body)) == (200, {"app": "toy"})
    assert response.getheader("X-Toy") == "yes"


def test_a_connection_serves_many_requests(doors: Doors) -> None:
    connection = doors.connect()
    try:
        connection.connect()
        sock = connection.sock
        for number in range(5):
            connection.request("POST", f"/echo/{number}?a=1&a=2&b", b"x" * number, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            assert (answer["word"], answer["length"]) == (str(number), number)
            assert answer["query"] == {"a": "2", "b": ""}
            assert connection.sock is sock
    finally:
        connection.close()


def test_pipelined_requests_are_answered_in_order(doors: Doors) -> None:
    one = b"POST /echo/%s HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 2\r\n"
    answer = doors.send_raw(one % b"one" + b"\r\n{}" + one % b"two" + b"Connection: close\r\n\r\n{}")
    assert answer.index(b'"word":"one"') < answer.index(b'"word":"two"')


def test_a_redirect_arrives_as_it_was_made(doors: Doors) -> None:
    response, body = doors.call("GET", "/redirect")
    assert (response.status, response.getheader("Location"), body) == (307, "https://127.0.0.1/there", b"")


def test_an_answer_without_content_has_no_length(doors: Doors) -> None:
    response, body = doors.call("DELETE", "/nothing")
    assert (response.status, response.getheader("Content-Length"), body) == (204, None, b"")


def test_bytes_travel_both_ways(doors: Doors) -> None:
    _, body = doors.call("GET", "/bytes", Accept="application/octet-stream")
    assert body == bytes(range(256))
    _, body = doors.call("POST", "/upload", bytes(range(256)), Content_Type="application/octet-stream")
    assert json.loads(body) == {"sum": sum(range(256))}


def test_an_unknown_path_is_a_problem_document(doors: Doors) -> None:
    response, body = doors.call("GET", "/nowhere/at/all?x=1")
    document = problem(body)
    assert (response.status, document["type"]) == (404, "urn:glados:problem:not-found")
    assert response.getheader("Content-Type") == "application/problem+json"
    assert response.getheader("X-Request-Id") == document["request_id"]


def test_an_unknown_method_is_the_applications_matter(doors: Doors) -> None:
    response, _ = doors.call("DELETE", "/who")
    assert (response.status, response.getheader("X-Toy")) == (405, "yes")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /who HTTP/1.1\r\n\r\n",
        b"GET /who HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /who HTTP/1.0\r\n" + HOST + b"\r\n",
        b"GET who HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET https://127.0.0.1/who HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET  /who HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /who#part HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /who HTTP/1.1\r\n" + HOST + b" folded: yes\r\n\r\n",
        b"GET /who HTTP/1.1\r\n" + HOST + b"Space : before\r\n\r\n",
        b"GET /who HTTP/1.1\r\n" + HOST + b"Bare: line\nfeed\r\n\r\n",
        b"GET /who HTTP/1.1\r\n" + HOST + b"Null: \0\r\n\r\n",
        b"\r\nGET /who HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: +2\r\n\r\n{}",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 2, 2\r\n\r\n{}",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2;ext=1\r\n{}\r\n0\r\n\r\n",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Expect: magic\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused_and_the_connection_closed(doors: Doors, request_bytes: bytes) -> None:
    status, body = status_and_body(doors.send_raw(request_bytes))
    assert (status, problem(body)["type"]) == (400, "urn:glados:problem:malformed-request")


def test_a_chunked_body_is_put_together(doors: Doors) -> None:
    head = b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    _, body = status_and_body(doors.send_raw(head + b"3\r\nabc\r\n", b"0A\r\n0123456789\r\n", b"0\r\n\r\n"))
    assert json.loads(body)["length"] == 13


def test_a_client_that_asks_first_is_told_to_go_on(doors: Doors) -> None:
    head = (
        b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    answer = doors.send_raw(head, b"{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_header_section_may_have_10240_bytes_and_no_more(doors: Doors) -> None:
    head = b"GET /who HTTP/1.1\r\n" + HOST + b"Connection: close\r\nX-Filler: "
    filler = b"a" * (10_240 - len(head) - 4)
    assert status_and_body(doors.send_raw(head + filler + b"\r\n\r\n"))[0] == 200
    status, body = status_and_body(doors.send_raw(head + filler + b"a\r\n\r\n"))
    assert (status, problem(body)["type"]) == (431, "urn:glados:problem:malformed-request")


@pytest.mark.parametrize("size", [6 * 1024 * 1024, 10 * 1024 * 1024 + 1])
def test_a_body_that_lambda_or_api_gateway_would_not_take_is_refused(doors: Doors, size: int) -> None:
    response, body = doors.call("POST", "/echo/a", b"x" * size, Content_Type="application/json")
    assert (response.status, problem(body)["type"]) == (413, "urn:glados:problem:body-too-large")


@pytest.mark.parametrize(("size", "status"), [(10 * 1024 * 1024, 408), (10 * 1024 * 1024 + 1, 413)])
def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(hasty: Doors, size: int, status: int) -> None:
    head = b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size
    assert status_and_body(hasty.send_raw(head))[0] == status


def test_a_body_just_below_lambdas_limit_is_taken(doors: Doors) -> None:
    size = 6 * 1024 * 1024 - 10_000
    response, body = doors.call("POST", "/echo/a", b"x" * size, Content_Type="application/json")
    assert (response.status, json.loads(body)["length"]) == (200, size)


def test_a_response_longer_than_lambda_passes_on_is_a_502(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        response, body = doors.call("GET", f"/large/{6 * 1024 * 1024}")
    assert (response.status, problem(body)["type"]) == (502, "urn:glados:problem:internal-error")


def test_a_response_header_with_a_line_break_is_a_502(doors: Doors) -> None:
    response, body = doors.call("GET", "/split")
    assert (response.status, problem(body)["type"]) == (502, "urn:glados:problem:internal-error")
    assert response.getheader("Two") is None


def test_an_integration_past_its_time_is_a_504_and_its_late_answer_is_dropped(hasty: Doors) -> None:
    toy.finish_slow.clear()
    connection = hasty.connect()
    try:
        connection.request("GET", "/slow")
        response = connection.getresponse()
        document = problem(response.read())
        assert (response.status, document["type"]) == (504, "urn:glados:problem:timeout")
        connection.connect()
        connection.request("GET", "/blue/name")
        assert connection.getresponse().status == 200
    finally:
        toy.finish_slow.set()
        connection.close()


def test_a_function_that_exits_is_answered_for(doors: Doors) -> None:
    response, body = doors.call("GET", "/exit")
    assert (response.status, problem(body)["type"]) == (500, "urn:glados:problem:internal-error")


def test_a_request_in_flight_is_answered_before_the_gateway_stops(doors: Doors, authority: Authority) -> None:
    gateway = Gateway(toy.app, "toy", access_log=lambda _: None)
    sock = reserve_port()
    port = sock.getsockname()[1]
    gateway.listen(sock, server_context(authority.issue_server("short-lived"), client_ca=authority.cert))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        toy.inside_slow.clear()
        toy.finish_slow.clear()
        first = pool.submit(call_with, doors.trusting(doors.alice), port, "/slow")
        assert toy.inside_slow.wait(10)
        idle = http.client.HTTPSConnection("127.0.0.1", port, context=doors.trusting(doors.alice), timeout=10)
        idle.request("GET", "/blue/name")
        idle.getresponse().read()
        stopping = pool.submit(gateway.stop)
        with idle.sock:
            assert idle.sock.recv(1) == b""
        toy.finish_slow.set()
        assert first.result()[0] == 200
        stopping.result()


@pytest.mark.parametrize(
    "beginning", [b"GET /who HT", b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{}"]
)
def test_a_request_that_does_not_arrive_in_time_is_given_up(hasty: Doors, beginning: bytes) -> None:
    status, body = status_and_body(hasty.send_raw(beginning))
    assert (status, problem(body)["type"]) == (408, "urn:glados:problem:timeout")


def test_a_request_that_trickles_in_is_given_up_although_it_never_pauses_for_long(hasty: Doors) -> None:
    with (
        socket.create_connection(("127.0.0.1", hasty.main), timeout=10) as raw,
        hasty.trusting(hasty.alice).wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        sock.settimeout(0.05)
        sock.sendall(b"GET /who HTTP/1.1\r\nX-Slow: ")
        for _ in range(100):
            sock.sendall(b"a")
            with contextlib.suppress(TimeoutError):  # The pause between two bytes.
                assert status_and_body(sock.recv(65_536))[0] == 408
                break
        else:
            pytest.fail("the request may take forever")


def test_the_access_log_holds_method_route_status_and_time_only(doors: Doors) -> None:
    doors.log.clear()
    doors.call("POST", "/echo/secret-word?token=abc", b"{}", Content_Type="application/json")
    assert len(doors.log) == 1
    method, route, status, milliseconds, unit = doors.log[0].split()
    assert (method, route, status, unit) == ("POST", "/echo/{word}", "200", "ms")
    assert float(milliseconds) >= 0

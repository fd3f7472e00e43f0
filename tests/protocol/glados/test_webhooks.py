"""Webhooks: signed as the standard says, sent on schedule, and nowhere but to the open Internet."""

import datetime
import ipaddress
import json

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import InvalidValue
from chalicelib.protocol.glados.webhooks import (
    SECRET_BYTES,
    check_url,
    headers,
    is_public,
    next_attempt,
    origin_of,
    read_secret,
    write_secret,
)
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND

SECRETS = (bytes(range(SECRET_BYTES)), bytes(range(1, SECRET_BYTES + 1)))
CREATED = 1_767_225_600_000


def now() -> int:
    """The oracle compares with the real clock and takes no other."""
    return int(datetime.datetime.now(tz=datetime.UTC).timestamp())


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_the_standards_own_library_accepts_our_signature_by_either_secret(content: dict[str, object]) -> None:
    body = json.dumps(content, ensure_ascii=False).encode(errors="replace")
    signed = headers("evt_1", now(), body, SECRETS)
    for secret in SECRETS:
        assert standardwebhooks.Webhook(write_secret(secret)).verify(body, signed) == json.loads(body)


@pytest.mark.parametrize("change", ["body", "id", "time", "secret"])
def test_a_signature_covers_the_id_the_time_and_the_body(change: str) -> None:
    signed = headers("evt_1", now(), b"{}", SECRETS[:1])
    match change:
        case "id":
            signed["webhook-id"] = "evt_2"
        case "time":
            signed["webhook-timestamp"] = str(int(signed["webhook-timestamp"]) - 1)
    oracle = standardwebhooks.Webhook(write_secret(SECRETS[change == "secret"]))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        oracle.verify(b"[]" if change == "body" else b"{}", signed)


def test_a_secret_is_read_as_it_was_written() -> None:
    assert [read_secret(write_secret(secret)) for secret in SECRETS] == list(SECRETS)


# --- the schedule


def test_ten_attempts_are_made_within_a_day_each_later_than_the_one_before() -> None:
    moments = [next_attempt(CREATED, 0, CREATED) or 0]
    while (at := next_attempt(CREATED, len(moments), moments[-1])) is not None:
        moments.append(at)
    assert moments == sorted(set(moments))
    assert moments[:2] == [CREATED, CREATED + 5 * SECOND]
    assert moments[-1] == CREATED + 24 * HOUR
    assert len(moments) == 10


def test_attempts_that_come_late_keep_their_distances() -> None:
    late = CREATED + 25 * HOUR
    assert next_attempt(CREATED, 1, late) == late + 5 * SECOND
    assert next_attempt(CREATED, 9, late) == late + 4 * HOUR
    assert next_attempt(CREATED, 10, late) is None


def test_workers_that_died_do_not_shorten_the_day() -> None:
    assert next_attempt(CREATED, 12, CREATED + 12 * MINUTE) == CREATED + 30 * MINUTE


# --- where one may be sent

PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]

CLOSED = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fdff::1"],
    "link-local": ["169.254.0.1", "fe80::1", "febf::1", "fe80::1%eth0"],
    "site-local": ["fec0::1", "feff::1"],
    "metadata": ["169.254.169.254", "fd00:ec2::254"],
    "CGNAT": ["100.64.0.1", "100.127.255.254"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "::127.0.0.1", "4000::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "protocols": ["192.0.0.1", "192.0.0.170"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1"],
    "translated": ["::ffff:0:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"],
    "6to4": ["2002:7f00:1::", "2002:808:808::1", "192.88.99.1"],
    "Teredo": ["2001::1", "2001:0:808:808::1"],
    "scoped": ["2606:4700:4700::1111%eth0"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_on_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(("kind", "address"), [(kind, address) for kind in CLOSED for address in CLOSED[kind]])
def test_an_address_that_is_not_on_the_open_internet_is_closed(kind: str, address: str) -> None:
    assert not is_public(address), kind


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_as_public_as_it_is_alone(inner: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{inner}") == is_public(str(inner))
    assert is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) + int(inner)))) == is_public(str(inner))


@pytest.mark.parametrize(
    "url",
    [
        "https://alpha.example",
        "https://alpha.example/hook?a=b",
        "https://alpha.example:443/hook",
        "https://alpha.example:8443/hook",
        "HTTPS://ALPHA.EXAMPLE/hook",
        "https://8.8.8.8/hook",
        "https://[2606:4700:4700::1111]:8443/hook",
    ],
)
def test_a_plain_https_url_will_do(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "alpha.example/hook",
        "//alpha.example/hook",
        "http://alpha.example/hook",
        "ftp://alpha.example/hook",
        "https:///hook",
        "https://:443/hook",
        "https://alice@alpha.example/hook",
        "https://alice:secret@alpha.example/hook",
        "https://:secret@alpha.example/hook",
        "https://alpha.example\\@beta.example/hook",
        "https://alpha.example/hook#part",
        "https://alpha.example:80/hook",
        "https://alpha.example:0/hook",
        "https://alpha.example:99999/hook",
        "https://alpha.example:x/hook",
        "https://[::1/hook",
        "https://alpha.example/ho ok",
        " https://alpha.example/hook",
        "https://alpha.example/hook\r\nhost: beta.example",
        "https://al\tpha.example/hook",
        "https://älpha.example/hook",
        "https://127.0.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]:8443/hook",
        "https://[64:ff9b::7f00:1]/hook",
        "https://@alpha.example/hook",
        "https://:@alpha.example/hook",
        "https://a..b/hook",
        f"https://{'a' * 64}.example/hook",
        "https://localhost/hook",
        "https://127.1/hook",
        "https://2130706433/hook",
        "https://0x7f.1/hook",
        "https://%31%32%37.0.0.1/hook",
        "https://127.0.0.1./hook",
    ],
)
def test_a_url_that_is_not_plain_https_to_the_open_internet_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_url(url)
    assert refused.value.field == "url"


def test_only_the_exempt_origin_is_let_through_and_only_by_https() -> None:
    exempt = "https://127.0.0.1:9443"
    check_url(f"{exempt}/inbox", exempt)
    for url in ("https://127.0.0.1:9444/inbox", "https://127.0.0.2:9443/inbox", "http://127.0.0.1:9443/inbox"):
        with pytest.raises(InvalidValue):
            check_url(url, exempt)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://alpha.example/hook", "https://alpha.example:443"),
        ("https://ALPHA.example:8443", "https://alpha.example:8443"),
        ("https://[2606:4700::1]/", "https://[2606:4700::1]:443"),
        ("https://alpha.example:0/", "https://alpha.example:0"),
    ],
)
def test_an_origin_names_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin

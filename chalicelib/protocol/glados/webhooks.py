"""Webhooks as values: signature, schedule, and where one may be sent.

The form is that of Standard Webhooks: headers `webhook-id`, `webhook-timestamp` (seconds) and
`webhook-signature`, one `v1,` signature for each secret in force, so that a rotation overlaps.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from chalicelib.errors import InvalidValue
from chalicelib.protocol.timestamps import HOUR, MINUTE, SECOND

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
ROTATION_OVERLAP = 24 * HOUR

# When each attempt is made, counted from the event; the last is a day later.
ATTEMPTS = (
    0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR,
)  # fmt: skip

PORTS = (443, 8443)

# Labels as DNS has them, at least two, the last not a number: no short names, no addresses in disguise.
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII | re.IGNORECASE
)

# Beyond what `ipaddress` calls private: shared (CGNAT) space, translated and protocol-assignment ranges, newer
# documentation and retired site-local space, and the metadata address of EC2 over IPv6. That of IPv4 is link-local.
_CLOSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "64:ff9b:1::/48",
            "2001::/32",
            "2002::/16",
            "3fff::/20",
            "fec0::/10",
            "fd00:ec2::254/128",
        ),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def write_secret(secret: bytes) -> str:
    """Write a signing secret as its receiver configures it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """Read what `write_secret` wrote."""
    return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)


def headers(event_id: str, seconds: int, body: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """Return the three headers that sign `body`, newest secret first."""
    content = f"{event_id}.{seconds}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def next_attempt(created_at: int, attempts: int, now: int) -> int | None:
    """Return when the attempt after `attempts` ones is due (ms), or None when the schedule is done.

    Attempts that come late keep their distances. Workers that died count as attempts, and may have used them all
    up in minutes: then what is left of the day's schedule is still gone through.
    """
    if attempts >= len(ATTEMPTS):
        return next((created_at + at for at in ATTEMPTS if created_at + at > now), None)
    due = created_at + ATTEMPTS[attempts]
    return due if due > now or not attempts else now + ATTEMPTS[attempts] - ATTEMPTS[attempts - 1]


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, the port always written."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{443 if parts.port is None else parts.port}"


def is_plain(url: str) -> bool:
    """Tell whether a URL is ASCII without spaces; `urlsplit` drops what others may read as a part of it."""
    return url.isascii() and all(character > " " for character in url)


def check_url(url: str, exempt_origin: str | None = None) -> None:
    """Refuse a webhook URL that is not https on port 443 or 8443 with a plain host and no credentials.

    The address behind the name is checked at each delivery, by `is_public`, because names move. `exempt_origin`
    is the one origin that a local run lets through.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidValue("the webhook URL is malformed", "url") from error
    if parts.scheme != "https" or not parts.hostname:
        raise InvalidValue("a webhook URL begins with https:// and names a host", "url")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidValue("a webhook URL carries no credentials and no fragment", "url")
    if not is_plain(url):
        raise InvalidValue("a webhook URL is ASCII without spaces", "url")
    if exempt_origin is not None and origin_of(url) == exempt_origin:
        return
    if port is not None and port not in PORTS:
        raise InvalidValue("a webhook URL uses port 443 or 8443", "url")
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        if not _HOST_NAME.fullmatch(parts.hostname):
            raise InvalidValue("a webhook URL names a host by its full domain name", "url") from None
        return
    if not is_public(str(address)):
        raise InvalidValue("a webhook URL leads to a public address", "url")


def is_public(address: str) -> bool:
    """Tell whether an IP address is one on the open Internet, seen through the ways to write another inside it."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.scope_id is not None:
            return False
    closed = any(ip.version == network.version and ip in network for network in _CLOSED)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not closed

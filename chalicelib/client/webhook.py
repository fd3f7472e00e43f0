"""Checking that a webhook comes from the GP (Standard Webhooks, symmetric signatures)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from chalicelib.protocol.glados.webhooks import read_secret

TOLERANCE_SECONDS = 300


class InvalidWebhook(Exception):
    """The request was not signed with this secret, or not just now."""


def verify_webhook(headers: Mapping[str, str], body: bytes, secret: str, now_seconds: float) -> str:
    """Return the event's id if the signature is good and at most five minutes old; raise `InvalidWebhook`.

    A webhook may come more than once and out of order: act on an id once, and go by `data.sequence`.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, seconds = lower["webhook-id"], int(lower["webhook-timestamp"])
        signatures = lower["webhook-signature"].split(" ")
    except (KeyError, ValueError) as error:
        raise InvalidWebhook("the webhook's headers are missing or malformed") from error
    if abs(now_seconds - seconds) > TOLERANCE_SECONDS:
        raise InvalidWebhook("the webhook is too old or from the future")
    expected = hmac.digest(read_secret(secret), f"{event_id}.{seconds}.".encode() + body, hashlib.sha256)
    for signature in signatures:
        version, _, encoded = signature.partition(",")
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if version == "v1" and hmac.compare_digest(given, expected):
            return event_id
    raise InvalidWebhook("no signature of the webhook is good")

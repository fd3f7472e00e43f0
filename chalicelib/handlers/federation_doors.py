"""The federation API's doors, for other GPs (draft §8.1, §9, §10); the certificate says which GP calls."""

import re
from typing import Any, Literal

from chalicelib.errors import NotFound
from chalicelib.handlers.calls import Call, Reply
from chalicelib.handlers.routing import Door
from chalicelib.protocol.glados import federation_api as api
from chalicelib.protocol.glados.trust import Peer
from chalicelib.services.provider.publication import Link
from chalicelib.wiring import provider

door = Door(__name__)

IMMUTABLE = {"Cache-Control": "private, max-age=86400, immutable"}


@door.serve("POST", "/federation/v1/queries", "peer", takes=api.PeerQuery, gives=api.PeerMappings)
def query(call: Call[api.PeerQuery]) -> api.PeerMappings:
    """Answer a peer from local mappings alone."""
    return provider.queries().find_for_peer(call.caller_as(Peer), call.body)


@door.serve("GET", "/federation/v1/filter", "peer", gives=api.FilterAnswer)
def current_filter(_call: Call[Any]) -> api.FilterAnswer:
    """Return the current filter's manifest, head and newest deltas."""
    return provider.publication().filter()


@door.serve("GET", "/federation/v1/filter/{version}/raw", "peer", gives="application/octet-stream")
def raw_filter(call: Call[Any]) -> Reply:
    """Return a version's base as 2^N/8 bytes."""
    return _object(provider.publication().base(_version(call), "raw"))


@door.serve("GET", "/federation/v1/filter/{version}/rice", "peer", gives="application/octet-stream")
def rice_filter(call: Call[Any]) -> Reply:
    """Return a version's base gap-coded."""
    return _object(provider.publication().base(_version(call), "rice"))


@door.serve("GET", "/federation/v1/filter/{version}/deltas/{span}", "peer", gives="application/octet-stream")
def delta(call: Call[Any]) -> Reply:
    """Return what the changes FROM-TO of a version added, gap-coded."""
    span = re.fullmatch(r"(\d{1,16})-(\d{1,16})", call.parameters["span"], re.ASCII)
    if span is None:
        raise NotFound("a delta is named by its first and last seq, like 3-7")
    return _object(provider.publication().delta(_version(call), int(span[1]), int(span[2])))


@door.serve(
    "POST", "/federation/v1/subscriptions", "peer", takes=api.SubscriptionRequest, gives=api.SubscriptionAnswer,
    status=201,
)  # fmt: skip
def subscribe(call: Call[api.SubscriptionRequest]) -> api.SubscriptionAnswer:
    """Subscribe to a version's additions, and catch up."""
    return provider.publication().subscribe(call.caller_as(Peer), call.body)


@door.serve("DELETE", "/federation/v1/subscriptions/{subscription_id}", "peer", status=204)
def unsubscribe(call: Call[Any]) -> None:
    """End a subscription."""
    provider.publication().unsubscribe(call.caller_as(Peer), call.parameters["subscription_id"])


@door.serve("POST", "/federation/v1/notifications", "peer", takes=api.Notification, status=204)
def notify(call: Call[api.Notification]) -> None:
    """Take in a peer's additions."""
    provider.following().notified(call.caller_as(Peer), call.body)


@door.serve("POST", "/federation/v1/claims", "peer", takes=api.ClaimRequest, gives=api.ClaimAnswer)
def claim(call: Call[api.ClaimRequest]) -> api.ClaimAnswer:
    """Follow a choice that a user made at a peer."""
    return provider.claim_receiver().receive(call.caller_as(Peer), call.body.claim)


def _version(call: Call[Any]) -> int:
    text = call.parameters["version"]
    if not re.fullmatch(r"\d{1,16}", text, re.ASCII):
        raise NotFound("a filter version is a number")
    return int(text)


def _object(found: bytes | Link, status: Literal[307] = 307) -> Reply:
    if isinstance(found, Link):
        return Reply(None, status, {"Location": found.url})
    return Reply(found, headers={**IMMUTABLE, "Content-Type": "application/octet-stream"})

"""What a delivery service alone is built from."""

import functools

from chalicelib import config as settings
from chalicelib import wiring
from chalicelib.services.delivery.peering import Peering, calling
from chalicelib.services.delivery.state import DsPeer
from chalicelib.storage.ds_peer_client import HttpsPeerCalls
from chalicelib.storage.ds_peers import AwsDsPeers


def config() -> settings.DeliveryConfig:
    """The stage's settings, which are a delivery service's."""
    return settings.as_role(settings.DeliveryConfig, wiring.config())


@functools.cache
def ds_peers() -> AwsDsPeers:
    """The delivery services that the operator admitted."""
    return AwsDsPeers(wiring.database(), wiring.clock())


@functools.cache
def peer_calls() -> HttpsPeerCalls:
    """The other delivery services."""
    return HttpsPeerCalls(wiring.federation_secret())


def calling_peer(thumbprint: str | None) -> DsPeer:
    """The delivery service that a client certificate belongs to."""
    return calling(ds_peers(), thumbprint)


@functools.cache
def peering() -> Peering:
    """The operator's hand on peers."""
    return Peering(ds_peers(), config().ds_domain)

"""What a delivery service's peers and queues are built from."""

import functools

from chalicelib import config as settings
from chalicelib import wiring
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.services.delivery.peering import Peering, calling, known
from chalicelib.services.delivery.state import DsPeer
from chalicelib.services.fetching import Fetching
from chalicelib.services.limits import Limits
from chalicelib.services.queueing.configs import Configs
from chalicelib.services.queueing.creations import Creations
from chalicelib.services.queueing.enqueueing import Enqueueing
from chalicelib.services.queueing.limits import HubLimits
from chalicelib.services.queueing.owners import Authentication, Owners
from chalicelib.services.queueing.reading import Reading
from chalicelib.services.queueing.strangers import Strangers
from chalicelib.services.queueing.upkeep import Upkeep
from chalicelib.storage.config_keys import AwsConfigKeys
from chalicelib.storage.ds_peer_client import HttpsPeerCalls
from chalicelib.storage.ds_peers import AwsDsPeers
from chalicelib.storage.objects import Objects
from chalicelib.storage.queueing_bodies import AwsBodies
from chalicelib.storage.queueing_entries import AwsQueueEntries
from chalicelib.storage.queueing_heads import AwsQueueHeads
from chalicelib.storage.queueing_streams import AwsStreams
from chalicelib.storage.remote_bodies import AwsPieces, PeerRemoteBodies


def config() -> settings.DeliveryConfig:
    """The stage's settings, which are a delivery service's."""
    return settings.as_role(settings.DeliveryConfig, wiring.config())


def ds_domain() -> Domain:
    """The name of this delivery service."""
    return Domain(config().ds_domain)


@functools.cache
def ds_peers() -> AwsDsPeers:
    """The delivery services that the operator admitted."""
    return AwsDsPeers(wiring.database(), wiring.clock())


@functools.cache
def peer_calls() -> HttpsPeerCalls:
    """The other delivery services."""
    return HttpsPeerCalls(wiring.federation_tls())


def calling_peer(thumbprint: str | None) -> DsPeer:
    """The delivery service that a client certificate belongs to."""
    return calling(ds_peers(), thumbprint)


def known_peer(thumbprint: str | None) -> DsPeer | None:
    """The delivery service that a client certificate belongs to, if there is one."""
    return known(ds_peers(), thumbprint)


@functools.cache
def peering() -> Peering:
    """The operator's hand on peers."""
    return Peering(ds_peers(), config().ds_domain)


def pause(milliseconds: int) -> None:
    """Wait about that long, so that those who lost a race do not meet again."""
    wiring.database().sleep(milliseconds / 1000 * (1 + wiring.database().jitter()) / 2)


@functools.cache
def queue_heads() -> AwsQueueHeads:
    """The queues."""
    return AwsQueueHeads(wiring.database())


@functools.cache
def queue_entries() -> AwsQueueEntries:
    """What lies in the queues."""
    return AwsQueueEntries(wiring.database(), wiring.sealer())


@functools.cache
def bucket() -> Objects:
    """The stage's bucket."""
    return Objects(config().stage, "objects")


@functools.cache
def bodies() -> AwsBodies:
    """The messages, each stored once."""
    return AwsBodies(wiring.database(), bucket(), wiring.sealer(), wiring.digests(), wiring.clock())


@functools.cache
def queue_configs() -> Configs:
    """Queue configs, and the key that they are sealed to."""
    return Configs(AwsConfigKeys(wiring.data_keys()), ds_domain())


@functools.cache
def queue_authentication() -> Authentication:
    """Who has a queue's key; it is one for all requests, because it keeps in mind who failed to show one."""
    strangers = Strangers(wiring.buckets(), wiring.digests(), wiring.alarms(), wiring.clock())
    return Authentication(queue_heads(), strangers, wiring.clock(), ds_domain())


@functools.cache
def queue_owners() -> Owners:
    """Creating, changing and deleting queues."""
    digests, clock = wiring.digests(), wiring.clock()
    creations = Creations(Limits(wiring.buckets(), digests))
    return Owners(queue_heads(), queue_entries(), queue_authentication(), creations, digests, clock)


@functools.cache
def queue_reading() -> Reading:
    """Fetching from queues."""
    alarms, clock = wiring.alarms(), wiring.clock()
    return Reading(queue_heads(), queue_entries(), bodies(), queue_authentication(), alarms, clock, pause)


@functools.cache
def fetching() -> Fetching:
    """Fetching from peers what they only refer to."""
    pieces = AwsPieces(bucket(), wiring.digests())
    return Fetching(PeerRemoteBodies(ds_peers(), peer_calls()), pieces, wiring.clock())


@functools.cache
def enqueueing() -> Enqueueing:
    """Putting hubs' rows into queues."""
    return Enqueueing(
        queue_heads(),
        queue_entries(),
        AwsStreams(wiring.database()),
        bodies(),
        fetching(),
        queue_configs(),
        HubLimits(wiring.buckets(), wiring.alarms()),
        wiring.digests(),
        wiring.clock(),
        pause,
        ds_domain(),
    )


@functools.cache
def queue_upkeep() -> Upkeep:
    """Deleting queues that nobody uses."""
    return Upkeep(queue_heads(), queue_entries(), wiring.clock())

"""What a delivery service's groups are built from."""

import functools

from chalicelib import wiring
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.account_desk import AccountDesk
from chalicelib.services.delivery.admission import Admission
from chalicelib.services.delivery.breaker import Breaker
from chalicelib.services.delivery.commits import Commits
from chalicelib.services.delivery.creation import Creation
from chalicelib.services.delivery.desk import Desk
from chalicelib.services.delivery.directory import KeyPackageDirectory
from chalicelib.services.delivery.domains import QueueDomains
from chalicelib.services.delivery.enclosures import Enclosures
from chalicelib.services.delivery.ending import Ending
from chalicelib.services.delivery.fanout import Fanout
from chalicelib.services.delivery.information import Information
from chalicelib.services.delivery.memberships import MembershipLog
from chalicelib.services.delivery.posting import Posting
from chalicelib.services.delivery.proxy import Proxy
from chalicelib.services.delivery.recipients import Recipients
from chalicelib.services.delivery.registrations import Registrations
from chalicelib.services.delivery.removals import Removals
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.senders import Senders
from chalicelib.services.delivery.sending import Sending
from chalicelib.services.delivery.sweeping import Sweep
from chalicelib.services.delivery.upkeep import Upkeep
from chalicelib.services.delivery.uploading import Uploading
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.delivery.vouching import Vouching
from chalicelib.services.limits import Limits
from chalicelib.services.queueing.deletion import QueueDeletion
from chalicelib.storage.delivery_account_events import AwsAccountEvents
from chalicelib.storage.delivery_directory import AwsDirectory
from chalicelib.storage.delivery_garbage import AwsGarbage
from chalicelib.storage.delivery_groups import AwsGroups
from chalicelib.storage.delivery_hints import AwsFanoutHints
from chalicelib.storage.delivery_inboxes import AwsInboxes
from chalicelib.storage.delivery_keys import AwsDsKeys
from chalicelib.storage.delivery_memory import RememberedObjects
from chalicelib.storage.delivery_objects import AwsGroupObjects
from chalicelib.storage.delivery_peer_bodies import AwsPeerBodies
from chalicelib.storage.delivery_queueing import PeerQueueingServices
from chalicelib.storage.delivery_rounds import AwsRounds
from chalicelib.storage.delivery_shards import AwsShards
from chalicelib.storage.delivery_uploads import AwsUploads
from chalicelib.storage.delivery_users import AwsMemberships, AwsUsers
from chalicelib.storage.delivery_wakes import AwsWakes
from chalicelib.wiring import delivery


@functools.cache
def rows() -> AwsGroups:
    """The rows of groups."""
    return AwsGroups(wiring.database(), delivery.bucket(), wiring.sealer(), wiring.clock())


@functools.cache
def ds_keys() -> AwsDsKeys:
    """The keys of this delivery service."""
    return AwsDsKeys(wiring.data_keys(), wiring.sealer())


@functools.cache
def uploads() -> AwsUploads:
    """Large bodies on their way."""
    return AwsUploads(delivery.bucket())


@functools.cache
def users() -> AwsUsers:
    """The users that providers registered."""
    return AwsUsers(wiring.database(), wiring.data_keys(), wiring.sealer())


@functools.cache
def memberships() -> AwsMemberships:
    """In which groups users are."""
    return AwsMemberships(wiring.database(), wiring.data_keys())


@functools.cache
def directory() -> AwsDirectory:
    """The KeyPackages that clients offer."""
    return AwsDirectory(wiring.database(), wiring.data_keys(), wiring.sealer(), wiring.clock())


@functools.cache
def senders() -> Senders:
    """Who is asking."""
    return Senders(directory(), users())


@functools.cache
def objects() -> RememberedObjects:
    """The objects of groups."""
    return RememberedObjects(AwsGroupObjects(wiring.database(), delivery.bucket(), wiring.sealer(), wiring.clock()))


@functools.cache
def vault() -> Vault:
    """The states of groups."""
    return Vault(objects(), ds_keys(), wiring.entropy, delivery.config().ds_domain)


@functools.cache
def hints() -> AwsFanoutHints:
    """The fan-out queue's sending side."""
    return AwsFanoutHints(wiring.queues())


@functools.cache
def scribe() -> Scribe:
    """Makes changes true."""
    return Scribe(rows(), hints())


@functools.cache
def removals() -> Removals:
    """Removing clients on the service's own account."""
    return Removals(rows(), vault(), scribe(), wiring.alarms(), wiring.clock(), AwsInboxes(wiring.database()))


@functools.cache
def limits() -> Limits:
    """How much one user, source or peer may ask."""
    return Limits(wiring.buckets(), ds_keys())


@functools.cache
def account_events() -> AwsAccountEvents:
    """What providers said of their users."""
    return AwsAccountEvents(wiring.database(), wiring.data_keys(), wiring.sealer())


@functools.cache
def account_desk() -> AccountDesk:
    """Taking providers' word of their users."""
    return AccountDesk(
        users(),
        account_events(),
        directory(),
        memberships(),
        removals(),
        QueueDeletion(delivery.queue_heads(), delivery.queue_entries(), wiring.clock()),
        wiring.alarms(),
        wiring.clock(),
        registrations(),
        delivery.config().ds_domain,
    )


@functools.cache
def registrations() -> Registrations:
    """Whose word counts about a member."""
    return Registrations(users(), directory(), wiring.clock(), delivery.config().ds_domain)


@functools.cache
def key_packages() -> KeyPackageDirectory:
    """Publishing and claiming KeyPackages."""
    return KeyPackageDirectory(
        directory(),
        senders(),
        account_events(),
        delivery.ds_peers(),
        delivery.peer_calls(),
        limits(),
        wiring.clock(),
        delivery.config().ds_domain,
    )


@functools.cache
def uploading() -> Uploading:
    """Links to upload by, and what came by them."""
    return Uploading(uploads(), delivery.fetching(), senders(), limits(), wiring.clock())


@functools.cache
def proxy() -> Proxy:
    """Passing guests' requests on to hubs."""
    return Proxy(
        delivery.ds_peers(),
        delivery.peer_calls(),
        uploading(),
        enclosures(),
        limits(),
        wiring.clock(),
        delivery.config().ds_domain,
    )


@functools.cache
def vouching() -> Vouching:
    """Whether a client is whose it says."""
    return Vouching(
        directory(),
        delivery.ds_peers(),
        delivery.peer_calls(),
        registrations(),
        limits(),
        wiring.clock(),
        delivery.config().ds_domain,
    )


@functools.cache
def admission() -> Admission:
    """Who may come in."""
    return Admission(wiring.buckets(), ds_keys(), wiring.alarms(), wiring.clock())


@functools.cache
def desk() -> Desk:
    """Where every DSMessage arrives."""
    config = delivery.config()
    domains = QueueDomains(delivery.ds_peers(), config.ds_domain)
    return Desk(
        Creation(rows(), vault(), hints(), wiring.entropy, config.allow_no_ds_sender, domains),
        Commits(rows(), vault(), scribe(), senders(), removals(), vouching(), domains),
        Sending(rows(), vault(), scribe(), removals(), hints(), limits()),
        Information(rows(), vault(), scribe(), senders(), vouching(), uploads(), ds_keys(), domains),
        Ending(rows(), vault(), scribe()),
        key_packages(),
        uploading(),
        wiring.clock(),
        config.ds_domain,
    )


@functools.cache
def enclosures() -> Enclosures:
    """What is too large for a request to a peer."""
    return Enclosures(AwsPeerBodies(delivery.bucket(), ds_keys()), delivery.config().ds_domain)


@functools.cache
def breaker() -> Breaker:
    """Which domains did not answer this process a moment ago."""
    return Breaker(wiring.clock())


@functools.cache
def fanout() -> Fanout:
    """Delivering what groups' logs say."""
    domain = delivery.config().ds_domain
    posting = Posting(
        PeerQueueingServices(
            domain,
            lambda request: delivery.enqueueing().enqueue(request, delivery.ds_domain()),
            delivery.ds_peers(),
            delivery.peer_calls(),
        ),
        enclosures(),
        removals(),
        breaker(),
        wiring.alarms(),
        domain,
    )
    return Fanout(
        rows(),
        AwsShards(wiring.database()),
        hints(),
        Recipients(vault()),
        posting,
        MembershipLog(memberships(), account_desk().noticed),
        wiring.alarms(),
        wiring.clock(),
    )


@functools.cache
def sweep() -> Sweep:
    """Looking after groups that have something due."""
    return Sweep(
        rows(),
        AwsShards(wiring.database()),
        AwsWakes(wiring.database()),
        fanout(),
        vault(),
        removals(),
        wiring.alarms(),
        wiring.clock(),
    )


@functools.cache
def upkeep() -> Upkeep:
    """Going round all groups."""
    config, database = delivery.config(), wiring.database()
    return Upkeep(
        rows(),
        vault(),
        AwsGarbage(database, delivery.bucket(), AwsShards(database)),
        AwsRounds(database),
        removals(),
        scribe(),
        wiring.alarms(),
        wiring.clock(),
        config.inactive_days * DAY,
        config.unused_group_days * DAY,
    )

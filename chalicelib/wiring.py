"""Where everything is built, once a container and when first needed.

Event functions of a blueprint deploy without `app.py`, so construction cannot live there. Each function makes one
thing; none is called while a module is imported, but for names.
"""

import functools
import os
import threading
import time

import msgspec

from chalicelib import config as settings
from chalicelib.services.ports import Clock
from chalicelib.services.provider.access import Access
from chalicelib.services.provider.claims import ClaimReceiver, ClaimSender
from chalicelib.services.provider.confirmation import Confirmation
from chalicelib.services.provider.consultation import Consultation
from chalicelib.services.provider.delivery import Delivery
from chalicelib.services.provider.enrolment import Enrolment
from chalicelib.services.provider.following import Following
from chalicelib.services.provider.limits import PeerQueryLimits, QueryLimits, SendLimits
from chalicelib.services.provider.preferences import Preferences
from chalicelib.services.provider.publication import Publication
from chalicelib.services.provider.queries import Queries
from chalicelib.services.provider.rebuild import Rebuild
from chalicelib.services.provider.sequencer import Sequencer
from chalicelib.services.provider.trusting import Admission
from chalicelib.services.provider.verifications import Verifications
from chalicelib.services.provider.webhooks import Webhooks
from chalicelib.storage.accounts import AccountRows, AwsAccounts
from chalicelib.storage.alarms import AwsAlarms
from chalicelib.storage.buckets import AwsBuckets
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.events import AwsEvents
from chalicelib.storage.federation_tls import FederationTls
from chalicelib.storage.filter_objects import AwsFilterObjects
from chalicelib.storage.filter_pointer import AwsFilterPointer
from chalicelib.storage.hints import AwsHints
from chalicelib.storage.idempotency import AwsIdempotency
from chalicelib.storage.items import Items
from chalicelib.storage.keyring import AwsKeyring
from chalicelib.storage.messenger import AwsMessenger
from chalicelib.storage.outbox import AwsOutbox
from chalicelib.storage.peer_client import HttpsPeerClient
from chalicelib.storage.peer_filters import AwsPeerFilters
from chalicelib.storage.peer_heads import AwsPeerHeads
from chalicelib.storage.pending_log import AwsPendingLog
from chalicelib.storage.queues import Queues
from chalicelib.storage.records import RecordRows
from chalicelib.storage.scans import AwsScans
from chalicelib.storage.sealing import Sealer
from chalicelib.storage.snapshots import AwsSnapshots
from chalicelib.storage.store import AwsStore
from chalicelib.storage.trust_lists import AwsTrustLists
from chalicelib.storage.webhook_sender import HttpsWebhookSender


@functools.cache
def config() -> settings.Config:
    """The stage's settings."""
    return settings.read()


def queue_name(name: str) -> str:
    """The name of one of the stage's queues; Chalice needs it while it packages."""
    return f"glados-{config().stage}-{name}"


def clock() -> Clock:
    """The time of day in milliseconds."""
    return lambda: time.time_ns() // 1_000_000


entropy = os.urandom


@functools.cache
def database() -> Database:
    """The stage's tables."""
    return Database(config().stage)


@functools.cache
def data_keys() -> DataKeys:
    """The data keys that KMS unwraps for this container."""
    return DataKeys(database(), clock())


@functools.cache
def sealer() -> Sealer:
    """Seals values at rest."""
    return Sealer(data_keys())


@functools.cache
def record_rows() -> RecordRows:
    """How an SII's records lie in their row."""
    return RecordRows(data_keys(), sealer())


@functools.cache
def keyring() -> AwsKeyring:
    """Signing keys and keyed digests."""
    return AwsKeyring(data_keys())


@functools.cache
def store() -> AwsStore:
    """The transactional tables."""
    return AwsStore(database(), Items(data_keys(), sealer(), clock()))


@functools.cache
def alarms() -> AwsAlarms:
    """What an operator should see."""
    return AwsAlarms(config().stage, clock())


@functools.cache
def hints() -> AwsHints:
    """The queues' sending side."""
    return AwsHints(config().stage, alarms())


@functools.cache
def queues() -> Queues:
    """The queues' receiving side."""
    return Queues(config().stage)


@functools.cache
def accounts() -> AwsAccounts:
    """The enrolled application providers."""
    return AwsAccounts(database(), AccountRows(sealer()), clock())


@functools.cache
def trust_lists() -> AwsTrustLists:
    """The peers that the authority admitted."""
    return AwsTrustLists(database(), clock())


@functools.cache
def federation_secret() -> FederationTls:
    """The certificate with which this GP calls its peers."""
    return FederationTls(config().stage, clock())


@functools.cache
def peer_client() -> HttpsPeerClient:
    """The other GPs."""
    return HttpsPeerClient(federation_secret())


@functools.cache
def filter_objects() -> AwsFilterObjects:
    """Immutable filter objects."""
    return AwsFilterObjects(config().stage)


@functools.cache
def peer_filters() -> AwsPeerFilters:
    """Tests of positions in filters, ours and peers'."""
    return AwsPeerFilters(filter_objects())


@functools.cache
def filter_pointer() -> AwsFilterPointer:
    """The row that says which filter versions live."""
    return AwsFilterPointer(database())


@functools.cache
def events() -> AwsEvents:
    """The history of what providers were told."""
    return AwsEvents(database(), sealer(), clock())


@functools.cache
def idempotency() -> AwsIdempotency:
    """Answers by idempotency key."""
    return AwsIdempotency(database(), data_keys(), sealer())


@functools.cache
def buckets() -> AwsBuckets:
    """Token buckets."""
    return AwsBuckets(database())


@functools.cache
def access() -> Access:
    """Who is asking."""
    return Access(accounts(), keyring(), trust_lists(), clock(), entropy, config().origin)


@functools.cache
def enrolment() -> Enrolment:
    """The operator's hand on accounts."""
    return Enrolment(accounts(), keyring(), clock(), entropy)


@functools.cache
def admission() -> Admission:
    """The operator's hand on peers."""
    authority = msgspec.json.decode(config().trust_authority, type=dict[str, str])
    return Admission(trust_lists(), clock(), config().gp, authority)


@functools.cache
def consultation() -> Consultation:
    """Asking the peers that may know."""
    return Consultation(peer_client(), peer_filters(), trust_lists(), keyring(), alarms())


@functools.cache
def snapshots() -> AwsSnapshots:
    """What a query needs, in one read."""
    return AwsSnapshots(database(), record_rows(), AccountRows(sealer()))


@functools.cache
def queries() -> Queries:
    """Finding mappings."""
    limits = QueryLimits(buckets(), keyring(), alarms(), threading.Lock())
    peer_limits = PeerQueryLimits(buckets(), alarms())
    return Queries(snapshots(), store(), access(), consultation(), limits, peer_limits, clock())


@functools.cache
def verifications() -> Verifications:
    """Opening verifications and sending codes."""
    messenger = AwsMessenger(config().email_from)
    return Verifications(store(), keyring(), messenger, SendLimits(buckets()), clock(), entropy)


@functools.cache
def confirmation() -> Confirmation:
    """Taking codes and making mappings."""
    return Confirmation(
        verifications(), store(), snapshots(), consultation(), keyring(), hints(), clock(), entropy, config().gp
    )


@functools.cache
def preferences() -> Preferences:
    """The user's choices."""
    return Preferences(store(), snapshots(), consultation(), keyring(), hints(), clock(), entropy)


@functools.cache
def webhooks() -> Webhooks:
    """Webhook endpoints and the history."""
    exempt = config().webhook_exempt_origin
    return Webhooks(accounts(), store(), events(), hints(), alarms(), clock(), entropy, exempt)


@functools.cache
def delivery() -> Delivery:
    """Working off the outbox."""
    exempt = config().webhook_exempt_origin
    # Only a run on one machine exempts an origin, and its inbox has a certificate of that run's own authority.
    sender = HttpsWebhookSender(exempt, federation_secret().authorities() if exempt else None)
    claims = ClaimSender(store(), hints(), peer_client(), trust_lists(), keyring(), alarms(), clock(), config().gp)
    outbox = AwsOutbox(database(), sealer())
    return Delivery(outbox, store(), accounts(), events(), verifications(), sender, claims, hints(), alarms(), clock())


@functools.cache
def claim_receiver() -> ClaimReceiver:
    """Following other GPs' choices."""
    return ClaimReceiver(store(), buckets(), hints(), alarms(), clock(), entropy, config().gp)


@functools.cache
def sequencer() -> Sequencer:
    """From the pending log to deltas."""
    pending = AwsPendingLog(database(), sealer())
    return Sequencer(
        filter_pointer(), pending, filter_objects(), peer_filters(), keyring(), alarms(), clock(), config().gp
    )


@functools.cache
def rebuild() -> Rebuild:
    """Fresh filters."""
    from chalicelib.storage.rebuild_jobs import AwsRebuildJobs  # noqa: PLC0415 (pynamodb; few containers need it)

    return Rebuild(
        filter_pointer(),
        store(),
        AwsRebuildJobs(config().stage),
        AwsScans(database(), record_rows()),
        filter_objects(),
        keyring(),
        hints(),
        alarms(),
        clock(),
        config().gp,
    )


@functools.cache
def publication() -> Publication:
    """What peers see of our filter."""
    from chalicelib.storage.subscriptions import AwsSubscriptions  # noqa: PLC0415 (pynamodb; few containers need it)

    return Publication(
        filter_pointer(),
        filter_objects(),
        AwsSubscriptions(config().stage),
        peer_client(),
        trust_lists(),
        keyring(),
        alarms(),
        clock(),
        config().gp,
    )


@functools.cache
def following() -> Following:
    """Keeping up with peers' filters."""
    heads = AwsPeerHeads(database())
    config_ = config()
    return Following(
        peer_client(), heads, filter_objects(), trust_lists(), alarms(), clock(), config_.gp, config_.origin
    )

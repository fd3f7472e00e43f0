"""What a provider alone is built from."""

import functools
import threading

import msgspec

from chalicelib import config as settings
from chalicelib import wiring
from chalicelib.protocol.glados.trust import Peer
from chalicelib.services.provider.claims import ClaimReceiver, ClaimSender
from chalicelib.services.provider.confirmation import Confirmation
from chalicelib.services.provider.consultation import Consultation
from chalicelib.services.provider.dispatch import Dispatch
from chalicelib.services.provider.following import Following
from chalicelib.services.provider.limits import PeerQueryLimits, QueryLimits, SendLimits
from chalicelib.services.provider.peering import Peering, calling
from chalicelib.services.provider.preferences import Preferences
from chalicelib.services.provider.publication import Publication
from chalicelib.services.provider.queries import Queries
from chalicelib.services.provider.rebuild import Rebuild
from chalicelib.services.provider.sequencer import Sequencer
from chalicelib.services.provider.verifications import Verifications
from chalicelib.services.provider.webhooks import Webhooks
from chalicelib.storage.accounts import AccountRows
from chalicelib.storage.events import AwsEvents
from chalicelib.storage.filter_objects import AwsFilterObjects
from chalicelib.storage.filter_pointer import AwsFilterPointer
from chalicelib.storage.hints import AwsHints
from chalicelib.storage.items import Items
from chalicelib.storage.keyring import AwsKeyring
from chalicelib.storage.messenger import AwsMessenger
from chalicelib.storage.objects import Objects
from chalicelib.storage.outbox import AwsOutbox
from chalicelib.storage.peer_client import HttpsPeerClient
from chalicelib.storage.peer_filters import AwsPeerFilters
from chalicelib.storage.peer_heads import AwsPeerHeads
from chalicelib.storage.pending_log import AwsPendingLog
from chalicelib.storage.records import RecordRows
from chalicelib.storage.scans import AwsScans
from chalicelib.storage.snapshots import AwsSnapshots
from chalicelib.storage.store import AwsStore
from chalicelib.storage.trust_lists import AwsTrustLists
from chalicelib.storage.webhook_sender import HttpsWebhookSender


def config() -> settings.ProviderConfig:
    """The stage's settings, which are a provider's."""
    return settings.as_role(settings.ProviderConfig, wiring.config())


@functools.cache
def keyring() -> AwsKeyring:
    """The keys of this provider."""
    return AwsKeyring(wiring.data_keys())


@functools.cache
def record_rows() -> RecordRows:
    """How an SII's records lie in their row."""
    return RecordRows(wiring.data_keys(), wiring.sealer())


@functools.cache
def store() -> AwsStore:
    """The transactional tables."""
    return AwsStore(wiring.database(), Items(wiring.data_keys(), wiring.sealer(), wiring.clock()))


@functools.cache
def hints() -> AwsHints:
    """The queues' sending side."""
    return AwsHints(wiring.queues())


@functools.cache
def trust_lists() -> AwsTrustLists:
    """The peers that the authority admitted."""
    return AwsTrustLists(wiring.database(), wiring.clock())


def calling_peer(thumbprint: str | None) -> Peer:
    """The peer GP that a client certificate belongs to."""
    return calling(trust_lists(), thumbprint)


@functools.cache
def peer_client() -> HttpsPeerClient:
    """The other GPs."""
    return HttpsPeerClient(wiring.federation_tls())


@functools.cache
def filter_objects() -> AwsFilterObjects:
    """Immutable filter objects."""
    return AwsFilterObjects(Objects(config().stage, "filters"))


@functools.cache
def peer_filters() -> AwsPeerFilters:
    """Tests of positions in filters, ours and peers'."""
    return AwsPeerFilters(filter_objects())


@functools.cache
def filter_pointer() -> AwsFilterPointer:
    """The row that says which filter versions live."""
    return AwsFilterPointer(wiring.database())


@functools.cache
def events() -> AwsEvents:
    """The history of what providers were told."""
    return AwsEvents(wiring.database(), wiring.sealer(), wiring.clock())


@functools.cache
def peering() -> Peering:
    """The operator's hand on peers."""
    authority = msgspec.json.decode(config().trust_authority, type=dict[str, str])
    return Peering(trust_lists(), wiring.clock(), config().gp, authority)


@functools.cache
def consultation() -> Consultation:
    """Asking the peers that may know."""
    return Consultation(peer_client(), peer_filters(), trust_lists(), keyring(), wiring.alarms())


@functools.cache
def snapshots() -> AwsSnapshots:
    """What a query needs, in one read."""
    return AwsSnapshots(wiring.database(), record_rows(), AccountRows(wiring.sealer()))


@functools.cache
def queries() -> Queries:
    """Finding mappings."""
    limits = QueryLimits(wiring.buckets(), keyring(), wiring.alarms(), threading.Lock())
    peer_limits = PeerQueryLimits(wiring.buckets(), wiring.alarms())
    return Queries(snapshots(), store(), wiring.access(), consultation(), limits, peer_limits, wiring.clock())


@functools.cache
def verifications() -> Verifications:
    """Opening verifications and sending codes."""
    messenger = AwsMessenger(config().email_from)
    return Verifications(store(), keyring(), messenger, SendLimits(wiring.buckets()), wiring.clock(), wiring.entropy)


@functools.cache
def confirmation() -> Confirmation:
    """Taking codes and making mappings."""
    return Confirmation(
        verifications(),
        store(),
        snapshots(),
        consultation(),
        keyring(),
        hints(),
        wiring.clock(),
        wiring.entropy,
        config().gp,
    )


@functools.cache
def preferences() -> Preferences:
    """The user's choices."""
    return Preferences(store(), snapshots(), consultation(), keyring(), hints(), wiring.clock(), wiring.entropy)


@functools.cache
def webhooks() -> Webhooks:
    """Webhook endpoints and the history."""
    exempt = config().webhook_exempt_origin
    return Webhooks(
        wiring.accounts(), store(), events(), hints(), wiring.alarms(), wiring.clock(), wiring.entropy, exempt
    )


@functools.cache
def dispatch() -> Dispatch:
    """Working off the outbox."""
    exempt = config().webhook_exempt_origin
    # Only a run on one machine exempts an origin, and its inbox has a certificate of that run's own authority.
    sender = HttpsWebhookSender(exempt, wiring.federation_tls().authorities() if exempt else None)
    claims = ClaimSender(
        store(), hints(), peer_client(), trust_lists(), keyring(), wiring.alarms(), wiring.clock(), config().gp
    )
    outbox = AwsOutbox(wiring.database(), wiring.sealer())
    return Dispatch(
        outbox,
        store(),
        wiring.accounts(),
        events(),
        verifications(),
        sender,
        claims,
        hints(),
        wiring.alarms(),
        wiring.clock(),
    )


@functools.cache
def claim_receiver() -> ClaimReceiver:
    """Following other GPs' choices."""
    return ClaimReceiver(
        store(), wiring.buckets(), hints(), wiring.alarms(), wiring.clock(), wiring.entropy, config().gp
    )


@functools.cache
def sequencer() -> Sequencer:
    """From the pending log to deltas."""
    pending = AwsPendingLog(wiring.database(), wiring.sealer())
    return Sequencer(
        filter_pointer(),
        pending,
        filter_objects(),
        peer_filters(),
        keyring(),
        wiring.alarms(),
        wiring.clock(),
        config().gp,
    )


@functools.cache
def rebuild() -> Rebuild:
    """Fresh filters."""
    from chalicelib.storage.rebuild_jobs import AwsRebuildJobs  # noqa: PLC0415 (pynamodb; few containers need it)

    return Rebuild(
        filter_pointer(),
        store(),
        AwsRebuildJobs(config().stage),
        AwsScans(wiring.database(), record_rows()),
        filter_objects(),
        keyring(),
        hints(),
        wiring.alarms(),
        wiring.clock(),
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
        wiring.alarms(),
        wiring.clock(),
        config().gp,
    )


@functools.cache
def following() -> Following:
    """Keeping up with peers' filters."""
    heads = AwsPeerHeads(wiring.database())
    config_ = config()
    return Following(
        peer_client(),
        heads,
        filter_objects(),
        trust_lists(),
        wiring.alarms(),
        wiring.clock(),
        config_.gp,
        config_.origin,
    )

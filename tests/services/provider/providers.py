"""All services of one GP over a world, and of several that peer in memory.

`settle` is what the schedules do each minute, until nothing is left to do. It is the only recovery that a GP has
beside a caller who asks again, so every story about a death ends with it.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.client_api import Choice, ChoiceAnswer, Code, ConfirmAnswer, VerificationRequest
from chalicelib.protocol.glados.federation_api import PeerQuery
from chalicelib.protocol.glados.filters import has_bit, indexes
from chalicelib.protocol.glados.identifiers import Sii, parse_sii
from chalicelib.protocol.glados.mappings import Mapping
from chalicelib.protocol.glados.trust import Peer, PeerKeys, TrustList
from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.accounts.access import Access
from chalicelib.services.accounts.enrolment import Enrolment
from chalicelib.services.accounts.state import Account, Presented, ProviderId
from chalicelib.services.provider.claims import ClaimReceiver, ClaimSender
from chalicelib.services.provider.confirmation import Confirmation
from chalicelib.services.provider.consultation import Consultation
from chalicelib.services.provider.dispatch import Dispatch
from chalicelib.services.provider.following import Following
from chalicelib.services.provider.limits import PeerQueryLimits, QueryLimits, SendLimits
from chalicelib.services.provider.preferences import Preferences
from chalicelib.services.provider.publication import Link, Publication
from chalicelib.services.provider.queries import Queries
from chalicelib.services.provider.rebuild import Rebuild
from chalicelib.services.provider.sequencer import Sequencer
from chalicelib.services.provider.state import Event, FilterVersion, OutboxId, VerificationId
from chalicelib.services.provider.verifications import Verifications
from chalicelib.services.provider.webhooks import Webhooks
from tests.fakes.clock import SettableClock
from tests.fakes.faults import Fake
from tests.fakes.peers import InProcessGp
from tests.fakes.world import World

PHONE = "tel:+4915123456789"
OTHER_PHONE = "tel:+4915123456780"
MAIL = "mailto:alice@example.com"
TEST_NUMBER = "tel:+447700900123"
ALL_SCOPES = ("query", "register", "webhooks", "reports", "account")


def thumbprint(name: str) -> str:
    """Return a certificate thumbprint that nobody else has."""
    return encode_base64url(hashlib.sha256(name.encode()).digest())


@dataclasses.dataclass
class Gp:
    """One GP: its world and every use case over it."""

    world: World
    access: Access
    enrolment: Enrolment
    queries: Queries
    verifications: Verifications
    confirmation: Confirmation
    preferences: Preferences
    webhooks: Webhooks
    dispatch: Dispatch
    claim_receiver: ClaimReceiver
    sequencer: Sequencer
    rebuild: Rebuild
    publication: Publication
    following: Following
    codes: dict[str, str] = dataclasses.field(default_factory=dict)

    # --- what application providers do

    def enrol(self, provider_id: str, *, webhook: bool = False, test_numbers: bool = False) -> Account:
        """Enrol an application provider, with a webhook if it wants one."""
        self.enrolment.enrol(
            provider_id,
            provider_id.capitalize(),
            f"{provider_id}.example",
            review="ticket 7",
            certificates=((thumbprint(provider_id), self.world.clock() + 10**10),),
            scopes=ALL_SCOPES,
            sms_regions=("*",),
            test_numbers=test_numbers,
        )
        account = self.world.account(provider_id)
        if webhook:
            self.webhooks.set(account, endpoint_of(provider_id))
        return self.world.account(provider_id)

    def open(self, account: Account, sii: str = PHONE, user: str = "alice", key: str | None = None) -> str:
        """Open a verification and return its id."""
        answer, _ = self.verifications.open(account, VerificationRequest(sii=sii, user_id=user), key)
        if messages := self.world.messenger.to(uri(sii).address):
            self.codes.setdefault(answer.verification_id, messages[-1].code)
        return answer.verification_id

    def code(self, verification_id: str) -> str:
        """Return the code that the user was sent for a verification."""
        verification = self.world.tables.verifications[VerificationId(verification_id)]
        messages = self.world.messenger.to(verification.sii.address)
        return self.codes.get(verification_id) or messages[-1].code

    def enter(self, account: Account, verification_id: str, user: str = "alice") -> ConfirmAnswer:
        """Enter the right code."""
        code = Code(user_id=user, code=self.code(verification_id))
        return self.confirmation.confirm(account, verification_id, code)

    def register(self, account: Account, sii: str = PHONE, user: str = "alice") -> ConfirmAnswer:
        """Map an identifier to a user by a code, at a moment when no delay stands against it."""
        self.world.clock.advance(2 * MINUTE)
        return self.enter(account, self.open(account, sii, user), user)

    def choose(
        self, account: Account, choice: str, sii: str = PHONE, user: str = "alice", key: str | None = "a key"
    ) -> ChoiceAnswer:
        """Make a choice with the proof at hand, under an idempotency key as a careful caller sends it."""
        assert choice in {"prefer", "replace", "keep"}
        body = Choice(sii=sii, user_id=user, choice=choice)  # type: ignore[arg-type]
        return self.preferences.choose(account, body, key)

    def ask(self, account: Account, sii: str = PHONE) -> str | None:
        """Return the provider that a query leads to, or None."""
        mapping = self.queries.find(presented(account), sii)[0].mapping
        return None if mapping is None else f"{mapping.gp}/{mapping.provider_id}/{mapping.user_id}"

    def events(self, account: Account) -> list[Event]:
        """Return what an application provider was told, in order."""
        return self.world.events.of(account.provider_id)

    # --- what runs without a caller

    def hinted(self, *, twice: bool = False) -> bool:
        """Work off the queues' hints; tell whether there were any."""
        hints = self.world.hints.take()
        for kind, about in hints * 2 if twice else hints:
            match kind, about:
                case "outbox", (str(outbox_id), int()):
                    self.dispatch.work_off(OutboxId(outbox_id))
                case "sequence", _:
                    self.sequencer.run()
                    self.publication.notify_all()
                case "follow", str(gp):
                    self.following.follow(gp)
                case "scan", (int(version), int(segment)):
                    self.rebuild.scan(version, segment)
        return bool(hints)

    def minute(self) -> None:
        """Run every schedule once."""
        self.dispatch.sweep()
        self.sequencer.run()
        self.publication.notify_all()
        self.following.follow_all()
        self.rebuild.step()

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be done."""
        pointer = self.world.filter_pointer._row.value
        behind = [
            subscription
            for subscription in self.world.subscriptions._rows.values()
            if (version := pointer.find(subscription.version)) and subscription.acked_seq < version.seq
        ]
        waiting = self.world.tables.outbox or self.world.tables.pending
        return not (waiting or behind or pointer.in_state("building"))

    def versions(self) -> tuple[FilterVersion, ...]:
        """Return the versions of our own filter that peers may hold."""
        return tuple(
            version for version in self.world.filter_pointer._row.value.versions if version.state != "building"
        )


def endpoint_of(provider_id: str) -> str:
    """Return where a provider has its webhook."""
    return f"https://{provider_id}.example/hook"


def presented(account: Account) -> Presented:
    """Return the token of an account, verified."""
    return Presented(account.provider_id, frozenset(account.scopes), account.thumbprints[0], 2**40)


def provider(world: World) -> Gp:
    """Build every service of one GP."""
    w, gp = world, world.gp
    access = Access(w.accounts, w.keyring, w.clock, w.entropy, f"https://{gp}.example")
    consultation = Consultation(w.peer_client, w.peer_filters, w.trust_lists, w.keyring, w.alarms)
    verifications = Verifications(w.store, w.keyring, w.messenger, SendLimits(w.buckets), w.clock, w.entropy)
    sender = ClaimSender(w.store, w.hints, w.peer_client, w.trust_lists, w.keyring, w.alarms, w.clock, gp)
    return Gp(
        world=world,
        access=access,
        enrolment=Enrolment(w.accounts, w.keyring, w.clock, w.entropy),
        queries=Queries(
            w.snapshots,
            w.store,
            access,
            consultation,
            QueryLimits(w.buckets, w.keyring, w.alarms),
            PeerQueryLimits(w.buckets, w.alarms),
            w.clock,
        ),
        verifications=verifications,
        confirmation=Confirmation(
            verifications, w.store, w.snapshots, consultation, w.keyring, w.hints, w.clock, w.entropy, gp
        ),
        preferences=Preferences(w.store, w.snapshots, consultation, w.keyring, w.hints, w.clock, w.entropy),
        webhooks=Webhooks(w.accounts, w.store, w.events, w.hints, w.alarms, w.clock, w.entropy, None),
        dispatch=Dispatch(
            w.outbox, w.store, w.accounts, w.events, verifications, w.webhook_sender, sender, w.hints, w.alarms, w.clock
        ),
        claim_receiver=ClaimReceiver(w.store, w.buckets, w.hints, w.alarms, w.clock, w.entropy, gp),
        sequencer=Sequencer(
            w.filter_pointer, w.pending_log, w.filter_objects, w.peer_filters, w.keyring, w.alarms, w.clock, gp
        ),
        rebuild=Rebuild(
            w.filter_pointer, w.store, w.rebuild_jobs, w.scans, w.filter_objects, w.keyring, w.hints, w.alarms,
            w.clock, gp,
        ),
        publication=Publication(
            w.filter_pointer, w.filter_objects, w.subscriptions, w.peer_client, w.trust_lists, w.keyring, w.alarms,
            w.clock, gp,
        ),
        following=Following(
            w.peer_client, w.peer_heads, w.filter_objects, w.trust_lists, w.alarms, w.clock, gp, f"https://{gp}.example"
        ),
    )  # fmt: skip


def as_peer(gp: Gp) -> Peer:
    """Return a GP as its peers' trust lists name it."""
    name, keyring = gp.world.gp, gp.world.keyring
    return Peer(
        gp=name,
        name=f"GP {name}",
        origins=[f"https://{name}.example"],
        thumbprints=[thumbprint(f"gp {name}")],
        keys=PeerKeys(
            filter=[keyring._signing_key("glados-filter+jwt").public_jwk()],
            head=[keyring._signing_key("glados-head+jwt").public_jwk()],
            claim=[keyring._signing_key("glados-claim+jwt").public_jwk()],
        ),
    )


def door(gp: Gp, peers: dict[str, Peer]) -> InProcessGp:
    """Return a GP's federation routes, as its peers reach them."""

    def query(asking: str, sii: Sii, asker: str) -> Sequence[Mapping]:
        found = gp.queries.find_for_peer(peers[asking], PeerQuery(sii=sii.uri, asker=asker))
        return [mapping.read(gp.world.gp) for mapping in found.mappings]

    def download(_asking: str, path: str) -> bytes:
        _, _, _, _, version, *rest = path.split("/")
        if rest == ["raw"]:
            data = gp.publication.base(int(version), "raw")
        else:
            first, last = map(int, rest[1].split("-"))
            data = gp.publication.delta(int(version), first, last)
        assert not isinstance(data, Link)
        return data

    return InProcessGp(
        query=query,
        filter=lambda _asking: gp.publication.filter(),
        download=download,
        subscribe=lambda asking, request: gp.publication.subscribe(peers[asking], request),
        notify=lambda asking, notification: gp.following.notified(peers[asking], notification),
        claim=lambda asking, claim: gp.claim_receiver.receive(peers[asking], claim),
    )


def federation(*names: str) -> list[Gp]:
    """Build GPs that all peer with one another and live by one clock."""
    clock = SettableClock()
    gps = [provider(World(gp=name, clock=clock)) for name in names]
    peers = {gp.world.gp: as_peer(gp) for gp in gps}
    for gp in gps:
        others = [other for other in gps if other is not gp]
        gp.world.tables.trust_list = TrustList(version=1, peers=[peers[other.world.gp] for other in others])
        gp.world.peer_client.gps = {other.world.gp: door(other, peers) for other in others}
    return gps


def settle(*gps: Gp, minutes: int = 60, queues: bool = True) -> None:
    """Let time pass until nothing is left to do for two minutes; without `queues` no hint ever arrives."""
    quiet = 0
    for _ in range(minutes):
        gps[0].world.clock.advance(MINUTE)
        for gp in gps:
            gp.minute()
            if not queues:  # A scan is done by a worker of its own, which only its queue can wake.
                gp.world.hints.given = [hint for hint in gp.world.hints.given if hint[0] == "scan"]
        for _ in range(10):
            if not sum(gp.hinted() for gp in gps):
                break
        quiet = quiet + 1 if all(gp.quiet for gp in gps) else 0
        if quiet == 2:
            return
    raise AssertionError("there is still something to do")


def meanwhile(fake: Fake, method: str, act: Callable[[], object]) -> None:
    """Let something else happen just before the next call of a port's method takes effect."""
    calls = getattr(fake, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        delattr(fake, method)
        act()
        return calls(*args, **kwargs)

    setattr(fake, method, call)


# --- what must be true of every GP, whatever has happened


def check_sound(*gps: Gp) -> None:
    """Require what may never be lost: events in order, counts of users, and every bit of every filter."""
    for gp in gps:
        check_events(gp)
        check_users(gp)
        check_filter(gp)


def check_events(gp: Gp) -> None:
    """Each record's provider was told of each of its notices, once."""
    for row in gp.world.tables.records.values():
        for record in row.value.all:
            told = [
                event.sequence
                for event in gp.world.events.of(ProviderId(record.provider.provider_id))
                if event.mapping_id == record.mapping_id and event.sequence is not None
            ]
            assert sorted(told) == list(range(1, record.sequence + 1))


def check_users(gp: Gp) -> None:
    """What is counted and what still waits to be counted is the number of active records."""
    active = [record for row in gp.world.tables.records.values() for record in row.value.active]
    for provider_id in gp.world.tables.accounts:
        waiting = sum(by for entry in gp.world.tables.pending.values() for who, by in entry.users if who == provider_id)
        held = sum(record.provider.provider_id == provider_id for record in active)
        assert gp.world.tables.users[provider_id] + waiting == held


def deltas_of(gp: Gp, version: FilterVersion) -> list[int]:
    """Return every position in a version's deltas, as often as it stands there."""
    objects = gp.world.tables.objects
    return [position for delta in version.deltas for position in gapcoded.decode(objects[delta.stored.name])[1]]


def check_filter(gp: Gp) -> None:
    """Every active identifier is in each version or waits for it; no position is added to a version twice."""
    waiting = {entry.appears for entry in gp.world.tables.pending.values()}
    active = {sii for sii, row in gp.world.tables.records.items() if row.value.active and not sii.is_test_number}
    for version in gp.world.filter_pointer._row.value.versions:
        added = deltas_of(gp, version)
        assert len(added) == len(set(added))
        if version.raw is None:
            continue
        base = gp.world.tables.objects[version.raw.name]
        for sii in active - waiting:
            assert all(has_bit(base, position) or position in added for position in indexes(version.parameters, sii))
        assert version.bits_set == version.base_bits + sum(not has_bit(base, position) for position in added)


def check_followed(*gps: Gp) -> None:
    """No GP's copy of a peer's filter rules out an identifier that the peer holds."""
    for gp in gps:
        for peer in gps:
            head = gp.world.tables.heads.value.of(peer.world.gp)
            if head is None or peer is gp:
                continue
            for sii, row in peer.world.tables.records.items():
                if row.value.active and not sii.is_test_number:
                    assert gp.world.peer_filters.may_hold(head, indexes(head.parameters, sii))


def best_everywhere(gps: Sequence[Gp], accounts: Sequence[Account], sii: str) -> set[str | None]:
    """Return the answers that the GPs give for an identifier, each to an account of its own."""
    return {gp.ask(account, sii) for gp, account in zip(gps, accounts, strict=True)}


def uri(text: str) -> Sii:
    """Return the identifier as it is stored."""
    return parse_sii(text)

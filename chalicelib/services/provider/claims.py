"""Telling other GPs of a user's choice, and following theirs (draft §10).

The draft broadcasts "claimed" to every GP whose filter matches, and its author dislikes that identifiers then
reach GPs that hold nothing. Here a peer is told only if it answered a query with a match; one that could not be
asked is asked first. A claim is signed, names its choice's time, and is applied by `mappings.claim`, so that
repeats, reordering and crossing claims end alike on all sides. Nothing is forwarded.

That a user really chose rests on the claiming GP's word: the claim can be audited, and not yet be verified.
"""

import dataclasses

import msgspec

from chalicelib.errors import DecodeError, TooManyRequests, Unavailable
from chalicelib.protocol.glados import mappings
from chalicelib.protocol.glados.federation_api import Claim, ClaimAnswer, read_signed
from chalicelib.protocol.glados.identifiers import Sii, parse_sii
from chalicelib.protocol.glados.trust import Peer
from chalicelib.protocol.signed import sign, verify
from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND, parse_time
from chalicelib.services.accounts.ports import SigningKeys
from chalicelib.services.ports import Alarms, Buckets, Clock, Entropy, Refused, Unreachable
from chalicelib.services.provider.notices import announce
from chalicelib.services.provider.ports import Hints, PeerClient, Store, TrustLists
from chalicelib.services.provider.preferences import PROOF_LIFE, ClaimsToSend, ClaimToSend, claim_entry
from chalicelib.services.provider.state import OutboxEntry
from chalicelib.services.provider.writes import AddOutbox, ReplaceRecords, Stale

MOST_TRIES = 8
MOST_ENTRIES_AT_ONCE = 50
CLAIM_LIFE_SECONDS = 600
RETRIED_FOR = 30 * DAY
RETRY_DELAYS = (5_000, 30_000, 2 * MINUTE, 10 * MINUTE, HOUR)


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimSender:
    """Signs claims from the outbox and brings them to their peers."""

    store: Store
    hints: Hints
    peers: PeerClient
    trust_lists: TrustLists
    keys: SigningKeys
    alarms: Alarms
    clock: Clock
    gp: str

    def send(self, entry: OutboxEntry) -> int | None:
        """Bring one claim to its peer; return when to try again, or None when that is over."""
        claim = msgspec.json.decode(entry.ref, type=ClaimToSend | ClaimsToSend)
        if isinstance(claim, ClaimsToSend):
            self._take_apart(entry, claim)
            return None
        peer = next((known for known in self.trust_lists.load().peers if known.gp == claim.gp), None)
        if peer is None or not peer.asked:
            self.alarms.raise_("claim-peer-gone", claim.gp)
            return None
        try:
            if not claim.sure and not self._holds(peer, claim):
                return None
            self.peers.claim(peer, self._sign(entry, claim))
        except Refused as error:
            refused = error.status
            self.alarms.raise_("claim-refused" if refused < 500 else "claim-failed", claim.gp)
        except Unreachable:
            pass  # It is tried again below: the entry is the record that it is owed.
        else:
            return None
        if self.clock() - entry.created_at > RETRIED_FOR:
            self.alarms.raise_("claim-given-up", claim.gp)
            return None
        return self.clock() + RETRY_DELAYS[min(entry.attempts, len(RETRY_DELAYS)) - 1]

    def _take_apart(self, entry: OutboxEntry, bundle: ClaimsToSend) -> None:
        """Give each claim of a bundle an entry of its own; doing it again adds nothing."""
        choice = entry.outbox_id.partition(".")[2]
        entries = [claim_entry(claim, choice, entry.created_at) for claim in bundle.claims]
        for start in range(0, len(entries), MOST_ENTRIES_AT_ONCE):
            self.store.commit(*(AddOutbox(one) for one in entries[start : start + MOST_ENTRIES_AT_ONCE]))
        for one in entries:
            self.hints.outbox(one.outbox_id)

    def _holds(self, peer: Peer, claim: ClaimToSend) -> bool:
        asker = self.keys.digest("asker", claim.mapping.provider_id, str(self.clock() // DAY))[:16].hex()
        outcome, found = self.peers.ask([peer], parse_sii(claim.sii), asker, self.clock())[peer.gp]
        if outcome != "answered":
            raise Unreachable("the peer could not be asked")
        return bool(found)

    def _sign(self, entry: OutboxEntry, claim: ClaimToSend) -> str:
        """Sign afresh at each try, since a claim lives ten minutes; its id stays that of the entry."""
        issued_at = self.clock() // 1000
        claims = {
            "iss": self.gp,
            "aud": claim.gp,
            "jti": self.keys.digest("claim-id", entry.outbox_id)[:16].hex(),
            "iat": issued_at,
            "exp": issued_at + CLAIM_LIFE_SECONDS,
            "sii": claim.sii,
            "mapping": msgspec.to_builtins(claim.mapping),
            "choice": claim.choice,
            "preferred_at": claim.preferred_at,
            "verified_at": claim.verified_at,
            "channel": claim.channel,
        }
        return sign(self.keys.signing_key("glados-claim+jwt"), "glados-claim+jwt", claims)


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimReceiver:
    """Follows other GPs' choices."""

    store: Store
    buckets: Buckets
    hints: Hints
    alarms: Alarms
    clock: Clock
    entropy: Entropy
    gp: str

    def receive(self, peer: Peer, token: str) -> ClaimAnswer:
        """Apply a peer's claim; one received again changes nothing and is answered alike."""
        claim = self._read(peer, token)
        sii, preferred_at = self._judge(claim)
        claimed = claim.mapping.read(peer.gp)
        self._spend(peer)
        for _ in range(MOST_TRIES):
            now = self.clock()
            if preferred_at > now + mappings.AHEAD:
                self.alarms.raise_("peer-clock-ahead", peer.gp)
                raise DecodeError("the claim's choice lies too far in the future")
            stored = self.store.records(sii)
            change = mappings.claim(stored.records, claim.choice, preferred_at, claimed.provider, now)
            if change is None:
                return ClaimAnswer(state="applied" if stored.records.all else "unknown")
            told, hinted = announce(change.notices, self.clock, self.entropy)
            try:
                self.store.commit(ReplaceRecords(sii, stored, change, now), *told)
            except Stale:
                continue
            for outbox_id in hinted:
                self.hints.outbox(outbox_id)
            return ClaimAnswer(state="applied")
        raise Unavailable("other changes to this identifier came first")

    def _judge(self, claim: Claim) -> tuple[Sii, int]:
        """Return whom a claim is about and when the choice was made, if its parts agree with one another."""
        sii = parse_sii(claim.sii)
        if sii.uri != claim.sii:
            raise DecodeError("the claim's identifier is not in canonical form")
        if claim.channel != sii.channel:
            raise DecodeError("the claim's channel does not reach its identifier")
        preferred_at = parse_time(claim.preferred_at, "preferred_at")
        verified_at = parse_time(claim.verified_at, "verified_at")
        if claim.mapping.preferred_at != claim.preferred_at:
            raise DecodeError("the claim's mapping was chosen at another time than the claim says")
        # The choice's stamp may lie above the clock, to exceed a peer's; a code is never checked after the choice.
        if not 0 <= preferred_at - verified_at <= PROOF_LIFE + mappings.AHEAD:
            raise DecodeError("the claim's code was not checked within a day before the choice")
        return sii, preferred_at

    def _spend(self, peer: Peer) -> None:
        """Hold a peer that claims more than its users can choose; its outbox brings the claims again."""
        limits = peer.limits
        try:
            taken, wait, _ = self.buckets.take(
                f"gp:{peer.gp}", "claims", 1, limits.claims_per_second, limits.claim_burst, self.clock()
            )
        except Unreachable as error:
            raise Unavailable("the limit on claims cannot be checked just now") from error
        if not taken:
            self.alarms.raise_("claims-held", peer.gp)
            raise TooManyRequests("claims-by-peer", wait / SECOND)

    def _read(self, peer: Peer, token: str) -> Claim:
        """Return the claim if the peer whose certificate is on the connection signed it for us."""
        keys = peer.verifying_keys("glados-claim+jwt")
        claims = verify(token, "glados-claim+jwt", keys, issuer=peer.gp, audience=self.gp, now=self.clock())
        claim: Claim = read_signed(claims, Claim)
        if claim.exp - claim.iat > CLAIM_LIFE_SECONDS:
            raise DecodeError("the claim lives longer than ten minutes")
        return claim

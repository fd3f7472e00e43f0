"""What clients ask before they join or come back (-02 §§3.4, 3.5): trees, GroupInfos, our key, a group id."""

import dataclasses
import hashlib

from chalicelib.errors import Unavailable
from chalicelib.protocol.crypto import InvalidSignature, cipher_suite
from chalicelib.protocol.delivery.directory import PublicKey, RequestGroupId
from chalicelib.protocol.delivery.group_state import Change, GroupState, with_records
from chalicelib.protocol.delivery.info_requests import ExternalCommitInfo, UpdateQueueInfo, WelcomeInfo
from chalicelib.protocol.delivery.joiners import Joiners
from chalicelib.protocol.delivery.messages import DSSenderType
from chalicelib.protocol.delivery.parts import Reference
from chalicelib.protocol.delivery.refusals import Removed, UnknownGroup
from chalicelib.protocol.delivery.responses import (
    ExternalCommitInfoAnswer,
    GroupIdAnswer,
    PublicKeyAnswer,
    TreeOption,
    WelcomeInfoAnswer,
)
from chalicelib.protocol.mls.chunks import load
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.plain_tree import encode_tree
from chalicelib.protocol.mls.tree import Kind
from chalicelib.protocol.tls import STORED_ELEMENTS, decode
from chalicelib.services.delivery.asking import Asked
from chalicelib.services.delivery.domains import QueueDomains
from chalicelib.services.delivery.heads import RESTAGES, check_not_frozen
from chalicelib.services.delivery.ports import DsKeys, Groups, Uploads
from chalicelib.services.delivery.scribe import Scribe
from chalicelib.services.delivery.senders import Senders, WrongSender, leaf_index, member
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.delivery.vault import Vault
from chalicelib.services.delivery.vouching import Vouching

INLINE_TREE = 3 << 20
"""The largest tree in bytes that goes into an answer; a larger one is fetched."""


@dataclasses.dataclass(frozen=True, slots=True)
class Information:
    """Answers what joiners ask, and takes in new queues."""

    groups: Groups
    vault: Vault
    scribe: Scribe
    senders: Senders
    vouching: Vouching
    uploads: Uploads
    keys: DsKeys
    domains: QueueDomains

    def answered(self, asked: Asked) -> bytes | None:
        """Return what a request about a group was answered before, or None."""
        group_id = asked.message.request.group_id
        return self.groups.load(GroupId(group_id), asked.key)[1] if group_id else None

    def welcome_info(self, asked: Asked, request: WelcomeInfo) -> bytes:
        """Return tree and GroupInfo of an epoch to a client that the commit before it added.

        The epoch may be past. Who is not among those added hears that there is no such group.
        """
        group_id = GroupId(request.group_id)
        head, _ = self.groups.load(group_id, asked.key)
        opened = self.vault.unlock(head, request.sealed_state_key)
        safe = opened.safe
        past = self.groups.past(group_id, request.epoch) if safe is None else safe.epoch(request.epoch, asked.now)
        reference = asked.message.sender_id.value
        by = asked.message.sender_id.sender_type
        if past is None or by != DSSenderType.KEY_PACKAGE_REF or not isinstance(reference, bytes):
            raise UnknownGroup
        state = opened.read(past.root)
        content = load(state.attempt.store, [past.joiners])[past.joiners]
        key = decode(Joiners.read, content, STORED_ELEMENTS).key_of(reference)
        # [mds-welcome-info-1] The sender is one of those whom the epoch's Welcomes are for, by its KeyPackage's key.
        if key is None or request.sender != key:
            raise UnknownGroup
        _verify_or_unknown(asked, state, key)
        return asked.respond(WelcomeInfoAnswer(MLSMessage(state.info()), self._tree(state)))

    def external_commit_info(self, asked: Asked, request: ExternalCommitInfo) -> bytes:
        """Return tree, GroupInfo and pending proposals to a client that may join by itself, or come back.

        It may if it is a member, or a client of a user who has a member.
        """
        group_id = GroupId(request.group_id)
        head, _ = self.groups.load(group_id, asked.key)
        opened = self.vault.unlock(head, request.sealed_state_key)
        state = opened.state
        try:
            key, user, client = self._outsider(asked, state)
        except (WrongSender, Unavailable) as failure:
            # [mds-vouch-4] Whoever it is, it learns no more than of a group that is not there: not even that somebody
            # would have to be asked, who does not answer.
            raise UnknownGroup from failure
        # [mds-external-info-1] The sender is a member or belongs to a user who has one (-03).
        if request.sender != key or not Draft(state.group.tree).positions(Kind.USER, user):
            raise UnknownGroup
        check_not_frozen(opened.head)
        if client and state.removal_of(client) is not None:
            raise Removed
        proposals = tuple(decode_message(stored.message) for stored in state.proposals)
        return asked.respond(ExternalCommitInfoAnswer(MLSMessage(state.info()), self._tree(state), proposals))

    def _outsider(self, asked: Asked, state: GroupState) -> tuple[bytes, bytes, bytes]:
        """Return the key, the user and the client of who asks; a user's key names no client."""
        policy, message = state.group.policy, asked.message
        match message.sender_id.sender_type:
            case DSSenderType.LEAF_INDEX:
                _, leaf = member(state, message)
                return leaf.signature_key, policy.user(leaf), policy.client(leaf)
            case DSSenderType.KEY_PACKAGE_REF:
                package = self.senders.client(state.group.suite, message)
                leaf = package.leaf_node
                self.vouching.check(state, leaf, package.reference(state.group.suite))
                return leaf.signature_key, policy.user(leaf), policy.client(leaf)
            case DSSenderType.USER_KEY_HASH:
                registered = self.senders.user(message)
                if not self.vouching.registrations.leaves(registered.user, registered.provider_id, state):
                    raise WrongSender
                return registered.signature_key, registered.user, b""

    def update_queue(self, asked: Asked, request: UpdateQueueInfo) -> bytes:
        """Send a member's messages to another queue from now on (-02 §§3.3, 4.6).

        A group that was reinitialised takes it too, so that a client can name a new queue to all of its groups.
        """
        group_id = GroupId(request.group_id)
        leaf_index(asked.message)  # Who is named otherwise is told so, whether or not there is such a group.
        for _ in range(RESTAGES):
            head, known = self.groups.load(group_id, asked.key)
            if known is not None:
                return asked.again(known)
            opened = self.vault.unlock(head, request.sealed_state_key)
            state = opened.state
            head = opened.head
            index, leaf = member(state, asked.message)
            if request.sender != leaf.signature_key:
                raise WrongSender
            self.domains.check([request.client_queue_config])
            record = state.records.get(index)
            if record is None:
                raise LookupError("a member has no delivery record")
            changed, written = with_records(
                state, {index: dataclasses.replace(record, config=request.client_queue_config)}
            )
            self.domains.check_group(state.records, changed.records)
            change = Change(changed, written)
            stored = self.vault.store(opened, change, now=asked.now)
            # It is no use of a group that nobody can use: such a one still ends.
            used_at = head.used_at if head.frozen else head.used(asked.now)
            after = dataclasses.replace(stored.head, used_at=used_at)
            answer = asked.done()
            if self.scribe.advance(head, after, answer=answer):
                return answer.response
        raise Unavailable("the group changes too fast to take in a queue")

    def request_group_id(self, asked: Asked, request: RequestGroupId) -> bytes:
        """Return a group id that nobody has, and this service as an external sender of that group.

        It follows from the request, so a repeat is given the same; nothing is kept until the group is created.
        """
        self.senders.user(asked.message)
        cipher_suite(request.cipher_suite)
        name = self.keys.digest("group id", asked.key)[:16].hex()
        group_id = GroupId(f"mimi://{self.vault.domain}/g/{name}".encode())
        sender = self.vault.signer(group_id, request.cipher_suite).public
        return asked.respond(GroupIdAnswer(group_id, sender))

    def public_key(self, asked: Asked, request: PublicKey) -> bytes:
        """Return this service as an external sender of a group that may not be there yet."""
        self.senders.user(asked.message)
        signer = self.vault.signer(GroupId(request.group_id), cipher_suite(request.cipher_suite).number)
        return asked.respond(PublicKeyAnswer(signer.public))

    def _tree(self, state: GroupState) -> TreeOption:
        encoded = encode_tree(state.group.tree)
        if len(encoded) <= INLINE_TREE:
            return encoded
        return Reference(self.uploads.put_out(encoded), hashlib.sha256(encoded).digest(), len(encoded))


def _verify_or_unknown(asked: Asked, state: GroupState, signature_key: bytes) -> None:
    """Verify the request; who cannot sign it learns nothing."""
    try:
        asked.message.verify(state.group.suite, signature_key)
    except InvalidSignature as failure:
        raise UnknownGroup from failure

"""Who sends a request (-02 §2.3): a member by its leaf, a client by its KeyPackage, a user by its registered key.

Somebody who is no member learns nothing about a group: a leaf that is blank and a signature that does not verify are
answered as a group that does not exist.
"""

import dataclasses

from chalicelib.errors import NotAuthenticated
from chalicelib.protocol.crypto import CipherSuite, InvalidSignature, cipher_suite
from chalicelib.protocol.delivery.group_state import GroupState
from chalicelib.protocol.delivery.messages import DSMessage, DSSenderType
from chalicelib.protocol.delivery.refusals import Removed, UnknownGroup
from chalicelib.protocol.mls.framing import FramedContent
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.services.delivery.ports import Directory, Users
from chalicelib.services.delivery.state import User


class WrongSender(NotAuthenticated):
    """[mds-sender-1] The sender is named in a way that the operation does not take, or is not who it says."""

    check = "mds-sender-1"

    def __init__(self) -> None:
        super().__init__("the sender is not one who may ask this, or its signature does not verify")


def leaf_index(message: DSMessage) -> int:
    """Return the leaf that the sender says it has."""
    sender = message.sender_id
    if sender.sender_type != DSSenderType.LEAF_INDEX or not isinstance(sender.value, int):
        raise WrongSender
    return sender.value


def member(state: GroupState, message: DSMessage, content: FramedContent | None = None) -> tuple[int, LeafNode]:
    """Return the member who sends a request, by the key that its leaf has now.

    `content` is what is to be judged next, if it is the member's: what it takes is loaded at the same time.
    """
    index = leaf_index(message)
    state.prefetch(index, content)
    leaf = state.leaf(index)
    if leaf is None:
        raise UnknownGroup
    try:
        message.verify(state.group.suite, leaf.signature_key)
    except InvalidSignature as failure:
        raise UnknownGroup from failure
    if state.quarantined(index):
        raise Removed
    return index, leaf


@dataclasses.dataclass(frozen=True, slots=True)
class Senders:
    """Finds the keys of those who are no members."""

    directory: Directory
    users: Users

    def client(self, suite: CipherSuite, message: DSMessage) -> KeyPackage:
        """Return the KeyPackage by which a client sends a request: it comes along, or is in the directory."""
        reference = message.sender_id.value
        if message.sender_id.sender_type != DSSenderType.KEY_PACKAGE_REF or not isinstance(reference, bytes):
            raise WrongSender
        offered = message.request.key_package
        if offered is None:
            published = self.directory.find(reference)
            offered = None if published is None else published.key_package
        if offered is None or offered.cipher_suite != suite.number or offered.reference(suite) != reference:
            raise WrongSender
        try:
            offered.verify_signature(suite)
            message.verify(suite, offered.leaf_node.signature_key)
        except InvalidSignature as failure:
            raise WrongSender from failure
        return offered

    def user(self, message: DSMessage) -> User:
        """Return the user who sends a request."""
        key_hash = message.sender_id.value
        if message.sender_id.sender_type != DSSenderType.USER_KEY_HASH or not isinstance(key_hash, bytes):
            raise WrongSender
        user = self.users.by_key_hash(key_hash)
        if user is None:
            raise WrongSender
        try:
            message.verify(cipher_suite(user.cipher_suite), user.signature_key)
        except InvalidSignature as failure:
            raise WrongSender from failure
        return user

"""How a member protects and opens messages (RFC 9420 §6): tags on public ones, encryption of private ones."""

import dataclasses
import hmac
from typing import Self

from chalicelib.client.mls_crypto import NONCE_SIZE, CannotDecrypt, MemberSuite
from chalicelib.client.mls_key_schedule import EpochSecrets
from chalicelib.client.mls_secret_tree import SecretTree
from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    encode_content,
    read_content,
)
from chalicelib.protocol.mls.group_info import GroupContext
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.tls import Reader, decode, opaque, uint8, uint32, uint64


class InvalidTag(CannotDecrypt):
    """A membership or confirmation tag is not what the group's key comes to."""


def check_tag(expected: bytes, tag: bytes | None) -> None:
    """Refuse a tag that is not the one expected."""
    if tag is None or not hmac.compare_digest(expected, tag):
        raise InvalidTag("a tag is not what the group's key comes to")


def membership_tag(
    suite: MemberSuite, membership_key: bytes, content: AuthenticatedContent, context: GroupContext
) -> bytes:
    """Return the tag that shows a public message to come from a member (§6.2)."""
    signed = content.content.to_be_signed(content.wire_format, context)
    return suite.mac(membership_key, signed + content.auth.encode())


def protect_public(
    suite: MemberSuite, membership_key: bytes, content: AuthenticatedContent, context: GroupContext
) -> PublicMessage:
    """Return a public message; only a member's carries a membership tag."""
    member = content.content.sender.sender_type == SenderType.MEMBER
    tag = membership_tag(suite, membership_key, content, context) if member else None
    return PublicMessage(content.content, content.auth, tag)


def open_public(
    suite: MemberSuite, membership_key: bytes, message: PublicMessage, context: GroupContext
) -> AuthenticatedContent:
    """Return the content of a public message whose membership tag is good."""
    content = message.authenticated_content()
    if content.content.sender.sender_type == SenderType.MEMBER:
        check_tag(membership_tag(suite, membership_key, content, context), message.membership_tag)
    return content


@dataclasses.dataclass(frozen=True, slots=True)
class SenderData:
    """Who sent a private message, and which of the sender's keys opens it (§6.3.2)."""

    leaf_index: int
    generation: int
    reuse_guard: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint32(), reader.uint32(), reader.take(4))

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint32(self.leaf_index) + uint32(self.generation) + self.reuse_guard


def _content_aad(group_id: bytes, epoch: int, content_type: ContentType, authenticated_data: bytes) -> bytes:
    return _sender_aad(group_id, epoch, content_type) + opaque(authenticated_data)


def _sender_aad(group_id: bytes, epoch: int, content_type: ContentType) -> bytes:
    return opaque(group_id) + uint64(epoch) + uint8(content_type)


def _sender_key_and_nonce(suite: MemberSuite, sender_data_secret: bytes, ciphertext: bytes) -> tuple[bytes, bytes]:
    sample = ciphertext[: suite.hash_size]
    return (
        suite.expand_with_label(sender_data_secret, "key", sample, suite.key_size),
        suite.expand_with_label(sender_data_secret, "nonce", sample, NONCE_SIZE),
    )


def _guarded(nonce: bytes, reuse_guard: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(nonce, reuse_guard.ljust(len(nonce), b"\x00"), strict=True))


def protect_private(
    suite: MemberSuite,
    sender_data_secret: bytes,
    secret_tree: SecretTree,
    content: AuthenticatedContent,
    reuse_guard: bytes,
    padding: int = 0,
) -> PrivateMessage:
    """Encrypt a member's content (§6.3); `reuse_guard` is four fresh random bytes."""
    framed = content.content
    leaf_index = framed.sender.index or 0
    ratchet = secret_tree.ratchet(leaf_index, handshake=framed.content_type != ContentType.APPLICATION)
    message_key = ratchet.next()
    plaintext = encode_content(framed.content) + content.auth.encode() + bytes(padding)
    aad = _content_aad(framed.group_id, framed.epoch, framed.content_type, framed.authenticated_data)
    nonce = _guarded(message_key.nonce, reuse_guard)
    ciphertext = suite.seal(message_key.key, nonce, aad, plaintext)
    sender = SenderData(leaf_index, message_key.generation, reuse_guard)
    key, nonce = _sender_key_and_nonce(suite, sender_data_secret, ciphertext)
    sender_aad = _sender_aad(framed.group_id, framed.epoch, framed.content_type)
    return PrivateMessage(
        framed.group_id,
        framed.epoch,
        framed.content_type,
        framed.authenticated_data,
        suite.seal(key, nonce, sender_aad, sender.encode()),
        ciphertext,
    )


def open_private(
    suite: MemberSuite, sender_data_secret: bytes, secret_tree: SecretTree, message: PrivateMessage
) -> AuthenticatedContent:
    """Decrypt a private message (§6.3); its signature is still to be verified."""
    key, nonce = _sender_key_and_nonce(suite, sender_data_secret, message.ciphertext)
    sender_aad = _sender_aad(message.group_id, message.epoch, message.content_type)
    sender = decode(SenderData.read, suite.open(key, nonce, sender_aad, message.encrypted_sender_data))
    if sender.leaf_index >= secret_tree.leaf_capacity:
        raise DecodeError("a private message names a sender beyond the tree")
    handshake = message.content_type != ContentType.APPLICATION
    ratchet = secret_tree.ratchet(sender.leaf_index, handshake=handshake)
    message_key = ratchet.take(sender.generation)
    aad = _content_aad(message.group_id, message.epoch, message.content_type, message.authenticated_data)
    nonce = _guarded(message_key.nonce, sender.reuse_guard)
    try:
        reader = Reader(suite.open(message_key.key, nonce, aad, message.ciphertext))
    except CannotDecrypt:
        # A forged message must not use up the key of the honest one.
        ratchet.put_back(message_key)
        raise
    content = read_content(reader, message.content_type)
    auth = FramedContentAuthData.read(reader, message.content_type)
    if any(reader.take(reader.end - reader.position)):
        raise DecodeError("the padding of a private message is not zero")
    framed = FramedContent(
        message.group_id,
        message.epoch,
        Sender(SenderType.MEMBER, sender.leaf_index),
        message.authenticated_data,
        content,
    )
    return AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, framed, auth)


def sign_content(
    suite: MemberSuite,
    private_key: bytes,
    wire_format: WireFormat,
    framed: FramedContent,
    context: GroupContext,
) -> bytes:
    """Return the signature over a content (§6.1)."""
    signed = framed.to_be_signed(wire_format, context)
    return suite.cipher_suite.sign_with_label(private_key, "FramedContentTBS", signed)


def verify_content(suite: MemberSuite, content: AuthenticatedContent, group: PublicGroup) -> None:
    """Verify what a member of this epoch said; handshakes are verified as they are staged."""
    framed = content.content
    leaf = Draft(group.tree).leaf(framed.sender.index or 0)
    if leaf is None or framed.epoch != group.epoch or framed.group_id != group.context.group_id:
        raise CannotDecrypt("an application message comes from nobody in this epoch")
    signed = framed.to_be_signed(content.wire_format, group.context)
    suite.cipher_suite.verify_with_label(
        leaf.signature_key, "FramedContentTBS", signed, content.auth.signature, "mls-6.1-1"
    )


def confirmation_tag(suite: MemberSuite, secrets: EpochSecrets, confirmed_transcript_hash: bytes) -> bytes:
    """Return the tag that confirms a commit's epoch (§8.1)."""
    return suite.mac(secrets.confirmation_key, confirmed_transcript_hash)

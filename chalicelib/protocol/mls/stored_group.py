"""A group's root: what is stored of an epoch beside its chunks, and what a commit will need of those.

The root has the GroupContext and the hashes that go on from it, what the members support, the proposals that wait,
the top of the tree and the directory of its tags. Everything else is reached through it, by reference.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.chunks import Chunk, Ref
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import FramedContent, Sender, SenderType
from chalicelib.protocol.mls.group_info import GroupContext
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposal_list import QueuedProposal
from chalicelib.protocol.mls.proposals import (
    Add,
    Proposal,
    ReInit,
    Remove,
    Update,
    encode_proposal,
    read_proposal,
)
from chalicelib.protocol.mls.public_group import PublicGroup
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.mls.tags import Tags, encode_directory, read_directory
from chalicelib.protocol.mls.tree import Kind, Tree
from chalicelib.protocol.tls import STORED_ELEMENTS, Reader, decode, opaque, optional, uint8, uint32, vector

VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """A proposal that waits, as the root has it."""

    queued: QueuedProposal

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the stored form."""
        reference, sender = reader.opaque(), Sender.read(reader)
        return cls(QueuedProposal(read_proposal(reader), sender, reference))

    def encode(self) -> bytes:
        """Return the stored form."""
        queued = self.queued
        return opaque(queued.reference or b"") + queued.sender.encode() + encode_proposal(queued.proposal)


def encode_root(group: PublicGroup) -> bytes:
    """Return a group's root; the chunks that its tree has written go beside it, and first."""
    tree = group.tree
    if not isinstance(tree, ChunkedTree):
        raise TypeError("only a chunked tree has a root to store")
    return b"".join(
        (
            uint8(VERSION),
            group.context.encode(),
            opaque(group.interim_transcript_hash),
            opaque(group.confirmation_tag),
            group.support.encode(),
            optional(group.reinit),
            vector([_Waiting(queued) for queued in group.proposals.values()]),
            uint32(tree.leaf_capacity),
            opaque(tree.top.content),
            opaque(tree.tags.salt),
            *(encode_directory(directory) for directory in tree.tags.directories),
            opaque(tree.tags.delta),
        )
    )


def decode_root(root: bytes, policy: Policy, attempt: Attempt) -> PublicGroup:
    """Return the group of a root; its chunks are loaded when they are asked for."""
    return decode(lambda reader: _read_root(reader, policy, attempt), root, STORED_ELEMENTS)


def _read_root(reader: Reader, policy: Policy, attempt: Attempt) -> PublicGroup:
    if reader.uint8() != VERSION:
        raise DecodeError("a stored group has another version than this program writes")
    context = GroupContext.read(reader)
    suite = cipher_suite(context.cipher_suite)
    interim_transcript_hash, confirmation_tag = reader.opaque(), reader.opaque()
    support = Support.read(reader)
    reinit = reader.optional(ReInit.read)
    waiting = reader.vector(_Waiting.read)
    leaf_capacity = reader.uint32()
    top = Chunk(reader.opaque(), suite.hash_size)
    tags = Tags(
        reader.opaque(),
        (read_directory(reader), read_directory(reader)),
        Ref(reader.opaque()),
    )
    tree = ChunkedTree(suite, policy, leaf_capacity, context.epoch, top, tags, attempt)
    proposals = {found.queued.reference or b"": found.queued for found in waiting}
    return PublicGroup(context, interim_transcript_hash, confirmation_tag, tree, support, proposals, reinit)


def prefetch(group: PublicGroup, content: FramedContent, more: Collection[Ref] = ()) -> Mapping[Ref, bytes]:
    """Load together what judging a message will ask for; what is forgotten here is loaded when it is needed.

    `more` are other objects of the group, which come back.
    """
    if not isinstance(group.tree, ChunkedTree):
        return {}
    return group.tree.prefetch(_leaves(group, content), _values(group, content), more)


def _proposals(group: PublicGroup, content: FramedContent) -> Iterator[tuple[Proposal, Sender]]:
    if isinstance(content.content, Commit):
        for item in content.content.proposals:
            queued = group.proposals.get(item.reference or b"")
            if item.proposal is not None:
                yield item.proposal, content.sender
            elif queued is not None:
                yield queued.proposal, queued.sender
    elif not isinstance(content.content, bytes):
        yield content.content, content.sender


def _leaves(group: PublicGroup, content: FramedContent) -> Iterator[int]:
    if content.sender.sender_type == SenderType.MEMBER and content.sender.index is not None:
        yield content.sender.index
    proposals = list(_proposals(group, content))
    external = content.sender.sender_type == SenderType.NEW_MEMBER_COMMIT
    if external or any(isinstance(proposal, Add) for proposal, _ in proposals):
        yield Draft(group.tree).leftmost_blank()
    for proposal, sender in proposals:
        if isinstance(proposal, Remove):
            yield proposal.removed
        elif not isinstance(proposal, Add) and sender.index is not None:
            yield sender.index


def _values(group: PublicGroup, content: FramedContent) -> Iterator[tuple[Kind, bytes]]:
    for proposal, _ in _proposals(group, content):
        if isinstance(proposal, Add):
            yield from _of_leaf(group.tree, proposal.key_package.leaf_node)
        elif isinstance(proposal, Update):
            yield from _of_leaf(group.tree, proposal.leaf_node)
    if isinstance(content.content, Commit) and content.content.path is not None:
        yield from _of_leaf(group.tree, content.content.path.leaf_node)
        for node in content.content.path.nodes:
            yield Kind.ENCRYPTION_KEY, node.encryption_key


def _of_leaf(tree: Tree, leaf: LeafNode) -> Iterator[tuple[Kind, bytes]]:
    yield Kind.ENCRYPTION_KEY, leaf.encryption_key
    yield Kind.SIGNATURE_KEY, leaf.signature_key
    yield Kind.CLIENT, tree.policy.client(leaf)

"""What is fuzzed: every decoder, and the judge behind the signatures.

A target takes any bytes. A decoder may refuse them with `DecodeError` and nothing else, and what it takes it must
encode again as it was. A judge may refuse with a `Refusal`; so that a fuzzer gets past signatures and hashes, the
bytes are put into a message that is properly signed.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from chalicelib.errors import Refusal
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.messages import DSRequest, DSSenderID, sign_message
from chalicelib.protocol.mls.app_data import read_dictionary
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import EXTERNAL_SENDERS, Certificate, Extension, external_senders
from chalicelib.protocol.mls.framing import FramedContent, encode_content
from chalicelib.protocol.mls.group_info_rules import create_group
from chalicelib.protocol.mls.nodes import encode_optional_node
from chalicelib.protocol.mls.plain_tree import PlainTree, encode_tree, read_nodes
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import encode_proposal, read_proposal
from chalicelib.protocol.mls.stored_group import decode_root, encode_root
from chalicelib.protocol.mls.tags import encode_directory, read_directory
from chalicelib.protocol.tls import TREE_ELEMENTS, Reader, decode, length, opaque, vector
from tests.protocol.delivery.requests import honest
from tests.protocol.delivery.strategies import STRUCTS as DELIVERY
from tests.protocol.mls.story import Story
from tests.protocol.mls.strategies import STRUCTS as MLS
from tests.protocol.mls.test_chunked_tree import MemoryChunks

Target = Callable[[bytes], None]


STRUCTS = {**MLS, **DELIVERY}
"""Each struct whose decoder is fuzzed by itself, with its values."""


class NotTheSame(AssertionError):
    """Something was decoded that is encoded otherwise."""


def _same(encoded: bytes, data: bytes) -> None:
    if encoded != data:
        raise NotTheSame


def _struct(struct: Any) -> Target:
    def target(data: bytes) -> None:
        _same(decode(struct.read, data).encode(), data)

    return target


def _length(data: bytes) -> None:
    _same(length(decode(Reader.length, data)), data)


def _proposal(data: bytes) -> None:
    _same(encode_proposal(decode(read_proposal, data)), data)


def _nodes(data: bytes) -> None:
    nodes = decode(read_nodes, data, TREE_ELEMENTS)
    _same(opaque(b"".join(map(encode_optional_node, nodes))), data)


def _external_senders(data: bytes) -> None:
    _same(vector(external_senders((Extension(EXTERNAL_SENDERS, data),))), data)


def _dictionary(data: bytes) -> None:
    _same(vector(decode(read_dictionary, data)), data)


def _certificates(data: bytes) -> None:
    _same(vector(decode(lambda reader: reader.vector(Certificate.read), data)), data)


def _directory(data: bytes) -> None:
    _same(encode_directory(decode(read_directory, data)), data)


def _root(data: bytes) -> None:
    """Decode a stored root. Our own writing is no one else's: it need not be the only encoding."""
    try:
        group = decode_root(data, Policy(), Attempt(MemoryChunks(), bytes(8)))
    except Refusal:
        return
    encode_root(group)


@functools.cache
def story() -> Story:
    """Return a group with a history, which the judges are asked about."""
    told = Story("alice", "bob", "third", "fourth", "fifth", proposals=(8, 9, 10), leaf_extensions=(6,))
    told.commit("third")
    told.add("alice", "sixth", path=False)
    return told


def _judge(data: bytes) -> None:
    """Judge any commit as one of bob's, whose signature is good."""
    try:
        story().stage(story().forge("bob", decode(Commit.read, data)))
    except Refusal:
        return


def _judge_content(data: bytes) -> None:
    """Judge any content, whoever claims to have sent it, with bob's signature."""
    try:
        content = decode(FramedContent.read, data)
        message = story().forge("bob", content.content, sender=content.sender, epoch=content.epoch)
        story().stage(message)
    except Refusal:
        return


def _import(data: bytes) -> None:
    """Create a group from any tree, with a GroupInfo that bob signs for it."""
    bob = story().members["bob"]
    try:
        nodes = decode(read_nodes, data, TREE_ELEMENTS)
        proper = nodes and all(
            node is None or hasattr(node, "unmerged_leaves") == index % 2 for index, node in enumerate(nodes)
        )
        context = story().group.context
        if proper:
            tree = PlainTree.build(cipher_suite(1), Policy(), nodes)
            context = dataclasses.replace(context, tree_hash=Draft(tree).tree_hash)
        info = dataclasses.replace(bob.group_info(), group_context=context, signed=b"")
        signed = dataclasses.replace(info, signature=bob.identity.sign("GroupInfoTBS", info.signed))
        create_group(signed, data, Policy())
    except Refusal:
        return


TARGETS: dict[str, Target] = {
    **{struct.__name__: _struct(struct) for struct in STRUCTS},
    "Length": _length,
    "Proposal": _proposal,
    "ratchet_tree": _nodes,
    "external_senders": _external_senders,
    "AppDataDictionary": _dictionary,
    "certificates": _certificates,
    "directory": _directory,
    "root": _root,
    "judge a commit": _judge,
    "judge a content": _judge_content,
    "import a tree": _import,
}


def seeds() -> dict[str, list[bytes]]:
    """Return honest values for each target that no strategy makes: where a corpus begins."""
    told = story()
    commit = told.pending("bob").commit.body.content.content  # type: ignore[union-attr]
    adding = told.pending("bob", *told.adding("seventh")).commit.body.content  # type: ignore[union-attr]
    outside = told.external("seventh").commit.body.content  # type: ignore[union-attr]
    tree = ChunkedTree.build(told.group.tree, b"salt", 1, Attempt(MemoryChunks(), bytes(8)))
    stored = dataclasses.replace(told.group, tree=tree)
    return {
        "ratchet_tree": [encode_tree(told.group.tree)],
        "root": [encode_root(stored)],
        "directory": [encode_directory(tree.tags.directories[0])],
        "judge a commit": [encode_content(commit), encode_content(adding.content)],
        "judge a content": [adding.encode(), outside.encode()],
        "import a tree": [encode_tree(told.group.tree)],
        "Proposal": [encode_proposal(proposal) for proposal in told.adding("eighth")],
        "DSMessage": [
            sign_message(DSSenderID.leaf(1), DSRequest(body), lambda _label, _content: bytes(64)).encode()
            for body in honest().values()
        ],
    }

"""TreeKEM: how a committer hands the others the secrets of its path (RFC 9420 §§7.4–7.6)."""

import dataclasses
from collections.abc import Mapping, Sequence

from chalicelib.client.mls_crypto import CannotDecrypt, CannotFollow, KeyPair, MemberSuite
from chalicelib.client.mls_identity import Identity, Random
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.commit import UpdatePath, UpdatePathNode
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.group_info import GroupContext
from chalicelib.protocol.mls.nodes import LeafNodeSource


class NotForThisMember(CannotFollow):
    """The message does not let this member go on: it is not invited, was removed, or lacks a key."""


@dataclasses.dataclass(frozen=True)
class Path:
    """What a committer makes for its path: keys and path secrets by node index."""

    keys: Mapping[int, KeyPair]
    commit_secret: bytes
    path_secrets: Mapping[int, bytes]
    update_path: UpdatePath | None


def make_path(
    identity: Identity,
    draft: Draft,
    leaf_index: int,
    new: Sequence[int],
    context: GroupContext,
    random: Random,
) -> Path:
    """Make an UpdatePath and put it on the draft (§7.5, §7.6); `context` still lacks its tree hash."""
    suite = identity.suite
    leaf_pair = suite.derive_key_pair(random(suite.hash_size))
    filtered = draft.filtered_direct_path(leaf_index)
    receivers = {index: _receivers(draft, copath, new) for index, copath in filtered}
    public = {node: public_key_at(draft, node) for nodes in receivers.values() for node in nodes}
    secret = random(suite.hash_size)
    secrets: dict[int, bytes] = {}
    keys = {2 * leaf_index: leaf_pair}
    for index, _ in filtered:
        secrets[index] = secret
        keys[index] = suite.derive_key_pair(suite.derive_secret(secret, "node"))
        secret = suite.derive_secret(secret, "path")
    parent_hash = draft.merge_keys(leaf_index, [keys[index].public for index, _ in filtered])
    leaf = identity.leaf_node(
        leaf_pair.public,
        LeafNodeSource.COMMIT,
        parent_hash=parent_hash,
        group_id=context.group_id,
        leaf_index=leaf_index,
    )
    draft.put(2 * leaf_index, leaf)
    info = dataclasses.replace(context, tree_hash=draft.tree_hash).encode()
    nodes = tuple(
        UpdatePathNode(
            keys[index].public,
            tuple(
                suite.encrypt_with_label(public[node], "UpdatePathNode", info, secrets[index])
                for node in receivers[index]
            ),
        )
        for index, _ in filtered
    )
    return Path(keys, secret, secrets, UpdatePath(leaf, nodes))


def public_key_at(draft: Draft, index: int) -> bytes:
    """Return the encryption key of a node that must be there."""
    node = draft.node(index)
    if node is None:
        raise ValueError("a blank node has no key")
    return node.encryption_key


def open_path_secret(
    suite: MemberSuite,
    draft: Draft,
    committer: int,
    path: UpdatePath,
    leaf_index: int,
    keys: Mapping[int, KeyPair],
    new: Sequence[int],
    context: GroupContext,
) -> tuple[int, bytes]:
    """Return the first node of a path that a member shares with the committer, and its path secret (§7.5)."""
    for node, (index, copath) in zip(path.nodes, draft.filtered_direct_path(committer), strict=True):
        if not tree_math.is_below(leaf_index, copath):
            continue
        for place, ciphertext in zip(_receivers(draft, copath, new), node.encrypted_path_secret, strict=True):
            if place in keys:
                private = keys[place].private
                return index, suite.decrypt_with_label(private, "UpdatePathNode", context.encode(), ciphertext)
    raise NotForThisMember("the path has no secret for this member")


def _receivers(draft: Draft, copath: int, new: Sequence[int]) -> list[int]:
    """Return the nodes that a path secret is encrypted to: the copath's resolution without leaves just added."""
    added = {2 * leaf_index for leaf_index in new}
    return [node for node in draft.resolution(copath) if node not in added]


def climb(
    suite: MemberSuite, draft: Draft, committer: int, start: int, secret: bytes
) -> tuple[dict[int, KeyPair], bytes]:
    """Derive the key pairs of a committer's path from a node up, and check them against the tree."""
    keys: dict[int, KeyPair] = {}
    for index, _ in draft.filtered_direct_path(committer):
        if tree_math.level(index) < tree_math.level(start):
            continue
        pair = suite.derive_key_pair(suite.derive_secret(secret, "node"))
        if pair.public != public_key_at(draft, index):
            raise CannotDecrypt("a path secret does not make the key in the tree")
        keys[index] = pair
        secret = suite.derive_secret(secret, "path")
    return keys, secret


def still_good(keys: Mapping[int, KeyPair], draft: Draft) -> dict[int, KeyPair]:
    """Keep the key pairs whose public half still stands where it did."""
    kept = {}
    for index, pair in keys.items():
        node = draft.node(index) if index < 2 * draft.leaf_capacity - 1 else None
        if node is not None and node.encryption_key == pair.public:
            kept[index] = pair
    return kept

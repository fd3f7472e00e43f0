"""What a commit costs the delivery service: judged and merged from stored chunks, at 10 to 50,000 members.

A warm tree has all its parents filled and no unmerged leaves. Ours is made up: every leaf is signed and every parent
linked by parent hashes as members would have it, but encryption keys and path secrets are random bytes, which a
delivery service cannot tell. Each commit renews its sender's path. What is timed is all the work on one message, from
bytes to bytes: the root and the chunks are read from a dictionary, the message decoded, staged and merged, the chunks
and the root made ready to be written. Times are processor times in units of one Ed25519 verification in the same
process, measured beside each commit. Medians show one commit; means over commits in a row have in them the tag
segments that are rewritten now and then.

The cold first commit to a tree without parents carries one ciphertext for every other member. It is no smaller than
that for anyone, so it is shown per ciphertext.
"""

import dataclasses
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.mls.commit import Commit, HPKECiphertext, UpdatePath, UpdatePathNode
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import BASIC, Credential, Extensions
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    decode_message,
)
from chalicelib.protocol.mls.group_info import GroupContext
from chalicelib.protocol.mls.key_package import MLS10
from chalicelib.protocol.mls.nodes import Capabilities, LeafNode, LeafNodeSource, Node, ParentNode
from chalicelib.protocol.mls.plain_tree import PlainTree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.public_group import PublicGroup, StagedCommit
from chalicelib.protocol.mls.stored_group import decode_root, encode_root, prefetch
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.mls.tree import leaf_hash, node_hash, parent_hash
from infra.bench import _growth
from infra.bench.report import Options, Row

T = TypeVar("T")

SUITE = cipher_suite(1)
GROUP_ID = b"benchmark"
CAPABILITIES = Capabilities((MLS10,), (SUITE.number,), (), (), (BASIC,))
NOW = 1_700_000_000


class Store(dict[Ref, bytes]):
    """A chunk store that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = self.size = self.calls = 0

    def load(self, refs: Collection[Ref]) -> Mapping[Ref, bytes]:
        """Return the objects with these references."""
        loaded = {ref: self[ref] for ref in refs}
        self.calls += 1
        self.objects += len(loaded)
        self.size += sum(map(len, loaded.values()))
        return loaded


class Crowd:
    """Made-up members: a signature key for each leaf, everything else random from a fixed seed."""

    def __init__(
        self,
        members: int,
        group_id: bytes = GROUP_ID,
        policy: Policy | None = None,
        extensions: Extensions = (),
    ) -> None:
        self.random = random.Random(members)  # noqa: S311 - nobody's keys
        self.members = members
        self.group_id = group_id
        self.policy = policy or Policy()
        self.extensions = extensions
        self.keys = [
            Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % number).digest()) for number in range(members)
        ]

    def leaf(self, leaf_index: int, encryption_key: bytes, above: bytes) -> LeafNode:
        """Return a member's signed leaf, as a commit leaves it."""
        key = self.keys[leaf_index]
        unsigned = LeafNode(
            encryption_key,
            key.public_key().public_bytes_raw(),
            Credential(BASIC, b"mimi://example.com/d/user%06d/client0" % leaf_index),
            CAPABILITIES,
            LeafNodeSource.COMMIT,
            None,
            above,
            (),
            b"",
        )
        content = unsigned.to_be_signed(self.group_id, leaf_index)
        return dataclasses.replace(unsigned, signature=self.sign(leaf_index, "LeafNodeTBS", content))

    def sign(self, leaf_index: int, label: str, content: bytes) -> bytes:
        """Sign with a member's key."""
        return SUITE.sign_with_label(self.keys[leaf_index].private_bytes_raw(), label, content)

    def tree(self, *, warm: bool) -> PlainTree:
        """Return a tree with all parents filled, each set by its leftmost leaf, or with none."""
        leaf_capacity = tree_math.leaf_capacity_for(self.members)
        nodes: list[Node | None] = [None] * (2 * leaf_capacity - 1)

        def fill(index: int, above: bytes) -> bytes:
            """Fill a subtree whose root's parent hash is `above`, and return its tree hash."""
            first, _ = tree_math.subtree(index)
            if tree_math.level(index) == 0:
                leaf = None
                if first < self.members:
                    leaf = self.leaf(first, self.random.randbytes(32), above)
                nodes[index] = leaf
                return leaf_hash(SUITE, first, leaf)
            left, right = tree_math.left(index), tree_math.right(index)
            filled = warm and tree_math.subtree(right)[0] < self.members
            # The right half was set at some other time, when another parent stood here.
            right_hash = fill(right, self.random.randbytes(32))
            parent = ParentNode(self.random.randbytes(32), above, ()) if filled else None
            nodes[index] = parent
            if parent is not None:
                above = parent_hash(SUITE, parent, right_hash)
            return node_hash(SUITE, parent, fill(left, above), right_hash)

        fill(tree_math.root(leaf_capacity), b"")
        return PlainTree.build(SUITE, self.policy, nodes)

    def group(self, store: Store, *, warm: bool) -> PublicGroup:
        """Return a stored group of all members."""
        plain = self.tree(warm=warm)
        draft = Draft(plain)
        transcript = self.random.randbytes(32)
        context = GroupContext(MLS10, SUITE.number, self.group_id, 1, draft.tree_hash, transcript, self.extensions)
        support = Support.of(leaf for _, leaf in draft.all_leaves())
        tree = ChunkedTree.build(plain, self.random.randbytes(16), 1, Attempt(store, bytes(8)))
        store.update(tree.written)
        return PublicGroup(context, self.random.randbytes(32), self.random.randbytes(32), tree, support)

    def commit(self, group: PublicGroup, leaf_index: int) -> bytes:
        """Return a commit without proposals that renews a member's path."""
        draft = Draft(group.tree)
        filtered = draft.filtered_direct_path(leaf_index)
        nodes = tuple(
            UpdatePathNode(
                self.random.randbytes(32),
                tuple(
                    HPKECiphertext(self.random.randbytes(32), self.random.randbytes(48))
                    for _ in range(draft.resolution_size(copath))
                ),
            )
            for _, copath in filtered
        )
        above = draft.merge_keys(leaf_index, [node.encryption_key for node in nodes])
        path = UpdatePath(self.leaf(leaf_index, self.random.randbytes(32), above), nodes)
        framed = FramedContent(self.group_id, group.epoch, Sender(SenderType.MEMBER, leaf_index), b"", Commit((), path))
        signed = framed.to_be_signed(WireFormat.PUBLIC_MESSAGE, group.context)
        signature = self.sign(leaf_index, "FramedContentTBS", signed)
        auth = FramedContentAuthData(signature, self.random.randbytes(32))
        content = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, framed, auth)
        return MLSMessage(PublicMessage(content.content, content.auth, self.random.randbytes(32))).encode()


def timed(parts: dict[str, float], name: str, work: Callable[[], T]) -> T:
    """Do some work and add its time to a part."""
    start = time.process_time()
    result = work()
    parts[name] = parts.get(name, 0.0) + time.process_time() - start
    return result


def accept(root: bytes, store: Store, message: bytes, attempt: bytes) -> tuple[bytes, ChunkedTree, dict[str, float]]:
    """Do all that one commit takes, and return the next root, its tree, and the time of each part."""
    parts: dict[str, float] = {}
    commit = timed(parts, "decode the message", lambda: decode_message(message))
    group = timed(parts, "open the root", lambda: decode_root(root, Policy(), Attempt(store, attempt)))
    body = commit.body
    if not isinstance(body, PublicMessage):
        raise TypeError("the benchmark makes public messages")
    timed(parts, "load chunks", lambda: prefetch(group, body.content))
    staged = timed(parts, "stage", lambda: group.stage(commit, NOW))
    merged = timed(parts, "merge", lambda: group.merge(staged))
    after = timed(parts, "encode the root", lambda: encode_root(merged))
    if not isinstance(staged, StagedCommit) or not isinstance(merged.tree, ChunkedTree):
        raise TypeError("the benchmark makes commits on chunked trees")
    return after, merged.tree, parts


def verification() -> float:
    """Return the seconds that one Ed25519 verification takes: the median of some batches, on 300 bytes."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    content = bytes(300)
    signature, public = key.sign(content), key.public_key().public_bytes_raw()
    batches = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(40):
            Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
        batches.append((time.process_time() - start) / 40)
    return statistics.median(batches)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the commits of one group came to: medians, and the mean of the whole."""

    ratio: float
    mean: float
    parts: Mapping[str, float]
    read: float
    written: float
    bytes_read: float
    bytes_written: float
    calls: float


def measure(members: int, rounds: int) -> Measured:
    """Let random members of a warm group commit, one after another."""
    crowd, store = Crowd(members), Store()
    group = crowd.group(store, warm=True)
    root, totals, parts = encode_root(group), [], []
    read, written, bytes_read, bytes_written, calls = [], [], [], [], []
    for number in range(rounds + 5):
        attempt = b"%08d" % number
        leaf_index = crowd.random.randrange(members)
        message = crowd.commit(decode_root(root, Policy(), Attempt(store, attempt)), leaf_index)
        unit = verification()
        store.objects = store.size = store.calls = 0
        before = root
        root, tree, spent = accept(root, store, message, attempt)
        if number >= 5:  # The first ones fill the interpreter's caches.
            totals.append(sum(spent.values()) / unit)
            parts.append({name: seconds / unit for name, seconds in spent.items()})
            # The head row and the root are read and written besides the chunks.
            read.append(store.objects + 2)
            written.append(len(tree.written) + 2)
            bytes_read.append(store.size + len(before))
            bytes_written.append(sum(map(len, tree.written.values())) + len(root))
            calls.append(store.calls)
        store.update(tree.written)
    median = statistics.median
    return Measured(
        median(totals),
        statistics.fmean(totals),
        {name: median(part[name] for part in parts) for name in parts[0]},
        median(read),
        median(written),
        median(bytes_read),
        median(bytes_written),
        median(calls),
    )


def measure_cold(members: int) -> tuple[float, int]:
    """Return the time of the first commit to a tree without parents, and its number of ciphertexts."""
    crowd, store = Crowd(members), Store()
    group = crowd.group(store, warm=False)
    message = crowd.commit(group, 0)
    _, _, spent = accept(encode_root(group), store, message, b"attempt0")
    return sum(spent.values()) / verification(), members - 1


def run(options: Options) -> Iterator[Row]:
    """Measure warm commits at growing sizes, then cold ones."""
    sizes = [10, 100, 1_000] if options.quick else [10, 100, 1_000, 10_000, 50_000]
    found: dict[int, Measured] = {}
    for members in sizes:
        measured = found[members] = measure(members, 20 if options.quick else 200)
        size = f"{members:,} members"
        yield Row(
            f"stage + merge, warm, {size}",
            measured.ratio,
            "Ed25519 verifications",
            "<= 60" if members == 1_000 else "",
        )
        yield Row("    mean of commits in a row", measured.mean, "Ed25519 verifications")
        for name, value in measured.parts.items():
            yield Row(f"    {name}", value, "Ed25519 verifications")
        touched = measured.read + measured.written
        yield Row(f"    items touched, {size}", touched, "items", "<= 40" if members == 50_000 else "")
        yield Row("    items read, the head row and the root among them", measured.read, "items")
        yield Row("    items written, the head row and the root among them", measured.written, "items")
        yield Row("    bytes read", measured.bytes_read, "bytes")
        yield Row("    bytes written", measured.bytes_written, "bytes")
        yield Row("    calls to load", measured.calls, "calls")
    if 50_000 in found:
        growth = found[50_000].ratio / found[1_000].ratio
        yield Row("stage + merge at 50,000 ÷ at 1,000 members, warm", growth, "times", "<= 1.6")
    for members in sizes:
        ratio, ciphertexts = measure_cold(members)
        yield Row(f"cold first commit, {members:,} members", ratio, "Ed25519 verifications")
        yield Row("    per ciphertext", ratio / ciphertexts, "Ed25519 verifications")
    if options.plot is not None:
        _growth.draw(
            options.plot,
            "One commit, warm tree",
            "members",
            {
                "time in Ed25519 verifications": {size: found[size].ratio for size in sizes},
                "items touched": {size: found[size].read + found[size].written for size in sizes},
            },
        )

"""The secret tree and its ratchets (RFC 9420 §9): one key and nonce for each message of each sender.

Keys are taken once and forgotten (§9.2). Messages of one sender may come out of order: the keys that were
stepped over wait in the ratchet, up to a limit that keeps a forged generation from costing more than it
should.
"""

import dataclasses

from chalicelib.client.mls_crypto import NONCE_SIZE, CannotFollow, MemberSuite
from chalicelib.protocol.mls import tree_math

FURTHEST_STEP = 1000
"""How far ahead of a sender's last generation a message may be."""


class KeyGone(CannotFollow):
    """The key of a message was used before, or lies too far ahead."""


@dataclasses.dataclass(frozen=True)
class MessageKey:
    """A key and nonce for one message."""

    generation: int
    key: bytes
    nonce: bytes


class Ratchet:
    """One sender's keys for one kind of message, in the order of generations."""

    def __init__(self, suite: MemberSuite, secret: bytes) -> None:
        self.suite = suite
        self.secret = secret
        self.generation = 0
        self.waiting: dict[int, MessageKey] = {}

    def next(self) -> MessageKey:
        """Return the next unused key and forget how to make it again."""
        suite, secret, generation = self.suite, self.secret, self.generation
        key = MessageKey(
            generation,
            suite.derive_tree_secret(secret, "key", generation, suite.key_size),
            suite.derive_tree_secret(secret, "nonce", generation, NONCE_SIZE),
        )
        self.secret = suite.derive_tree_secret(secret, "secret", generation, suite.hash_size)
        self.generation += 1
        return key

    def take(self, generation: int) -> MessageKey:
        """Return the key of one generation, once."""
        if generation < self.generation:
            key = self.waiting.pop(generation, None)
            if key is None:
                raise KeyGone("the key of this message was used before")
            return key
        if generation - self.generation > FURTHEST_STEP:
            raise KeyGone("the message lies too far ahead of its sender's last one")
        while self.generation < generation:
            key = self.next()
            self.waiting[key.generation] = key
        return self.next()

    def put_back(self, key: MessageKey) -> None:
        """Let a key be taken again, because what it was taken for did not open."""
        self.waiting[key.generation] = key


class SecretTree:
    """The ratchets of every leaf, derived from the epoch's encryption secret when first asked for."""

    def __init__(self, suite: MemberSuite, encryption_secret: bytes, leaf_capacity: int) -> None:
        self.suite = suite
        self.leaf_capacity = leaf_capacity
        self.secrets = {tree_math.root(leaf_capacity): encryption_secret}
        self.ratchets: dict[tuple[int, bool], Ratchet] = {}

    def ratchet(self, leaf_index: int, *, handshake: bool) -> Ratchet:
        """Return a leaf's ratchet for handshakes or for application messages."""
        if (leaf_index, handshake) not in self.ratchets:
            secret = self._leaf_secret(leaf_index)
            for label in ("handshake", "application"):
                derived = self.suite.expand_with_label(secret, label, b"", self.suite.hash_size)
                self.ratchets[leaf_index, label == "handshake"] = Ratchet(self.suite, derived)
        return self.ratchets[leaf_index, handshake]

    def _leaf_secret(self, leaf_index: int) -> bytes:
        """Derive a leaf's secret from the lowest one that is left above it; those stepped through are deleted."""
        waiting = []
        for node in (2 * leaf_index, *tree_math.direct_path(2 * leaf_index, self.leaf_capacity)):
            if node in self.secrets:
                break
            waiting.append(node)
        for child in reversed(waiting):
            parent = tree_math.parent(child)
            secret = self.secrets.pop(parent)
            for side, label in ((tree_math.left(parent), b"left"), (tree_math.right(parent), b"right")):
                self.secrets[side] = self.suite.expand_with_label(secret, "tree", label, self.suite.hash_size)
        return self.secrets.pop(2 * leaf_index)

"""Random histories of groups with real clients of two stacks and our own, followed by the delivery service.

After every commit each member's tree hash is the delivery service's, and where a client exports secrets they are the
same: the exporter hangs on the whole GroupContext. Now and then somebody speaks, and everyone else can read it. The
delivery service's tree is cut into chunks and stored between epochs, as it is in the field.
"""

import dataclasses
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from chalicelib.protocol.mls.chunked_tree import Attempt, ChunkedTree
from chalicelib.protocol.mls.framing import PublicMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.group_info_rules import create_group, verify_staged_group_info
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.public_group import StagedCommit
from chalicelib.protocol.mls.stored_group import decode_root, encode_root, prefetch
from chalicelib.protocol.mls.welcome import Welcome
from chalicelib.protocol.mls.welcome_rules import check_welcomes
from tests.protocol.mls.clients import Agentvault, Client, Own, Rine, Sent, ratchet_tree, third_opinion
from tests.protocol.mls.story import refused
from tests.protocol.mls.test_chunked_tree import MemoryChunks

EPOCHS = 200


class History:
    """A group of many clients; `members` are those in it, by leaf index."""

    def __init__(self, folder: Path, seed: int, suite: int = 1) -> None:
        self.folder, self.suite = folder, suite
        self.random = random.Random(seed)
        self.now = int(time.time())  # The clients' own clocks cannot be set.
        self.numbers = iter(range(10**9))
        self.done: Counter[str] = Counter()
        self.sizes: set[int] = set()
        self.truncations = 0
        first, second = self.rine(), self.rine()
        sent, info = first.create([second.key_package()])
        body = decode_message(info).body
        assert isinstance(body, GroupInfo)
        self.group = create_group(body, None, Policy())
        second.join(sent.welcomes, ratchet_tree(self.group))
        self.members: dict[int, Client] = {0: first, 1: second}
        self.chunks = MemoryChunks()
        tree = ChunkedTree.build(self.group.tree, b"salt", 1, Attempt(self.chunks, bytes(8)))
        self.chunks.store(tree.written)
        self.group = dataclasses.replace(self.group, tree=tree)

    # Clients.

    def rine(self) -> Rine:
        folder = self.folder / str(next(self.numbers))
        return Rine(folder, self.random.randbytes(32), self.suite)

    def client(self) -> Client:
        number = next(self.numbers)
        kind = self.random.choice(["rine", "agentvault", "own"])
        if kind == "rine" or self.suite != 1:
            return self.rine()
        if kind == "agentvault":
            return Agentvault(b"agentvault %d" % number)
        return Own(b"own %d" % number, self.random, self.now)

    def able(self, task: str) -> list[int]:
        return [index for index, client in self.members.items() if task in client.tasks]

    def group_info(self) -> bytes:
        giver = self.members[self.random.choice(self.able("external"))]
        assert isinstance(giver, Rine | Own)
        return giver.group_info()

    # What the delivery service sees.

    def accept(self, message: bytes) -> StagedCommit | None:
        """Judge and merge a message on the stored group, as a request of its own."""
        root = encode_root(self.group)
        group = decode_root(root, Policy(), Attempt(self.chunks, self.random.randbytes(8)))
        decoded = decode_message(message)
        assert isinstance(decoded.body, PublicMessage)
        prefetch(group, decoded.body.content)
        staged = group.stage(decoded, self.now)
        before = self.group.tree.leaf_capacity
        self.group = group.merge(staged)
        assert isinstance(self.group.tree, ChunkedTree)
        self.chunks.store(self.group.tree.written)
        self.sizes.add(self.group.tree.leaf_capacity)
        self.truncations += self.group.tree.leaf_capacity < before
        return staged if isinstance(staged, StagedCommit) else None

    def proposed(self, sender: int, message: bytes) -> None:
        self.accept(message)
        for index, client in self.members.items():
            if index != sender:
                client.receive(message)

    def committed(
        self, committer: Client, sent: Sent, joiners: dict[bytes, Client], late: Client | None = None
    ) -> None:
        """Let everyone follow a commit, and those it adds join; one may be late."""
        staged = self.accept(sent.commit)
        assert staged is not None
        welcomes = [decode_message(welcome).body for welcome in sent.welcomes]
        check_welcomes([welcome for welcome in welcomes if isinstance(welcome, Welcome)], staged)
        if isinstance(committer, Rine | Own):
            # Both put the tree into their GroupInfo, so it is compared with the service's own.
            info = decode_message(committer.group_info()).body
            assert isinstance(info, GroupInfo)
            verify_staged_group_info(info, staged)
        for leaf_index in staged.removed:
            del self.members[leaf_index]
        for client in self.members.values():
            if client is late:
                client.reload()  # type: ignore[attr-defined]
            if client is not committer:
                client.receive(sent.commit)
        if staged.external:
            self.members[staged.committer] = committer
        for leaf_index, add in staged.added:
            client = joiners[add.key_package.leaf_node.signature_key]
            client.join(sent.welcomes, ratchet_tree(self.group))
            self.members[leaf_index] = client
        self.compare()

    def compare(self) -> None:
        """Assert that all sides are in the same state."""
        for client in self.members.values():
            assert client.tree_hash() == self.group.context.tree_hash
        exported = {client.exported() for client in self.members.values()} - {None}
        assert len(exported) <= 1

    def talk(self) -> None:
        """Let somebody say something, and all the others hear it."""
        speaker = self.random.choice(sorted(self.members))
        said = self.random.randbytes(20)
        message = self.members[speaker].say(said)
        for index, client in self.members.items():
            if index != speaker:
                assert client.hear(message) == said
        self.done[f"{type(self.members[speaker]).__name__} said"] += 1

    # One epoch.

    def offers(self, count: int) -> tuple[list[bytes], dict[bytes, Client]]:
        """Return new clients' key packages, and the clients by signature key."""
        key_packages, joiners = [], {}
        for _ in range(count):
            client = self.client()
            encoded = client.key_package()
            body = decode_message(encoded).body
            joiners[body.leaf_node.signature_key] = client  # type: ignore[union-attr]
            key_packages.append(encoded)
        return key_packages, joiners

    def step(self, *, growing: bool) -> None:
        weights = {
            "add": 5 if growing else 1,
            "remove": 1 if growing else 6,
            "update": 4,
            "external": 2 if growing else 1,
            "resync": 1,
            "by reference": 3,
        }
        task = self.random.choices(list(weights), list(weights.values()))[0]
        if task == "by reference":
            self.by_reference()
            return
        able = self.able(task)
        if not able or (task in {"remove", "resync"} and len(self.members) < 3):
            task, able = "add", self.able("add")
        committer = self.random.choice(able)
        client = self.members[committer]
        joiners: dict[bytes, Client] = {}
        match task:
            case "add":
                key_packages, joiners = self.offers(self.random.randint(1, 3))
                sent = client.add(key_packages, ratchet_tree(self.group))  # type: ignore[attr-defined]
            case "remove":
                # Often the rightmost, so that the tree is truncated now and then.
                others = sorted(set(self.members) - {committer})
                leaving = others[-1] if self.random.random() < 0.7 else self.random.choice(others)
                sent = client.remove(leaving)  # type: ignore[attr-defined]
            case "update":
                sent = client.update()  # type: ignore[attr-defined]
            case "external":
                client = self.rine() if self.random.random() < 0.5 or self.suite != 1 else self.own()
                sent = client.external(self.group_info())
            case "resync":
                info = self.group_info()
                sent = client.resync(info, committer)  # type: ignore[attr-defined]
        self.done[f"{type(client).__name__} {task}"] += 1
        self.committed(client, sent, joiners)

    def own(self) -> Own:
        return Own(b"own %d" % next(self.numbers), self.random, self.now)

    def by_reference(self) -> None:
        """Let some members propose, and another commit it all."""
        able = self.able("commit_pending")
        if len(able) < 2:
            return
        committer = self.random.choice(able)
        joiners: dict[bytes, Client] = {}
        touched = {committer}
        for proposer in self.random.sample(sorted(self.members), min(3, len(self.members))):
            client = self.members[proposer]
            kinds = sorted(client.tasks & {"propose_add", "propose_update", "propose_remove"})
            if not kinds or proposer == committer:
                continue
            kind = self.random.choice(kinds)
            if kind == "propose_add":
                (key_package,), offered = self.offers(1)
                joiners |= offered
                message = client.propose_add(key_package)  # type: ignore[attr-defined]
            elif kind == "propose_update" and proposer not in touched:
                touched.add(proposer)
                message = client.propose_update()  # type: ignore[attr-defined]
            else:
                free = sorted(set(self.members) - touched - {proposer})
                if kind != "propose_remove" or not free:
                    continue
                touched.add(free[-1])
                message = client.propose_remove(free[-1])  # type: ignore[attr-defined]
            self.done[f"{type(client).__name__} {kind}"] += 1
            self.proposed(proposer, message)
        client = self.members[committer]
        sent = client.commit_pending()  # type: ignore[attr-defined]
        self.done[f"{type(client).__name__} commit_pending"] += 1
        self.committed(client, sent, joiners)


def test_real_clients_and_the_delivery_service_agree_on_long_histories(tmp_path: Path, campaign: int) -> None:
    history = History(tmp_path, seed=campaign)
    start = history.group.epoch
    while history.group.epoch < start + EPOCHS * campaign:
        epoch = history.group.epoch % 60
        history.step(growing=epoch < 35 and len(history.members) < 24)
        if epoch % 3 == 0:
            history.talk()
        if epoch % 5 == 0:
            assert third_opinion(ratchet_tree(history.group)) == history.group.context.tree_hash
    assert {
        "Rine add",
        "Rine remove",
        "Rine external",
        "Rine resync",
        "Agentvault add",
        "Agentvault update",
        "Agentvault propose_add",
        "Agentvault commit_pending",
        "Own propose_update",
        "Own propose_remove",
        "Own commit_pending",
        "Own external",
        "Rine said",
        "Agentvault said",
        "Own said",
    } <= history.done.keys()
    assert history.truncations > 0
    assert max(history.sizes) >= 16


@pytest.mark.parametrize("suite", [1, 0xF057])
def test_a_group_of_real_clients_alone_is_followed_in_either_suite(tmp_path: Path, suite: int) -> None:
    history = History(tmp_path, seed=suite, suite=suite)
    members = history.members

    def first() -> Rine:
        client = members[min(members)]
        assert isinstance(client, Rine)
        return client

    for _ in range(3):
        clients = [history.rine() for _ in range(2)]
        key_packages, joiners = [], {}
        for client in clients:
            encoded = client.key_package()
            body = decode_message(encoded).body
            joiners[body.leaf_node.signature_key] = client  # type: ignore[union-attr]
            key_packages.append(encoded)
        history.committed(first(), first().add(key_packages, b""), dict(joiners))
    newcomer = history.rine()
    history.committed(newcomer, newcomer.external(history.group_info()), {})
    back = members[2]
    assert isinstance(back, Rine)
    history.committed(back, back.resync(history.group_info(), 2), {})
    for leaf_index in sorted(members, reverse=True)[:4]:
        history.committed(first(), first().remove(leaf_index), {})
    assert history.group.suite.number == suite
    assert history.truncations > 0


def test_the_loser_of_a_race_reloads_and_tries_again(tmp_path: Path) -> None:
    history = History(tmp_path, seed=3)
    winner, loser = history.members[0], history.members[1]
    assert isinstance(winner, Rine)
    assert isinstance(loser, Rine)
    loser.group.save()
    lost = loser.add([history.rine().key_package()], b"")
    key_packages, joiners = history.offers(1)
    history.committed(winner, winner.add(key_packages, b""), joiners, late=loser)
    with refused("mls-12.4.2-1"):
        history.accept(lost.commit)
    again, more = history.offers(1)
    history.committed(loser, loser.add(again, b""), more)

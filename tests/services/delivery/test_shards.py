"""Groups of more members than one worker delivers to: each shard has a worker, a cursor and a stream of its own.

The members are made up (`infra.bench.commit.Crowd`): they sign what they send, and nobody reads what they get.
"""

import dataclasses
from collections import Counter

import pytest

from chalicelib.client.mls_crypto import member_suite
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.delivery.group_messages import SendMessage
from chalicelib.protocol.delivery.group_state import Change, GroupState, RemovalReason
from chalicelib.protocol.delivery.group_updates import MLSGroupUpdate, UpdateClient
from chalicelib.protocol.delivery.info_requests import ExternalCommitInfo
from chalicelib.protocol.delivery.messages import Body, DSMessage, DSRequest, DSSenderID, sign_message
from chalicelib.protocol.delivery.parts import Domain, Freshness
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, EnqueueRequest, EnqueueResponse
from chalicelib.protocol.delivery.queueing import QueueingServiceResponse as Result
from chalicelib.protocol.delivery.records import LEAVES, DeliveryRecord, Records
from chalicelib.protocol.delivery.responses import Ok
from chalicelib.protocol.delivery.sealed import Sealed
from chalicelib.protocol.mls.chunked_tree import ChunkedTree
from chalicelib.protocol.mls.chunks import reference
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.extensions import EXTERNAL_PUB, Extension, external_senders_extension
from chalicelib.protocol.mls.framing import ContentType, MLSMessage, PrivateMessage, decode_message
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo, PartialGroupInfo
from chalicelib.protocol.mls.key_package import MLS10
from chalicelib.protocol.mls.plain_tree import PlainTree
from chalicelib.protocol.mls.public_group import StagedCommit, new_group
from chalicelib.protocol.mls.support import Support
from chalicelib.protocol.tls import opaque
from chalicelib.services.delivery.state import MEMBERSHIPS, SHARD_LEAVES, GroupId, Head, KeptAnswer, Kind, LogRow
from infra.bench.commit import GROUP_ID, Crowd
from tests.services.delivery.house import House, Person

MEMBERS = 700
GROUP = GroupId(GROUP_ID)
HERE, THERE = "eu.ds.example", "us.ds.example"


class Town:
    """A crowd in one group of a house: every tenth has its queue at another domain."""

    def __init__(self, members: int = MEMBERS) -> None:
        self.house, self.crowd = House(), Crowd(members)
        world, vault = self.house.world, self.house.vault
        policy = vault.policy(GROUP, 1)
        warm = self.crowd.tree(warm=True)
        tree = PlainTree.build(warm.suite, policy, warm.nodes)
        draft, attempt = Draft(tree), vault.attempt(GROUP)
        senders = (external_senders_extension((vault.signer(GROUP, 1).public,)),)
        context = GroupContext(MLS10, 1, GROUP, 1, draft.tree_hash, self.crowd.random.randbytes(32), senders)
        support = Support.of(leaf for _, leaf in draft.all_leaves())
        chunked = ChunkedTree.build(tree, bytes(16), 1, attempt)
        external = Extension(EXTERNAL_PUB, opaque(member_suite(1).derive_key_pair(bytes(32)).public))
        unsigned = GroupInfo(context, (external,), bytes(32), 0, b"")
        signature = self.crowd.sign(0, "GroupInfoTBS", unsigned.signed)
        signed = dataclasses.replace(unsigned, signature=signature)
        info, group = signed.encode(), new_group(signed, chunked, support)
        names = {number: DeliveryRecord(self.queue(number), 1, world.clock()) for number in range(members)}
        records, written = Records(attempt).changed(names)
        state = GroupState(group, reference(attempt.name, info), records)
        change = Change(state, {**written, state.group_info: info})
        now = world.clock()
        shards = -(-records.extent // SHARD_LEAVES)
        unnamed = Head(GROUP, 1, 1, 1, change.root, shards=shards, created_at=now, used_at=now)
        head = vault.store_first(unnamed, change, None, now)
        row = LogRow(1, Kind.CREATED, 1, head.root, now, b"", sender=0)
        world.groups.create(head, [row], KeptAnswer(bytes(32), b"made up", now + 1))

    def queue(self, number: int) -> ClientQueueConfig:
        domain = Domain(THERE if number % 10 == 0 else HERE)
        return ClientQueueConfig(domain, Sealed(1, (b"%d" % number).ljust(80)))

    def sign(self, leaf_index: int, body: Body) -> DSMessage:
        return sign_message(
            DSSenderID.leaf(leaf_index),
            DSRequest(body),
            lambda label, content: self.crowd.sign(leaf_index, label, content),
        )

    def say(self, leaf_index: int) -> None:
        sealed = self.crowd.random.randbytes(100)
        epoch = self.house.head(GROUP).epoch
        message = MLSMessage(PrivateMessage(GROUP, epoch, ContentType.APPLICATION, b"", b"", sealed))
        fresh = Freshness(self.house.world.clock(), self.crowd.random.randbytes(16), Domain(HERE))
        assert self.house.serve(self.sign(leaf_index, SendMessage(message, fresh))) == Ok()

    def commit(self, leaf_index: int) -> None:
        group = self.house.state(GROUP).group
        message = decode_message(self.crowd.commit(group, leaf_index))
        staged = group.stage(message, self.house.world.clock() // 1_000)
        assert isinstance(staged, StagedCommit)
        info = GroupInfo(staged.context, (), staged.confirmation_tag, leaf_index, b"")
        signature = self.crowd.sign(leaf_index, "GroupInfoTBS", info.signed)
        update = MLSGroupUpdate(message, PartialGroupInfo((), signature))
        assert self.house.serve(self.sign(leaf_index, UpdateClient(update))) == Ok()

    def got(self) -> dict[int, list[int]]:
        """Return the numbers of the rows that each leaf's queue was given, in order."""
        leaves = {self.queue(number): number for number in range(self.crowd.members)}
        rows: dict[int, list[int]] = {number: [] for number in leaves.values()}
        for delivered in self.house.world.queueing_services.delivered.values():
            for one in delivered:
                rows[leaves[one.config]].append(one.seq)
        return rows


@pytest.fixture
def town() -> Town:
    return Town()


def test_every_shard_delivers_to_its_own_leaves_in_order(town: Town) -> None:
    town.say(0)
    town.commit(699)
    town.say(499)
    town.say(500)
    town.house.deliver()
    expected = {0: [3, 4, 5], 699: [2, 4, 5], 499: [2, 3, 5], 500: [2, 3, 4]}
    assert town.got() == {number: expected.get(number, [2, 3, 4, 5]) for number in range(MEMBERS)}
    assert town.house.head(GROUP).shards == 2, "as many as have somebody to deliver to"
    streams = Counter(key[0] for key in town.house.world.queueing_services.streams)
    assert streams == {HERE: 2, THERE: 2}


def test_no_request_has_more_recipients_than_a_shard_has_leaves(town: Town) -> None:
    sizes = []
    enqueue = town.house.world.queueing_services.enqueue

    def counted(domain: str, request: EnqueueRequest) -> EnqueueResponse:
        sizes.append(sum(len(delivery.recipients) for delivery in request.deliveries))
        return enqueue(domain, request)

    town.house.world.queueing_services.enqueue = counted  # type: ignore[method-assign]
    town.say(0)
    town.house.deliver()
    assert sorted(sizes) == [20, 49, 180, 450]


def test_a_group_that_outgrows_its_shards_has_more_and_its_new_member_gets_nothing_older() -> None:
    town = Town(7 * LEAVES)
    town.say(0)
    newcomer = Person(town.house, "newcomer", user="user000007")
    newcomer.publish()
    assert newcomer.offered is not None
    offered = newcomer.offered.public
    request = ExternalCommitInfo(GROUP, newcomer.identity.signature_key, offered, newcomer.fresh())
    answer = town.house.serve(newcomer.sign(DSSenderID.key_package(offered.reference(cipher_suite(1))), request))
    message, pending = newcomer.returning(answer.group_info.body, answer.ratchet_tree, None)
    assert town.house.serve(message) == Ok()
    assert pending.accepted.leaf_index == 7 * LEAVES
    begins = [shard.cursor for shard in town.house.world.shards.of(GROUP) if shard.shard < MEMBERSHIPS]
    assert begins == [0, 2]
    town.say(1)
    town.house.deliver()
    assert [one.seq for one in town.house.world.queueing_services.delivered[HERE] if one.config == newcomer.queue] == [
        4
    ]


def test_a_shard_that_fails_keeps_the_others_waiting_for_nothing(town: Town) -> None:
    """Hints wake each by itself, and a sweep comes back to what is left."""
    town.say(0)
    town.house.world.fail("queueing_services", "enqueue")
    with pytest.raises(ConnectionError):
        town.house.fanout.deliver(GROUP, 0)
    town.house.fanout.deliver(GROUP, 1)
    assert sum(map(len, town.got().values())) == 200
    for _ in range(3):
        town.house.world.clock.advance(120_000)
        town.house.sweep.sweep()
    assert sum(map(len, town.got().values())) == MEMBERS - 1
    assert not town.house.world.tables.wakes


def test_queues_that_are_gone_in_any_shard_lead_to_removals(town: Town) -> None:
    for number in (3, 650):
        town.house.world.queueing_services.results[town.queue(number)] = Result.INVALID_CLIENT_QUEUE_INFORMATION
    town.say(0)
    town.house.deliver()
    removals = town.house.state(GROUP).removals
    assert sorted((one.leaf_index, one.reason) for one in removals) == [
        (3, RemovalReason.QUEUE_REJECTED),
        (650, RemovalReason.QUEUE_REJECTED),
    ]

"""Messages that are too large to be honest are refused soon."""

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.mls import staging
from chalicelib.protocol.mls.commit import Commit, ProposalOrRef
from chalicelib.protocol.mls.framing import decode_message
from chalicelib.protocol.mls.proposals import Add, PreSharedKey, PreSharedKeyID, PSKType, Remove
from chalicelib.protocol.tls import MESSAGE_ELEMENTS, Reader, decode, length
from tests.effort import least
from tests.protocol.mls.story import NOW, Story, refused


def psk(number: int) -> ProposalOrRef:
    return ProposalOrRef(PreSharedKey(PreSharedKeyID(PSKType.EXTERNAL, b"%d" % number, bytes(32))))


def test_a_commit_with_too_many_proposals_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story("alice", "bob")
    add = ProposalOrRef(Add(story.key_package("third").public))
    with refused("ds-3"):
        story.stage(story.forge("alice", Commit((add,) * 1_001, None)))
    with refused("mls-12.2-5"):
        story.stage(story.forge("alice", Commit((add,) * 1_000, None)))
    monkeypatch.setattr(staging, "MAX_PROPOSALS", 3)
    with refused("ds-3"):
        story.stage(story.forge("alice", Commit(tuple(map(psk, range(4))), None)))
    story.stage(story.forge("alice", Commit(tuple(map(psk, range(3))), None)))


def test_a_tree_does_not_grow_beyond_what_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story("alice", "bob", "third")
    monkeypatch.setattr(staging, "MAX_LEAF_CAPACITY", 4)
    story.add("alice", "fourth")
    with refused("ds-2"):
        story.stage(story.commit_adding("alice", story.key_package("fifth").public))
    with refused("ds-2"):
        story.stage(story.external("fifth").commit)


def test_a_commit_with_10_000_proposals_takes_time_in_proportion() -> None:
    story = Story("alice", "bob")

    def seconds(proposals: int) -> float:
        message = story.forge("alice", Commit(tuple(map(psk, range(proposals))), None)).encode()
        return least(lambda: story.group.stage(decode_message(message), NOW))

    assert seconds(10_000) < 30 * seconds(1_000)


@pytest.mark.parametrize("proposal", [Remove(1), Remove(2**32 - 1)])
def test_10_000_removes_of_one_leaf_are_refused(proposal: Remove) -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-4"):
        story.stage(story.forge("alice", Commit((ProposalOrRef(proposal),) * 10_000, story.path("alice"))))


def test_a_message_holds_a_bounded_number_of_elements() -> None:
    content = bytes(MESSAGE_ELEMENTS + 1)
    with pytest.raises(DecodeError, match="more vector elements"):
        decode(lambda reader: reader.vector(Reader.uint8), length(len(content)) + content)
    fits = decode(lambda reader: reader.vector(Reader.uint8), length(len(content) - 1) + content[:-1])
    assert len(fits) == MESSAGE_ELEMENTS

"""Single proposals and lists of them (§§12.1, 12.2, 13.2; draft-ietf-mls-extensions)."""

import dataclasses
from collections.abc import Sequence

import pytest

from chalicelib.client.mls_member import Member
from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.app_data import ComponentData, read_dictionary, update_dictionary
from chalicelib.protocol.mls.commit import Commit, ProposalOrRef
from chalicelib.protocol.mls.errors import InvalidPath, InvalidProposal
from chalicelib.protocol.mls.extensions import (
    APP_DATA_DICTIONARY,
    REQUIRED_CAPABILITIES,
    Credential,
    Extension,
    Extensions,
    ExternalSender,
    RequiredCapabilities,
    external_senders_extension,
    find,
)
from chalicelib.protocol.mls.framing import Sender, SenderType
from chalicelib.protocol.mls.nodes import LeafNode, LeafNodeSource
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import (
    Add,
    AppDataUpdate,
    AppEphemeral,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    PSKType,
    ReInit,
    Remove,
    ResumptionPSKUsage,
    SelfRemove,
    Update,
)
from chalicelib.protocol.mls.public_group import StagedCommit, StagedProposal
from chalicelib.protocol.tls import decode, vector
from tests.effort import growth
from tests.protocol.mls.story import Story, commit_of, external_init, refused, sign_leaf

NONCE = bytes(32)
REINIT = ReInit(b"next", 1, 1, ())


def psk(name: bytes = b"a key", nonce: bytes = NONCE) -> PreSharedKey:
    return PreSharedKey(PreSharedKeyID(PSKType.EXTERNAL, name, nonce))


# Single proposals, §12.1.


def test_an_added_key_package_must_be_valid() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    bad = dataclasses.replace(owner.public, signature=bytes(64))
    with refused("mls-10.1-3"):  # [mls-12.1.1-1] says no more than §10.1 does.
        story.stage(story.forge("bob", Add(bad)))


def test_an_update_comes_from_a_member() -> None:
    story = Story("alice", "bob")
    leaf = dataclasses.replace(story.path("bob").leaf_node, source=LeafNodeSource.UPDATE, parent_hash=None)
    identity = story.identity("third")
    pending = story.external_by(identity)
    commit = commit_of(pending.commit)
    forged = Commit((*commit.proposals, ProposalOrRef(Update(leaf))), commit.path)
    with refused("mls-12.2-17"):
        story.stage(story.forge_external(pending, identity, forged))
    with refused("mls-7.3-9"):  # [mls-12.1.2-1] is §7.3 for an update.
        story.stage(story.forge("bob", Update(story.path("bob").leaf_node)))


@pytest.mark.parametrize("leaf_index", [2, 3, 4, 2**32 - 1])
def test_a_remove_names_a_member(leaf_index: int) -> None:
    # By itself or in a list, an invalid proposal is refused [mls-12.2-1].
    story = Story("alice", "bob", "third")
    story.accept("alice", story.pending("alice", Remove(2)), "third")
    with refused("mls-12.1.3-1"):
        story.stage(story.forge("bob", Remove(leaf_index)))
    with refused("mls-12.1.3-1"):
        story.stage(story.forge_commit("bob", Remove(leaf_index)))


@pytest.mark.parametrize(
    ("usage", "check"),
    [(ResumptionPSKUsage.REINIT, "mls-12.1.4-1"), (ResumptionPSKUsage.BRANCH, "mls-12.1.4-2")],
)
def test_resumption_keys_of_other_occasions_are_refused(usage: ResumptionPSKUsage, check: str) -> None:
    story = Story("alice", "bob")
    name = PreSharedKeyID(PSKType.RESUMPTION, b"a group", NONCE, usage, 0)
    with refused(check):
        story.stage(story.forge("bob", PreSharedKey(name)))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_psk_nonce_is_as_long_as_the_hash(size: int) -> None:
    story = Story("alice", "bob")
    with refused("mls-12.1.4-3"):
        story.stage(story.forge("bob", psk(nonce=bytes(size))))


def test_application_keys_are_for_groups_whose_members_all_know_the_draft() -> None:
    key = PreSharedKey(PreSharedKeyID(PSKType.APPLICATION, b"a key", NONCE, component_id=1))
    mixed = Story("alice", leaf_extensions=(APP_DATA_DICTIONARY,))
    mixed.stage(mixed.forge("alice", key))
    unaware = Add(mixed.key_package("third", extensions=()).public)
    listed = (ProposalOrRef(unaware), ProposalOrRef(key))
    with refused("ds-8"):
        mixed.stage(mixed.forge("alice", Commit(listed, None)))
    mixed.leaf_extensions = ()
    mixed.add("alice", "bob")
    with refused("ds-8"):
        mixed.stage(mixed.forge("alice", key))
    with refused("ds-8"):
        mixed.stage(mixed.forge_commit("alice", key))


def test_a_reinitialisation_does_not_go_back_in_versions() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.1.5-1"):
        story.stage(story.forge("bob", ReInit(b"next", 0, 1, ())))


def requiring(*extension_types: int) -> GroupContextExtensions:
    required = RequiredCapabilities(extension_types)
    return GroupContextExtensions((Extension(REQUIRED_CAPABILITIES, required.encode()),))


def test_capabilities_are_required_only_if_every_member_has_them() -> None:
    story = Story("alice", leaf_extensions=(0xF001, 0xF002))
    story.leaf_extensions = (0xF001,)
    story.add("alice", "bob")
    with refused("mls-12.1.7-1"):
        story.stage(story.forge_commit("alice", requiring(0xF002)))
    story.commit("alice", requiring(0xF001))


def test_those_who_leave_need_not_support_what_is_required_from_then_on() -> None:
    story = Story("alice", leaf_extensions=(0xF001,))
    story.leaf_extensions = ()
    story.add("alice", "bob")
    with refused("mls-12.1.7-1"):
        story.stage(story.forge_commit("alice", requiring(0xF001)))
    story.accept("alice", story.pending("alice", Remove(1), requiring(0xF001)), "bob")


def test_new_extensions_count_for_the_clients_added_beside_them() -> None:
    story = Story("alice", "bob", leaf_extensions=(0xF001,))
    story.leaf_extensions = ()
    # [mls-12.3-1] The new extensions are used when the other proposals are evaluated.
    with refused("mls-7.3-3"):
        story.stage(story.forge_commit("alice", Add(story.key_package("third").public), requiring(0xF001)))


def test_new_external_senders_are_left_to_the_policy() -> None:
    class Closed(Policy):
        def check_external_senders(self, senders: Sequence[ExternalSender]) -> None:
            raise InvalidProposal("mls-5.3.1-3", "nobody from outside here")

    story = Story("alice", "bob", policy=Closed())
    senders = external_senders_extension((ExternalSender(bytes(32), Credential(1, b"service")),))
    with refused("mls-5.3.1-3"):
        story.stage(story.forge("bob", GroupContextExtensions((senders,))))
    story.stage(story.forge("bob", GroupContextExtensions(())))


def test_malformed_group_context_extensions_are_a_decode_error() -> None:
    story = Story("alice", "bob")
    for extension_type in (REQUIRED_CAPABILITIES, 5, APP_DATA_DICTIONARY):
        broken = GroupContextExtensions((Extension(extension_type, b"\x01"),))
        with pytest.raises(DecodeError):
            story.stage(story.forge("bob", broken))


# Lists of proposals, §12.2.


def test_a_committer_does_not_commit_its_own_update() -> None:
    story = Story("alice", "bob")
    message, bob = story.members["bob"].propose_update(story.random.randbytes)
    staged = story.stage(message)
    assert isinstance(staged, StagedProposal)
    story.deliver(message, "bob")
    story.members["bob"] = bob
    received = bob.receive(message, 0)
    assert isinstance(received, Member)
    with refused("mls-12.2-2"):
        story.stage(story.forge_commit("bob", staged.reference, path=story.path("bob")))
    story.members["bob"] = received
    story.commit("alice", staged.reference)


def test_a_committer_does_not_remove_itself() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-3"):
        story.stage(story.forge_commit("bob", Remove(1)))


def test_a_committer_does_not_commit_its_own_departure() -> None:
    story = Story("alice", "bob", proposals=(10,))
    reference = story.propose("bob", SelfRemove())
    with refused("mls-12.2-3"):
        story.stage(story.forge_commit("bob", reference))


def test_no_two_proposals_update_or_remove_the_same_leaf() -> None:
    # A commit is refused for its list [mls-12.4.2-4].
    story = Story("alice", "bob", "third")
    with refused("mls-12.2-4"):
        story.stage(story.forge_commit("alice", Remove(1), Remove(1)))
    message, _ = story.members["bob"].propose_update(story.random.randbytes)
    staged = story.stage(message)
    assert isinstance(staged, StagedProposal)
    story.deliver(message, "bob")
    path = story.path("alice")
    for pair in ((staged.reference, Remove(1)), (staged.reference, staged.reference)):
        with refused("mls-12.2-4"):
            story.stage(story.forge_commit("alice", *pair, path=path))


def test_no_two_proposals_add_the_same_client() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    again = owner.identity.key_package(story.random.randbytes, 1_700_000_000)
    with refused("mls-12.2-5"):
        story.stage(story.commit_adding("alice", owner.public, again.public))


def test_a_client_is_not_added_twice_unless_the_same_commit_removes_it() -> None:
    story = Story("alice", "bob")
    again = story.members["bob"].identity.key_package(story.random.randbytes, 1_700_000_000)
    with refused("mls-12.2-6"):
        story.stage(story.commit_adding("alice", again.public))
    pending = story.pending("alice", Remove(1), Add(again.public))
    assert story.stage_commit(pending.commit).removed == (1,)


class ByName(Policy):
    """A client is whom its credential names, whatever its keys are."""

    def client(self, leaf: LeafNode) -> bytes:
        return leaf.credential.content


def renamed(story: Story, name: str, other: str) -> Update:
    """Return an update by which a member takes another name."""
    leaf = dataclasses.replace(
        story.path(name).leaf_node,
        source=LeafNodeSource.UPDATE,
        parent_hash=None,
        credential=Credential(1, other.encode()),
        signed=b"",
    )
    return Update(story.sign_leaf(name, leaf))


def test_an_update_does_not_take_another_clients_place_unless_it_becomes_free() -> None:
    story = Story("alice", "bob", "carol", "dave", policy=ByName())
    references = []
    for name, other in (("bob", "carol"), ("carol", "bob"), ("dave", "carol")):
        staged = story.stage(story.forge(name, renamed(story, name, other)))
        assert isinstance(staged, StagedProposal)
        story.group = story.group.merge(staged)
        references.append(staged.reference)
    to_carol, to_bob, also_to_carol = references

    def judged(*proposals: Proposal | bytes) -> None:
        """Let alice commit these; what is not refused for its clients is so for its path, made for another tree."""
        story.stage(story.forge_commit("alice", *proposals))

    for taken in ([to_carol], [to_bob], [also_to_carol], [to_carol, to_bob, also_to_carol]):
        with refused("mls-12.2-6"):
            judged(*taken)
    for free in ([to_carol, Remove(2)], [to_carol, to_bob], [to_bob, to_carol]):
        with pytest.raises(InvalidPath):
            judged(*free)


def test_no_two_proposals_name_the_same_psk() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-7"):
        story.stage(story.forge_commit("alice", psk(), psk()))
    story.stage(story.forge_commit("alice", psk(b"one"), psk(b"two")))


def test_the_group_context_extensions_are_replaced_once() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-8"):
        story.stage(story.forge_commit("alice", GroupContextExtensions(()), GroupContextExtensions(())))


def test_a_reinitialisation_stands_alone() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-9"):
        story.stage(story.forge_commit("alice", REINIT, Remove(1)))


def test_a_members_commit_holds_no_external_init() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-10"):
        story.stage(story.forge_commit("alice", ExternalInit(b"kem")))


def test_every_member_that_stays_supports_a_proposals_type() -> None:
    story = Story("alice", "bob", policy=Ephemeral())
    with refused("mls-12.2-11"):
        story.stage(story.forge_commit("alice", AppEphemeral(1, b"")))
    able = Story("alice", "bob", proposals=(9,), policy=Ephemeral())
    able.commit("alice", AppEphemeral(1, b""), path=False)


def test_what_could_never_be_committed_is_not_stored() -> None:
    story = Story("alice", "bob")
    with refused("mls-13.2-1"):
        story.stage(story.forge("bob", SelfRemove()))


# Proposals of the extensions draft.


class Ephemeral(Policy):
    def check_app_ephemeral(self, component_id: int, data: bytes) -> None:
        if component_id != 1:
            raise InvalidProposal("ext-4.7-1", "the application component is not known here")


class Counter(Policy):
    """Component 1 keeps the concatenation of all its updates."""

    def update_app_data(self, component_id: int, data: bytes | None, updates: Sequence[bytes]) -> bytes:
        if component_id != 1:
            raise InvalidProposal("ext-4.6-1", "the application component is not known here")
        return (data or b"") + b"".join(updates)


def dictionary(extensions: Extensions) -> list[tuple[int, bytes]]:
    stored = find(extensions, APP_DATA_DICTIONARY)
    assert stored is not None
    return [(entry.component_id, entry.data) for entry in decode(read_dictionary, stored)]


def app_data_story(*entries: ComponentData, required: bool = True) -> Story:
    extensions = [Extension(APP_DATA_DICTIONARY, vector(entries))] if entries else []
    if required:
        names = RequiredCapabilities((), (8,))
        extensions.append(Extension(REQUIRED_CAPABILITIES, names.encode()))
    return Story(
        "alice",
        "bob",
        extensions=tuple(extensions),
        proposals=(8,),
        leaf_extensions=(APP_DATA_DICTIONARY,),
        policy=Counter(),
    )


def test_application_data_changes_without_a_path_and_in_order() -> None:
    story = app_data_story()
    story.commit("alice", AppDataUpdate(1, b"a"), AppDataUpdate(1, b"b"), path=False)
    assert dictionary(story.group.context.extensions) == [(1, b"ab")]
    story.commit("bob", AppDataUpdate(1, b"c"), path=False)
    assert dictionary(story.group.context.extensions) == [(1, b"abc")]
    story.commit("bob", AppDataUpdate(1, None), path=False)
    assert dictionary(story.group.context.extensions) == []


def test_components_stay_in_order() -> None:
    story = app_data_story(ComponentData(0, b"zero"), ComponentData(2, b"two"))
    story.commit("alice", AppDataUpdate(1, b"one"), path=False)
    assert dictionary(story.group.context.extensions) == [(0, b"zero"), (1, b"one"), (2, b"two")]


def test_many_components_are_updated_in_time_in_proportion() -> None:
    class Last(Policy):
        def update_app_data(self, component_id: int, data: bytes | None, updates: Sequence[bytes]) -> bytes:
            return updates[-1]

    def update(components: int) -> Extensions:
        return update_dictionary((), [AppDataUpdate(number, b"x") for number in range(components)], Last())

    assert growth(update, 2_000, 20_000) < 30
    assert len(dictionary(update(20_000))) == 20_000


def test_a_component_that_is_not_known_or_has_no_data_is_refused() -> None:
    story = app_data_story()
    unaware = Story("alice", "bob", proposals=(8,), leaf_extensions=(APP_DATA_DICTIONARY,))
    with refused("ext-4.6-1"):
        unaware.stage(unaware.forge("alice", Commit((ProposalOrRef(AppDataUpdate(1, b"x")),), None)))
    for change in (AppDataUpdate(7, b"x"), AppDataUpdate(1, None)):
        with refused("ext-4.6-1"):
            story.stage(story.forge("alice", Commit((ProposalOrRef(change),), None)))


def test_a_required_dictionary_is_not_changed_by_other_means() -> None:
    story = app_data_story(ComponentData(1, b"a"))
    with refused("ext-4.6-2"):
        story.stage(story.forge_commit("alice", GroupContextExtensions(())))
    free = app_data_story(ComponentData(1, b"a"), required=False)
    free.commit("alice", GroupContextExtensions(()))


def test_a_component_is_not_removed_and_changed_at_once() -> None:
    story = app_data_story(ComponentData(1, b"a"))
    for pair in ((None, b"x"), (b"x", None), (None, None)):
        listed = tuple(ProposalOrRef(AppDataUpdate(1, update)) for update in pair)
        with refused("ext-4.6-3"):
            story.stage(story.forge("alice", Commit(listed, None)))


def test_ephemeral_data_is_left_to_the_policy() -> None:
    story = Story("alice", "bob", proposals=(9,), policy=Ephemeral())
    with refused("ext-4.7-1"):
        story.stage(story.forge("bob", AppEphemeral(2, b"")))
    story.stage(story.forge("bob", AppEphemeral(1, b"")))
    plain = Story("alice", "bob", proposals=(9,))
    with refused("ext-4.7-1"):
        plain.stage(plain.forge("bob", AppEphemeral(1, b"")))


def test_a_self_remove_is_committed_by_reference_only() -> None:
    story = Story("alice", "bob", proposals=(10,))
    with refused("ext-7.3-1"):
        story.stage(story.forge_commit("bob", SelfRemove(), path=story.path("bob")))


def test_a_remove_beside_a_pending_self_remove_is_refused() -> None:
    story = Story("alice", "bob", "third", proposals=(10,))
    reference = story.propose("bob", SelfRemove())
    for message in (story.forge("third", Remove(1)), story.forge_commit("alice", Remove(1))):
        with refused("ext-7.3-2"):
            story.stage(message)
    pending = story.pending("alice", reference)
    story.accept("alice", pending, "bob")


def test_a_member_removes_itself_once_an_epoch() -> None:
    story = Story("alice", "bob", proposals=(10,))
    story.propose("bob", SelfRemove())
    with refused("ext-7.3-3"):
        story.stage(story.forge("bob", SelfRemove()))


# External commits, §§12.2, 12.4.3.2.


def forged_external(story: Story, *more: ProposalOrRef, without_init: bool = False) -> None:
    identity = story.identity("third")
    pending = story.external_by(identity)
    commit = commit_of(pending.commit)
    kept = () if without_init else commit.proposals
    story.stage(story.forge_external(pending, identity, Commit((*kept, *more), commit.path)))


def test_an_external_commit_holds_one_external_init() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-13"):
        forged_external(story, without_init=True)
    with refused("mls-12.2-13"):
        forged_external(story, ProposalOrRef(ExternalInit(b"another")))
    assert external_init(commit_of(story.external("third").commit)).kem_output


def test_an_external_commit_removes_at_most_one_leaf() -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-14"):
        forged_external(story, ProposalOrRef(Remove(0)), ProposalOrRef(Remove(1)))


def test_an_external_commit_may_name_keys_but_not_twice() -> None:
    story = Story("alice", "bob")
    forged_external(story, ProposalOrRef(psk()))  # [mls-12.2-16]
    with refused("mls-12.2-7"):
        forged_external(story, ProposalOrRef(psk()), ProposalOrRef(psk()))


@pytest.mark.parametrize("proposal", [GroupContextExtensions(()), REINIT])
def test_an_external_commit_holds_nothing_else(proposal: GroupContextExtensions | ReInit) -> None:
    story = Story("alice", "bob")
    with refused("mls-12.2-17"):
        forged_external(story, ProposalOrRef(proposal))


def test_an_external_commit_refers_to_no_proposal() -> None:
    story = Story("alice", "bob", "third")
    reference = story.propose("alice", Remove(2))
    with refused("mls-12.4.3.2-2"):
        forged_external(story, ProposalOrRef(reference=reference))


def test_an_external_commit_takes_along_those_who_remove_themselves() -> None:
    story = Story("alice", "bob", proposals=(10,))
    reference = story.propose("bob", SelfRemove())
    pending = story.external("third", ProposalOrRef(reference=reference))
    staged = story.stage_commit(pending.commit)
    assert (staged.removed, staged.committer) == ((1,), 1)
    story.accept("third", pending, "bob")


def test_an_external_commit_takes_nobody_along_twice() -> None:
    story = Story("alice", "bob", proposals=(10,))
    reference = ProposalOrRef(reference=story.propose("bob", SelfRemove()))
    with refused("mls-12.2-4"):
        forged_external(story, reference, reference)


def test_a_resync_replaces_a_member_and_may_be_forbidden() -> None:
    story = Story("alice", "bob")
    identity = dataclasses.replace(story.members["bob"].identity)
    pending = story.external_by(identity, ProposalOrRef(Remove(1)))
    story.accept("bob", pending)

    class Strict(Policy):
        allow_resync = False

    strict = Story("alice", "bob", policy=Strict())
    lenient = Story("alice", "bob")
    message = lenient.external_by(lenient.members["bob"].identity, ProposalOrRef(Remove(1))).commit
    with refused("mls-12.4.3.2-5"):
        strict.stage(message)


def test_a_resyncs_leaf_meets_the_criteria_of_an_update() -> None:
    story = Story("alice", "bob")
    bob = story.members["bob"]
    pending = story.external_by(bob.identity, ProposalOrRef(Remove(1)))
    commit = commit_of(pending.commit)
    assert commit.path is not None
    old_key = bob.keys[2].public
    leaf = sign_leaf(bob.identity, dataclasses.replace(commit.path.leaf_node, encryption_key=old_key), 1)
    forged = Commit(commit.proposals, dataclasses.replace(commit.path, leaf_node=leaf))
    with refused("mls-7.3-10"):  # [mls-12.2-15]
        story.stage(story.forge_external(pending, bob.identity, forged))


def test_a_client_by_the_policys_name_joins_from_outside_once() -> None:
    story = Story("alice", "bob", policy=ByName())
    again = story.identity("bob")
    with refused("mls-12.2-6"):
        story.stage(story.external_by_force(again))
    story.stage(story.external_by(again, ProposalOrRef(Remove(1))).commit)


def test_a_client_joins_from_outside_once() -> None:
    story = Story("alice", "bob")
    twin = story.members["bob"].identity
    pending = story.external("third")
    commit = commit_of(pending.commit)
    assert commit.path is not None
    leaf = sign_leaf(twin, dataclasses.replace(commit.path.leaf_node, signature_key=twin.signature_key), 2)
    forged = Commit(commit.proposals, dataclasses.replace(commit.path, leaf_node=leaf))
    with refused("mls-7.3-11"):
        story.stage(story.forge_external(pending, twin, forged))


def test_an_external_commit_needs_a_path_and_its_leafs_signature() -> None:
    story = Story("alice", "bob")
    identity = story.identity("third")
    pending = story.external_by(identity)
    commit = commit_of(pending.commit)
    with refused("mls-12.4.3.2-1"):
        story.stage(story.forge_external(pending, identity, Commit(commit.proposals, None)))
    with refused("mls-6.1-1"):  # [mls-12.4.3.2-3]
        story.stage(story.forge_external(pending, story.identity("stranger"), commit))


def test_an_external_commit_from_a_member_is_refused() -> None:
    story = Story("alice", "bob")
    commit = commit_of(story.external("third").commit)
    with refused("mls-12.2-10"):  # [mls-12.4.3.2-4] The sender type must be new_member_commit.
        story.stage(story.forge("alice", commit))


def test_an_unknown_sender_of_an_update_does_not_reach_the_tree() -> None:
    story = Story("alice", "bob")
    leaf = dataclasses.replace(story.path("bob").leaf_node, source=LeafNodeSource.UPDATE, parent_hash=None)
    with refused("mls-6.1-2"):
        story.stage(story.forge("bob", Update(leaf), sender=Sender(SenderType.MEMBER, 7)))


def test_a_staged_commit_says_what_it_does() -> None:
    story = Story("alice", "bob")
    owner = story.key_package("third")
    staged = story.stage_commit(story.pending("alice", Add(owner.public)).commit)
    assert isinstance(staged, StagedCommit)
    assert [leaf_index for leaf_index, _ in staged.added] == [2]
    assert not staged.external
    assert story.stage_commit(story.external("fourth").commit).external

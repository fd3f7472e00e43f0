"""When is a single proposal invalid, and who may send it? (RFC 9420 §§6.1, 12.1, in the order of the text)"""

from chalicelib.protocol.mls.app_data import check_dictionary
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.errors import InvalidFraming, InvalidProposal, TooLarge
from chalicelib.protocol.mls.extensions import APP_DATA_DICTIONARY, Extensions, external_senders, required_capabilities
from chalicelib.protocol.mls.framing import Sender, SenderType
from chalicelib.protocol.mls.leaf_rules import (
    GroupRules,
    check_key_package,
    check_leaf_node,
    check_source,
)
from chalicelib.protocol.mls.nodes import LeafNode, LeafNodeSource
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import (
    Add,
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
    Update,
)
from chalicelib.protocol.mls.support import EXTENSION

MAX_REQUIRED = 512
"""GroupContext extensions and required capabilities of one group, together."""

MAX_CONTEXT = 64 << 10
"""The most bytes of a GroupContext's extensions: whatever is asked about a group, they are read for it."""


def check_sender(sender: Sender, proposal: Proposal) -> None:
    """Check that a proposal of this type may come from this kind of sender, whose signature is verified."""
    # [mls-12.1.8-4] Proposal types that an external sender may not send MUST be rejected.
    if sender.sender_type == SenderType.EXTERNAL and not proposal.external:
        raise InvalidFraming("mls-12.1.8-4", "an external sender may not send this proposal")
    # [mls-12.1.6-1] An ExternalInit can only be used in an external commit.
    if isinstance(proposal, ExternalInit):
        raise InvalidProposal("mls-12.1.6-1", "an ExternalInit is not sent as a proposal")


def check_proposal(proposal: Proposal, sender: Sender, draft: Draft, rules: GroupRules, now: int) -> None:
    """Check one proposal against the group it is for, whichever way it came."""
    match proposal:
        case Add():
            # [mls-12.1.1-1] The KeyPackage is valid according to §10.1.
            check_key_package(proposal.key_package, rules, now)
        case Update():
            _check_update(proposal, sender, draft, rules)
        case Remove():
            # [mls-12.1.3-1] `removed` identifies a non-blank leaf node.
            if draft.leaf(proposal.removed) is None:
                raise InvalidProposal("mls-12.1.3-1", "there is no member at the leaf to be removed")
        case PreSharedKey():
            check_psk(proposal.psk, draft, rules)
        case ReInit():
            # [mls-12.1.5-1] The version is not less than the group's; there is only one.
            if proposal.version < 1:
                raise InvalidProposal("mls-12.1.5-1", "the group cannot go back to an earlier version")
            # [ds-12] What the next group is to start with stays with this one.
            check_extension_count(proposal.extensions)
            check_context_size(proposal.extensions)
        case GroupContextExtensions():
            check_group_context_extensions(proposal, rules)
        case AppEphemeral():
            # [ext-4.7-1] The component is known to the application, and finds the data valid.
            rules.policy.check_app_ephemeral(proposal.component_id, proposal.data)
        case _:
            # An ExternalInit's KEM output is closed to us, an AppDataUpdate is judged where it is applied, and the
            # leaf of a SelfRemove is the one whose signature was verified.
            pass


def _check_update(proposal: Update, sender: Sender, draft: Draft, rules: GroupRules) -> None:
    """[mls-12.1.2-1] Check the leaf node for an Update proposal according to §7.3."""
    leaf, leaf_index = proposal.leaf_node, sender.index or 0
    old = draft.leaf(leaf_index)
    if old is None or sender.sender_type != SenderType.MEMBER:
        raise InvalidProposal("mls-12.1.2-2", "an update comes from a member")
    check_source(leaf, LeafNodeSource.UPDATE, "mls-7.3-9")
    check_leaf_node(leaf, rules)
    leaf.verify_signature(rules.suite, rules.group_id, leaf_index)
    check_replacement(old, leaf, rules.policy)


def check_replacement(old: LeafNode, new: LeafNode, policy: Policy) -> None:
    """Check a leaf that takes the place of a client's older one."""
    # [mls-7.3-10] `encryption_key` is a different key than in the leaf node being replaced.
    if new.encryption_key == old.encryption_key:
        raise InvalidProposal("mls-7.3-10", "the new leaf keeps the old encryption key")
    # [mls-5.3.1-2] The new credential is valid as a successor of the old one.
    policy.check_successor(old, new)


def check_psk(psk: PreSharedKeyID, draft: Draft, rules: GroupRules) -> None:
    """Check the name of a pre-shared key (§12.1.4); whether members have the key, they alone can tell."""
    # [mls-12.1.4-1] Usage reinit belongs to the first commit of a reinitialised group.
    if psk.usage == ResumptionPSKUsage.REINIT:
        raise InvalidProposal("mls-12.1.4-1", "a resumption PSK for reinitialisation is proposed")
    # [mls-12.1.4-2] Usage branch belongs to the first commit of a subgroup.
    if psk.usage == ResumptionPSKUsage.BRANCH:
        raise InvalidProposal("mls-12.1.4-2", "a resumption PSK for branching is proposed")
    # [mls-12.1.4-3] The `psk_nonce` is of length KDF.Nh.
    if len(psk.psk_nonce) != rules.suite.hash_size:
        raise InvalidProposal("mls-12.1.4-3", "a PSK nonce has the wrong length")
    # [ds-8] To a member without the extensions draft, the type of an application PSK is malformed. No capability says
    # that a client knows it, but those that know the draft list its dictionary.
    dictionary = (EXTENSION, APP_DATA_DICTIONARY)
    if psk.psktype == PSKType.APPLICATION and not rules.support.by_all(
        dictionary, lambda: (leaf for _, leaf in draft.all_leaves())
    ):
        raise InvalidProposal("ds-8", "a member does not support the PSKs of application components")


def check_group_context_extensions(proposal: GroupContextExtensions, rules: GroupRules) -> None:
    """Check the form of new GroupContext extensions.

    Whether members support them is asked when they are applied: some may leave in the same commit (§12.1.7).
    """
    check_extension_count(proposal.extensions)
    check_context_size(proposal.extensions)
    check_dictionary(proposal.extensions)
    senders = external_senders(proposal.extensions)
    if senders != external_senders(rules.extensions):
        # [mls-5.3.1-3] External senders that are added or updated are validated.
        rules.policy.check_external_senders(senders)


def check_extension_count(extensions: Extensions) -> None:
    """[ds-5] Refuse a GroupContext that asks for more than a commit could look up at every member."""
    required = required_capabilities(extensions)
    asked = (*required.extension_types, *required.proposal_types, *required.credential_types)
    if len(extensions) + len(asked) > MAX_REQUIRED:
        raise TooLarge("ds-5", "the group would require more than is served here")


def check_context_size(extensions: Extensions) -> None:
    """[ds-12] Refuse GroupContext extensions that would make every look at the group a long one."""
    if sum(len(extension.encode()) for extension in extensions) > MAX_CONTEXT:
        raise TooLarge("ds-12", "the GroupContext would be larger than is served here")


def check_support(draft: Draft, rules: GroupRules) -> None:
    """[mls-12.1.7-1] Check that every member supports the required capabilities and each extension in use."""
    needed = [
        *((value, "mls-12.1.7-1") for value in rules.required()),
        *(((EXTENSION, extension.extension_type), "mls-13.4-5") for extension in rules.extensions),
    ]
    unsupported = rules.support.unsupported(dict(needed), lambda: (leaf for _, leaf in draft.all_leaves()))
    for value, check in needed:
        if value in unsupported:
            raise InvalidProposal(check, "a member does not support what the group would require")

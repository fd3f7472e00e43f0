"""The operations table: a row for each operation that ends an epoch, and what it takes by value.

What each row checks beside is held in tests/services/delivery/test_operations.py, where there are groups.
"""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.protocol.delivery.messages import BODIES, DSRequestType
from chalicelib.protocol.delivery.operations import TABLE, check_operation
from chalicelib.protocol.delivery.refusals import InvalidRequest
from chalicelib.protocol.mls.framing import Sender, SenderType
from chalicelib.protocol.mls.proposal_list import ProposalList, QueuedProposal
from chalicelib.protocol.mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    ReInit,
    Remove,
    SelfRemove,
    Update,
)

KINDS: dict[str, Any] = {
    "add": Add(cast("Any", None)),
    "update": Update(cast("Any", None)),
    "remove": Remove(1),
    "psk": PreSharedKey(cast("Any", None)),
    "reinit": ReInit(b"g", 1, 1, ()),
    "external init": ExternalInit(b""),
    "extensions": GroupContextExtensions(()),
    "self-remove": SelfRemove(),
}
TAKES = {
    DSRequestType.ADD_USERS: {"add"},
    DSRequestType.ADD_CLIENTS: {"add"},
    DSRequestType.REMOVE_USERS: {"remove"},
    DSRequestType.REMOVE_CLIENTS: {"remove"},
    DSRequestType.DELETE_GROUP: {"remove"},
    DSRequestType.UPDATE_CLIENT: set(),
    DSRequestType.RESYNC_CLIENT: {"external init", "remove", "psk"},
    DSRequestType.JOIN_BY_EXTERNAL_COMMIT: {"external init", "psk"},
    DSRequestType.COMMIT: set(KINDS),
}
EXTERNAL = {DSRequestType.RESYNC_CLIENT, DSRequestType.JOIN_BY_EXTERNAL_COMMIT}


def staged(proposal: Any, *, external: bool, reference: bytes | None = None) -> Any:
    queued = QueuedProposal(proposal, Sender(SenderType.MEMBER, 0), reference)
    return SimpleNamespace(external=external, proposals=ProposalList([queued], None if external else 0))


def refusal(operation: DSRequestType, commit: Any) -> str:
    """Return which of the table's own checks refuses a commit; none of them did if it came to the group."""
    try:
        check_operation(operation, cast("Any", None), commit)
    except InvalidRequest as refused:
        return refused.check
    except AttributeError:
        return ""  # There is no group here to look at.
    return ""


def test_every_operation_with_a_commit_has_a_row() -> None:
    commits = {kind for kind, body in BODIES.items() if "group_update" in getattr(body, "__dataclass_fields__", {})}
    assert set(TABLE) == set(TAKES) == commits


@pytest.mark.parametrize("operation", TABLE)
def test_a_row_takes_its_own_kinds_by_value(operation: DSRequestType) -> None:
    """[mds-op-2]"""
    external = operation in EXTERNAL
    taken = {name for name, kind in KINDS.items() if refusal(operation, staged(kind, external=external)) != "mds-op-2"}
    assert taken == TAKES[operation]


@pytest.mark.parametrize("operation", TABLE)
def test_by_reference_every_kind_is_let_through(operation: DSRequestType) -> None:
    """They are not the committer's own; but they do not stand for what the operation is for [mds-op-3]."""
    external = operation in EXTERNAL
    needed = TABLE[operation].required is not None
    for kind in KINDS.values():
        found = refusal(operation, staged(kind, external=external, reference=b"r"))
        assert found in ({"mds-op-3"} if needed else {"", "mds-resync-1"})


@pytest.mark.parametrize("operation", TABLE)
def test_the_other_kind_of_sender_is_refused_first(operation: DSRequestType) -> None:
    """[mds-op-1]"""
    for kind in KINDS.values():
        assert refusal(operation, staged(kind, external=operation not in EXTERNAL)) == "mds-op-1"

"""What tests say of messages: what kind one is, what it is refused for, and how one is made that changes its sender."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.client.mls_identity import Identity
from chalicelib.client.mls_member import Pending
from chalicelib.errors import Refusal
from chalicelib.protocol.delivery.group_updates import MLSGroupUpdate
from chalicelib.protocol.mls.commit import Commit
from chalicelib.protocol.mls.framing import MLSMessage, PrivateMessage, PublicMessage
from chalicelib.protocol.mls.group_info import PartialGroupInfo
from chalicelib.protocol.mls.nodes import LeafNode
from chalicelib.protocol.mls.welcome import Welcome


@contextlib.contextmanager
def refused(check: str) -> Iterator[None]:
    """Expect a refusal that carries this id, and no other."""
    with pytest.raises(Refusal) as caught:
        yield
    assert caught.value.facts().get("check") == check, caught.value


@dataclasses.dataclass(frozen=True)
class Renewing(Identity):
    """A client on its way to another identity: what is of the next epoch is signed by who it is then."""

    after: Identity

    def leaf_node(self, *args: Any, **kwargs: Any) -> LeafNode:
        return self.after.leaf_node(*args, **kwargs)

    def sign(self, label: str, content: bytes) -> bytes:
        return self.after.sign(label, content) if label == "GroupInfoTBS" else super().sign(label, content)


def kind_of(message: MLSMessage) -> str:
    match message.body:
        case PublicMessage():
            return "commit" if isinstance(message.body.content.content, Commit) else "proposal"
        case PrivateMessage():
            return "application"
        case Welcome():
            return "welcome"
        case _:
            return "something else"


def update_of(pending: Pending) -> MLSGroupUpdate:
    info = pending.group_info
    return MLSGroupUpdate(pending.commit, PartialGroupInfo(info.extensions, info.signature))

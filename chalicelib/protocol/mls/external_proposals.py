"""Proposals that the delivery service makes itself, as an external sender of its groups (RFC 9420 §12.1.8)."""

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.extensions import ExternalSender, external_senders
from chalicelib.protocol.mls.framing import (
    FramedContent,
    FramedContentAuthData,
    MLSMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
)
from chalicelib.protocol.mls.group_info import GroupContext
from chalicelib.protocol.mls.proposals import Proposal


def sender_index(context: GroupContext, sender: ExternalSender) -> int | None:
    """Return the place of an external sender in a group, or None if the group does not list it."""
    listed = external_senders(context.extensions)
    return listed.index(sender) if sender in listed else None


def propose_externally(
    suite: CipherSuite, private_key: bytes, index: int, context: GroupContext, proposal: Proposal
) -> MLSMessage:
    """Return a proposal for this epoch, signed by the external sender at `index`.

    Its signature covers the group and the epoch by the content's own fields: an outsider has no GroupContext to show.
    """
    sender = Sender(SenderType.EXTERNAL, index)
    content = FramedContent(context.group_id, context.epoch, sender, b"", proposal)
    signed = content.to_be_signed(WireFormat.PUBLIC_MESSAGE, context)
    signature = suite.sign_with_label(private_key, "FramedContentTBS", signed)
    return MLSMessage(PublicMessage(content, FramedContentAuthData(signature)))

"""The table `groups`: which rows a group has, and how each is written. One partition a group, its key the group id.

    head               what the group is now (services.delivery.state.Head), each field an attribute
    log#SEQ            kind, epoch, root, accepted_at, count, and ⟦body, sender, joiners, joined, left, recipients⟧,
                       or where that is stored and how large it is
    answer#DIGEST      until, ⟦response⟧
    past#EPOCH         root, joiners, until
    shards#FIRST       first, until, cursor: that many shards came at once, and where they begin
    shard#NUMBER       cursor, version, leased_until, progress; from when the shard is first taken
    o#REF              written_at, ⟦content⟧ or where it is stored: an immutable object; a sealed group's says the day
    inbox              notes: a sealed group's, each encrypted to the group
    wrote              says that there are objects; found by the index `wrote`

What is in ⟦⟧ is sealed for its row: bodies and objects hold credentials and so the names of people. Group ids,
epochs, counts and times stand in clear. Numbers in keys are written so that their order is the keys'. Rows that
expire carry `gone_at` and are gone from that time on, deleted or not.
"""

import hashlib

import msgspec
from cryptography.exceptions import InvalidTag

from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.delivery.state import (
    LOG_LIFE_DAYS,
    Behind,
    GroupId,
    Head,
    KeptAnswer,
    Kind,
    LogRow,
    PastEpoch,
    Shard,
)
from chalicelib.storage.dynamodb import Item, blob, number, text
from chalicelib.storage.notation import gone_at
from chalicelib.storage.sealing import Sealer

GROUPS = "groups"
HEAD = "head"
WROTE = "wrote"
INBOX = "inbox"
LOG_LIFE = LOG_LIFE_DAYS * DAY
LAST_SEQ = (1 << 64) - 1


class Content(msgspec.Struct, array_like=True, frozen=True):
    """What is sealed of a row of the log."""

    body: bytes
    sender: int | None
    joiners: tuple[tuple[bytes, int], ...]
    joined: tuple[bytes, ...]
    left: tuple[bytes, ...]
    recipients: bytes


class _Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far single domains are, where it is not the shard's cursor that says so."""

    sent: dict[str, int]
    behind: dict[str, Behind]
    unread: dict[int, int] = {}


_content = msgspec.msgpack.Decoder(Content)
_progress = msgspec.msgpack.Decoder(_Progress)


def key(group_id: GroupId, row: str) -> Item:
    """Return the key of a group's row."""
    return {"g": group_id, "r": row}


def log_name(seq: int) -> str:
    """Return the sort key of a row of the log."""
    return f"log#{seq:016x}"


def answer_name(digest: bytes) -> str:
    """Return the sort key of an answer."""
    return f"answer#{digest.hex()}"


def past_name(epoch: int) -> str:
    """Return the sort key of a past epoch."""
    return f"past#{epoch:016x}"


def shard_name(shard: int) -> str:
    """Return the sort key of a shard that was ever taken."""
    return f"shard#{shard:08d}"


def object_name(ref: Ref) -> str:
    """Return the sort key of an object."""
    return f"o#{ref.hex()}"


def bucket_name(group_id: GroupId, kind: str, name: str = "") -> str:
    """Return the name in S3 of what a row cannot hold; group ids may be too long to stand there themselves."""
    return f"{kind}/{hashlib.sha256(group_id).hexdigest()}/{name}"


def seal(sealer: Sealer, group_id: GroupId, row: str, plain: bytes) -> bytes:
    """Return what a row holds, sealed for that row."""
    return sealer.seal(GROUPS, group_id + b"\0" + row.encode(), plain)


def unseal(sealer: Sealer, group_id: GroupId, row: str, sealed: bytes) -> bytes:
    """Return what was sealed for a row, or raise `LookupError` where that cannot be had from what it holds."""
    try:
        return sealer.open(GROUPS, group_id + b"\0" + row.encode(), sealed)
    except InvalidTag as failure:
        raise LookupError("a row does not hold what was sealed for it") from failure


def unreadable_log(row: Item) -> LogRow:
    """Return what is left of a row of the log whose contents cannot be had."""
    seq = int(text(row, "r").removeprefix("log#"), 16)
    return LogRow(seq, Kind.UNREADABLE, number(row, "epoch"), root_of(row), number(row, "accepted_at"), b"")


def head_row(head: Head) -> Item:
    """Write a head."""
    row: Item = {
        **key(head.group_id, HEAD),
        "epoch": head.epoch,
        "version": head.version,
        "seq": head.seq,
        "shards": head.shards,
        "created_at": head.created_at,
        "used_at": head.used_at,
        "blocked_since": head.blocked_since,
        "frozen": head.frozen,
        "deleted": head.deleted,
        "sealed": head.sealed,
    }
    return {**row, "root": head.root} if head.root else row


def head_of(row: Item) -> Head:
    """Read a head."""
    return Head(
        group_id=GroupId(blob(row, "g")),
        epoch=number(row, "epoch"),
        version=number(row, "version"),
        seq=number(row, "seq"),
        root=root_of(row),
        shards=number(row, "shards"),
        created_at=number(row, "created_at"),
        used_at=number(row, "used_at"),
        blocked_since=number(row, "blocked_since"),
        frozen=bool(row["frozen"]),
        deleted=bool(row["deleted"]),
        sealed=bool(row["sealed"]),
    )


def root_of(row: Item, name: str = "root") -> Ref:
    """Return the reference that a row names, which may be none."""
    return Ref(blob(row, name)) if name in row else Ref(b"")


def log_row(group_id: GroupId, row: LogRow) -> Item:
    """Write a row of the log, without what is sealed of it."""
    written: Item = {
        **key(group_id, log_name(row.seq)),
        "kind": row.kind.value,
        "epoch": row.epoch,
        "accepted_at": row.accepted_at,
        "gone_at": gone_at(row.accepted_at + LOG_LIFE),
    }
    if row.count > 1:
        written["count"] = row.count
    return {**written, "root": row.root} if row.root else written


def content_of(row: LogRow) -> bytes:
    """Return what is to be sealed of a row of the log."""
    return msgspec.msgpack.encode(Content(row.body, row.sender, row.joiners, row.joined, row.left, row.recipients))


def log_of(row: Item, content: bytes) -> LogRow:
    """Read a row of the log from its item, and from what was sealed of it."""
    held = _content.decode(content)
    return LogRow(
        seq=int(text(row, "r").removeprefix("log#"), 16),
        kind=Kind(text(row, "kind")),
        epoch=number(row, "epoch"),
        root=root_of(row),
        accepted_at=number(row, "accepted_at"),
        body=held.body,
        sender=held.sender,
        joiners=held.joiners,
        joined=held.joined,
        left=held.left,
        recipients=held.recipients,
        count=number(row, "count") if "count" in row else 1,
    )


def answer_row(sealer: Sealer, group_id: GroupId, answer: KeptAnswer) -> Item:
    """Write an answer."""
    name = answer_name(answer.digest)
    return {
        **key(group_id, name),
        "sealed": seal(sealer, group_id, name, answer.response),
        "until": answer.until,
        "gone_at": gone_at(answer.until),
    }


def past_row(group_id: GroupId, past: PastEpoch) -> Item:
    """Write a past epoch."""
    row: Item = {**key(group_id, past_name(past.epoch)), "until": past.until, "gone_at": gone_at(past.until)}
    for name, ref in (("root", past.root), ("joiners", past.joiners)):
        if ref:
            row[name] = ref
    return row


def past_of(row: Item) -> PastEpoch:
    """Read a past epoch."""
    epoch = int(text(row, "r").removeprefix("past#"), 16)
    return PastEpoch(epoch, root_of(row), root_of(row, "joiners"), number(row, "until"))


def grown_row(group_id: GroupId, first: int, until: int, cursor: int) -> Item:
    """Write that the shards from `first` to before `until` begin behind `cursor`."""
    return {**key(group_id, f"shards#{first:08d}"), "first": first, "until": until, "cursor": cursor}


def shard_row(shard: Shard) -> Item:
    """Write a shard."""
    progress = msgspec.msgpack.encode(_Progress(dict(shard.sent), dict(shard.behind), dict(shard.unread)))
    return {
        **key(shard.group_id, shard_name(shard.shard)),
        "cursor": shard.cursor,
        "version": shard.version,
        "leased_until": shard.leased_until,
        "progress": progress,
    }


def shard_of(row: Item) -> Shard:
    """Read a shard."""
    progress = _progress.decode(blob(row, "progress"))
    return Shard(
        group_id=GroupId(blob(row, "g")),
        shard=int(text(row, "r").removeprefix("shard#")),
        cursor=number(row, "cursor"),
        version=number(row, "version"),
        sent=progress.sent,
        behind=progress.behind,
        leased_until=number(row, "leased_until"),
        unread=progress.unread,
    )

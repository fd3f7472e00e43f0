"""Who gets a row of the log: what the delivery records said when it was accepted.

A row, or what it leads to, may be spoiled: gone, not what was stored, or nothing that decodes. That stays so however
often it is tried, and is told apart from calls that fail, which are tried again for as long as it takes.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from chalicelib.errors import DecodeError
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.records import Records
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.protocol.mls.framing import MLSMessage
from chalicelib.protocol.tls import decode
from chalicelib.services.delivery.sealed_rows import OpenRow, Recipient, addressees
from chalicelib.services.delivery.state import SHARD_LEAVES, SILENT, GroupId, Kind, LogRow, Shard
from chalicelib.services.delivery.vault import Vault

REMEMBERED = 8
"""How many epochs' records one worker keeps in mind: messages in a row mostly have the same."""

_SPOILED = (DecodeError, CannotOpen, LookupError, ValueError, TypeError, ArithmeticError)


class Unreadable(Exception):
    """The row with this number cannot be read, or who gets it, as it is stored."""

    def __init__(self, seq: int) -> None:
        super().__init__("a row of a group's log cannot be read")
        self.seq = seq


def is_spoiled(failure: Exception) -> bool:
    """Say whether what was read is to blame, and not the reading: a certificate that is refused is a ValueError too."""
    return isinstance(failure, _SPOILED) and not isinstance(failure, OSError)


@dataclasses.dataclass(frozen=True, slots=True)
class Recipients:
    """Looks up recipients; remembers the records it has just read."""

    vault: Vault
    remembered: dict[tuple[GroupId, Ref], Records] = dataclasses.field(default_factory=dict)

    def of(self, shard: Shard, row: LogRow) -> Mapping[str, Sequence[Recipient]]:
        """Return a row's recipients in one shard by the domain of their queues, or raise `Unreadable`."""
        if row.kind == Kind.UNREADABLE:
            raise Unreadable(row.seq)
        found: dict[str, list[Recipient]] = {}
        try:
            for recipient in self._all(shard, row):
                found.setdefault(recipient.config.ds_domain, []).append(recipient)
        except Exception as failure:
            if is_spoiled(failure):
                raise Unreadable(row.seq) from failure
            raise
        return found

    def as_delivered(self, group_id: GroupId, row: LogRow, after: int) -> Sequence[LogRow]:
        """Return a stored row as it is delivered: what was proposed together is so many rows, those after a seq.

        One that is spoiled stands there as `UNREADABLE`.
        """
        try:
            return [one for one in self._open(group_id, row) if one.seq > after]
        except Exception as failure:
            if is_spoiled(failure):
                return [dataclasses.replace(row, kind=Kind.UNREADABLE)]
            raise

    def _open(self, group_id: GroupId, row: LogRow) -> Sequence[LogRow]:
        row = self.vault.as_delivered(group_id, row)
        if row.kind != Kind.PROPOSALS:
            return [row]
        messages = decode(lambda reader: reader.vector(MLSMessage.read), row.body)
        if len(messages) != row.count:
            raise ValueError("a row of proposals has another number than it counts")
        return [
            dataclasses.replace(row, seq=seq, kind=Kind.PROPOSAL, body=message.encode(), count=1)
            for seq, message in enumerate(messages, row.seq - row.count + 1)
        ]

    def _all(self, shard: Shard, row: LogRow) -> Iterable[Recipient]:
        if isinstance(row, OpenRow):
            return [Recipient(place, config) for place, config in enumerate(row.queues)]
        if row.kind in SILENT:
            return ()
        first = shard.shard * SHARD_LEAVES
        return addressees(row, self._records(shard.group_id, row.root).between(first, first + SHARD_LEAVES))

    def _records(self, group_id: GroupId, root: Ref) -> Records:
        known = self.remembered.get((group_id, root))
        if known is None:
            known = self.vault.at(group_id, root).records
            if len(self.remembered) >= REMEMBERED:
                self.remembered.pop(next(iter(self.remembered)))
            self.remembered[group_id, root] = known
        return known

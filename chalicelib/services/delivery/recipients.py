"""Who gets a row of the log: what the delivery records said when it was accepted."""

import dataclasses
from collections.abc import Mapping, Sequence

from chalicelib.protocol.delivery.queueing import ClientQueueConfig
from chalicelib.protocol.delivery.records import Records
from chalicelib.protocol.mls.chunks import Ref
from chalicelib.services.delivery.ports import Groups
from chalicelib.services.delivery.state import SHARD_LEAVES, GroupId, Kind, LogRow, Shard
from chalicelib.services.delivery.vault import Vault

REMEMBERED = 8
"""How many epochs' records one worker keeps in mind: messages in a row mostly have the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recipient:
    """A leaf, and the queue that its client had."""

    leaf_index: int
    config: ClientQueueConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Recipients:
    """Looks up recipients; remembers the records it has just read."""

    groups: Groups
    vault: Vault
    remembered: dict[tuple[GroupId, Ref], Records] = dataclasses.field(default_factory=dict)

    def of(self, shard: Shard, row: LogRow) -> Mapping[str, Sequence[Recipient]]:
        """Return a row's recipients in one shard by the domain of their queues.

        The sender is none, nor is who was quarantined; a Welcome is for the joiners alone.
        """
        if row.kind == Kind.CREATED:
            return {}
        joiners = {leaf_index for _, leaf_index in row.joiners}
        first = shard.shard * SHARD_LEAVES
        found: dict[str, list[Recipient]] = {}
        for leaf_index, record in self._records(shard.group_id, row.root).between(first, first + SHARD_LEAVES):
            if record.quarantined or leaf_index == row.sender:
                continue
            if row.kind != Kind.WELCOME or leaf_index in joiners:
                found.setdefault(record.config.ds_domain, []).append(Recipient(leaf_index, record.config))
        return found

    def _records(self, group_id: GroupId, root: Ref) -> Records:
        known = self.remembered.get((group_id, root))
        if known is None:
            head, _ = self.groups.load(group_id, b"")
            if head is None:
                raise LookupError("a group that is to be delivered has no head")
            known = self.vault.open(head, root).records
            if len(self.remembered) >= REMEMBERED:
                self.remembered.pop(next(iter(self.remembered)))
            self.remembered[group_id, root] = known
        return known

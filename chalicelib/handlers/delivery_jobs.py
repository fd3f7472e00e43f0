"""What a delivery service does without a caller: queues and schedules. The work lies in rows; queues only hurry it."""

from typing import Any

from chalice import Blueprint

from chalicelib import wiring
from chalicelib.handlers.batches import work_off
from chalicelib.protocol.base64url import decode_base64url
from chalicelib.services.delivery.state import GroupId
from chalicelib.wiring import delivery, groups

jobs = Blueprint(__name__)


@jobs.on_sqs_message(queue=wiring.queue_name("fanout"), batch_size=10, name="fan_out")
def fan_out(event: Any) -> None:
    """Deliver to one shard of a group."""

    def one(message: dict[str, Any]) -> None:
        group_id = GroupId(decode_base64url(message["g"]))
        if more := message.get("more"):
            groups.hints().fan_out(group_id, more)
        groups.fanout().deliver(group_id, int(message["shard"]))

    work_off(event, "fanout", one)


@jobs.schedule("rate(1 minute)", name="sweep_fanout")
def sweep_fanout(_event: Any) -> None:
    """Deliver whatever is due, in case no hint came, and to domains that were left behind; let removals lapse."""
    groups.sweep().sweep()


@jobs.schedule("rate(1 minute)", name="sweep_accounts")
def sweep_accounts(_event: Any) -> None:
    """Work off account events that were left undone."""
    groups.account_desk().sweep()


@jobs.schedule("rate(1 hour)", name="tend_groups")
def tend_groups(_event: Any) -> None:
    """Remove inactive clients, close unused groups, collect garbage: as many groups as there is time for."""
    groups.upkeep().step()


@jobs.schedule("rate(1 hour)", name="expire_queues")
def expire_queues(_event: Any) -> None:
    """Delete queues whose clients have not come for long: as many as there is time for."""
    delivery.queue_upkeep().run()

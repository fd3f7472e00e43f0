"""What runs without a caller: queues and schedules. The work lies in rows; queues only hurry it."""

from typing import Any

from chalice import Blueprint

from chalicelib import wiring
from chalicelib.handlers.batches import work_off
from chalicelib.services.provider.state import OutboxId
from chalicelib.wiring import provider

jobs = Blueprint(__name__)


@jobs.on_sqs_message(queue=wiring.queue_name("outbox"), batch_size=10, name="deliver")
def deliver(event: Any) -> None:
    """Send what an outbox entry says."""
    work_off(event, "outbox", lambda message: provider.dispatch().work_off(OutboxId(message["outbox_id"])))


@jobs.on_sqs_message(queue=wiring.queue_name("sequence"), batch_size=10, name="sequence")
def sequence(event: Any) -> None:
    """Bring additions into the filter and tell subscribers."""
    done = False

    def once(_message: dict[str, Any]) -> None:
        nonlocal done
        if not done:  # A pass reads everything pending, so one does for the whole batch.
            provider.sequencer().run()
            provider.publication().notify_all()
            done = True

    work_off(event, "sequence", once)


@jobs.on_sqs_message(queue=wiring.queue_name("follow"), batch_size=10, name="follow")
def follow(event: Any) -> None:
    """Bring what is held of a peer's filter up to date."""
    work_off(event, "follow", lambda message: provider.following().follow(message["gp"]))


@jobs.on_sqs_message(queue=wiring.queue_name("scan"), batch_size=1, name="scan")
def scan(event: Any) -> None:
    """Read one segment of the mappings for a rebuild."""
    work_off(event, "scan", lambda message: provider.rebuild().scan(message["version"], message["segment"]))


@jobs.schedule("rate(1 minute)", name="sweep")
def sweep(_event: Any) -> None:
    """Deliver whatever is due, in case no hint came."""
    provider.dispatch().sweep()


@jobs.schedule("rate(1 minute)", name="publish")
def publish(_event: Any) -> None:
    """Bring additions into the filter and tell subscribers that are behind."""
    provider.sequencer().run()
    provider.publication().notify_all()


@jobs.schedule("rate(1 minute)", name="follow_all")
def follow_all(_event: Any) -> None:
    """Poll every peer's signed head."""
    provider.following().follow_all()


@jobs.schedule("rate(1 minute)", name="rebuild")
def rebuild(_event: Any) -> None:
    """Begin a rebuild that is due, and push on one under way."""
    provider.rebuild().step()

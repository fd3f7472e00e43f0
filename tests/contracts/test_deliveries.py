"""`RecordDelivery`: how far the latest message of a verification has come."""

import dataclasses

from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.provider.writes import OpenVerification, RecordDelivery, SendAgain, TakeAttempt
from tests.contracts.examples import NOW, verification
from tests.contracts.ports import Ports

ONE = verification()


def test_a_delivery_is_part_of_its_verification_and_changes_nothing_else(ports: Ports) -> None:
    ports.store.commit(OpenVerification(ONE))
    ports.store.commit(TakeAttempt(ONE.verification_id, right=False, now=NOW))
    ports.store.commit(RecordDelivery(ONE.verification_id, "failed", NOW + 1, "no such number"))
    assert ports.store.verification(ONE.verification_id) == dataclasses.replace(
        ONE, attempts=1, delivery="failed", delivery_at=NOW + 1, delivery_reason="no such number"
    )


def test_the_last_writer_wins_and_may_repeat_itself(ports: Ports) -> None:
    ports.store.commit(OpenVerification(ONE))
    ports.store.commit(RecordDelivery(ONE.verification_id, "failed", NOW + 1, "no such number"))
    for _ in range(2):
        ports.store.commit(RecordDelivery(ONE.verification_id, "sent", NOW + 2, None))
    found = ports.store.verification(ONE.verification_id)
    assert found is not None
    assert (found.delivery, found.delivery_at, found.delivery_reason) == ("sent", NOW + 2, None)


def test_what_is_sent_again_is_queued_again(ports: Ports) -> None:
    ports.store.commit(OpenVerification(ONE))
    ports.store.commit(RecordDelivery(ONE.verification_id, "failed", NOW + 1, "no such number"))
    ports.store.commit(SendAgain(ONE.verification_id, 1, NOW + MINUTE, NOW + 2))
    found = ports.store.verification(ONE.verification_id)
    assert found is not None
    assert (found.delivery, found.delivery_at, found.delivery_reason) == ("queued", NOW + 2, None)

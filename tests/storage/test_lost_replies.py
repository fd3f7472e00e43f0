"""An answer that gets lost on the way changes nothing about what happened, and nobody mistakes it for another's."""

from collections.abc import Callable

import pytest
from botocore.exceptions import BotoCoreError

from chalicelib.protocol.glados.mappings import confirm
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.provider.state import OutboxEntry, OutboxId, Pointer
from chalicelib.services.provider.writes import AddOutbox, CountUp, OpenVerification, ReplaceRecords, TakeAttempt
from tests.contracts.aws import AwsPorts, lose_next_reply
from tests.storage.journey import ALPHA, PHONE, account, limit, map_user, mapping, verification


def test_a_commit_whose_reply_is_lost_is_sent_again_and_happens_once(aws: AwsPorts) -> None:
    before = aws.store.records(PHONE)
    change = confirm(before.records, mapping(aws, ALPHA), aws.clock(), alone=True)
    lose_next_reply()
    aws.store.commit(ReplaceRecords(PHONE, before, change, aws.clock()), CountUp(limit(aws), 1, aws.clock()))
    assert len(aws.store.records(PHONE).records.active) == 1
    assert len(aws.pending_log.read()) == 1


def test_an_attempt_whose_reply_is_lost_is_spent_once(aws: AwsPorts) -> None:
    opened = verification(aws)
    aws.store.commit(OpenVerification(opened))
    lose_next_reply()
    aws.store.commit(TakeAttempt(opened.verification_id, right=False, now=aws.clock()))
    after = aws.store.verification(opened.verification_id)
    assert after is not None
    assert after.attempts == 1


def test_counts_move_once_although_the_reply_of_their_discard_is_lost(aws: AwsPorts) -> None:
    aws.accounts.create(account("alpha"))
    map_user(aws)
    entries = aws.pending_log.read()
    lose_next_reply()
    aws.pending_log.discard(entries)
    aws.pending_log.discard(entries)
    loaded = aws.accounts.load(ProviderId("alpha"))
    assert loaded is not None
    assert loaded.value.users == 1


def swap(aws: AwsPorts) -> None:
    aws.filter_pointer.replace(aws.filter_pointer.load(), Pointer())


def begin(aws: AwsPorts) -> None:
    aws.idempotency.begin(["alpha", "route", "key"], b"body", aws.clock(), aws.clock() + 30_000)


def take(aws: AwsPorts) -> None:
    aws.outbox.take(OutboxId("o1"), aws.clock(), aws.clock() + 60_000)


@pytest.mark.parametrize("write", [swap, begin, take])
def test_a_single_conditional_write_is_not_sent_again_because_it_could_fail_on_its_own_success(
    aws: AwsPorts, write: Callable[[AwsPorts], None]
) -> None:
    aws.store.commit(AddOutbox(OutboxEntry(OutboxId("o1"), "event", "e1", aws.clock(), aws.clock())))
    lose_next_reply()
    with pytest.raises(BotoCoreError):
        write(aws)


def test_an_object_whose_reply_is_lost_is_put_again_and_is_the_same(aws: AwsPorts) -> None:
    lose_next_reply()
    stored = aws.filter_objects.put("base", b"bits")
    assert aws.filter_objects.get("base") == b"bits"
    assert stored.size == 4

"""Every refusal that a delivery service's doors can meet is told as a DSResponse."""

import hashlib
from collections.abc import Iterator

import pytest

from chalicelib import errors
from chalicelib.handlers.ds_refusals import REFUSALS, refused
from chalicelib.protocol.delivery.creation import CannotCreate
from chalicelib.protocol.delivery.refusals import GroupExists, InvalidRequest, MustCover, UnknownGroup
from chalicelib.protocol.delivery.responses import (
    CreateGroupRefused,
    CreateGroupResponse,
    DSError,
    DSErrorCode,
    DSResponse,
)
from chalicelib.protocol.mls.errors import StaleEpoch, TooLarge
from chalicelib.protocol.tls import decode

QUESTION = b"a DSMessage"


def told(refusal: errors.Refusal, content: bytes = QUESTION) -> tuple[int, DSResponse]:
    reply = refused(refusal, content)
    return reply.status, decode(DSResponse.read, reply.body)


def subclasses(kind: type[errors.Refusal]) -> Iterator[type[errors.Refusal]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def test_every_refusal_has_a_code_and_a_status() -> None:
    elsewhere = {
        errors.VerificationEnded,
        errors.WrongCode,
        errors.TokenRefused,
    }
    own = {CannotCreate, GroupExists}
    for kind in set(subclasses(errors.Refusal)) - elsewhere - own:
        assert any(issubclass(kind, row) for row, _, _ in REFUSALS), kind


def test_a_more_particular_row_stands_before_a_more_general_one() -> None:
    kinds = [kind for kind, _, _ in REFUSALS]
    for place, kind in enumerate(kinds):
        assert not any(issubclass(kind, before) for before in kinds[:place]), kind


def test_an_answer_names_the_request_that_it_answers() -> None:
    _, response = told(UnknownGroup())
    assert response.request_sha256 == hashlib.sha256(QUESTION).digest()


def test_an_answer_to_a_reference_names_the_message_that_was_uploaded() -> None:
    _, response = told(UnknownGroup(), bytes(range(32)) + bytes(8))
    assert response.request_sha256 == bytes(range(32))


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (errors.DecodeError("it is not what its format says"), 400, DSErrorCode.MALFORMED),
        (UnknownGroup(), 403, DSErrorCode.UNKNOWN_GROUP),
        (StaleEpoch(7), 409, DSErrorCode.STALE_EPOCH),
        (TooLarge("ds-3", "it holds too much"), 413, DSErrorCode.TOO_LARGE),
        (InvalidRequest("mds-op-1", "it does not fit"), 422, DSErrorCode.REFUSED),
        (errors.TooManyRequests("limit", 2.5), 429, DSErrorCode.TOO_MANY_REQUESTS),
        (errors.Unavailable("not now", 1.0), 503, DSErrorCode.UNAVAILABLE),
    ],
)
def test_a_refusal_says_what_a_client_can_do(refusal: errors.Refusal, status: int, code: DSErrorCode) -> None:
    got, response = told(refusal)
    assert isinstance(response.body, DSError)
    assert (got, response.body.code) == (status, code)


def test_facts_travel_with_the_code() -> None:
    assert told(StaleEpoch(7))[1].body == DSError(DSErrorCode.STALE_EPOCH, "mls-12.4.2-1", current_epoch=7)
    assert told(errors.TooManyRequests("limit", 2.5))[1].body == DSError(
        DSErrorCode.TOO_MANY_REQUESTS, retry_after_ms=2_500
    )
    cover = told(MustCover(3, ()))[1].body
    assert cover == DSError(DSErrorCode.MUST_COVER, "mds-cover-1", current_epoch=3)


def test_a_group_that_is_not_created_is_told_in_the_drafts_words() -> None:
    cause = CannotCreate(CreateGroupResponse.INVALID_KEY_PACKAGE, InvalidRequest("mds-create-7", "another client's"))
    assert told(cause) == (
        422,
        DSResponse(
            hashlib.sha256(QUESTION).digest(),
            CreateGroupRefused(CreateGroupResponse.INVALID_KEY_PACKAGE, "mds-create-7"),
        ),
    )
    status, response = told(GroupExists())
    assert (status, response.body) == (409, CreateGroupRefused(CreateGroupResponse.INVALID_GROUP_ID, "mds-create-1"))

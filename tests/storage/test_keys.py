"""Keys come and go by epochs, and nothing that stands is lost with them."""

from collections.abc import Iterator
from typing import get_args

import pytest

from chalicelib.protocol.glados.filters import Parameters, indexes
from chalicelib.protocol.glados.mappings import MappingId, confirm
from chalicelib.protocol.signed import Typ, read_jwk, sign, verify
from chalicelib.services.provider.rebuild import Rebuild
from chalicelib.services.provider.state import StoredRecords
from chalicelib.services.provider.writes import ReplaceRecords, Stale
from chalicelib.storage import clients
from chalicelib.storage.datakeys import MONTH, REFRESH, SETTLING
from chalicelib.storage.records import RecordsToken
from tests.contracts.aws import AwsPorts, container
from tests.storage.journey import BETA, PHONE, map_user, mapping


def epoch_of(found: StoredRecords) -> int:
    assert isinstance(found.token, RecordsToken)
    return found.token.epoch


def sii_rows(aws: AwsPorts) -> int:
    return len(list(aws.database.scan("sii")))


@pytest.fixture
def other(aws: AwsPorts) -> AwsPorts:
    """A second container of the same stage, which has used its keys before anything is rotated."""
    second = container(aws.stage, aws.clock)
    second.store.records(PHONE)
    return second


def test_a_sealing_key_lives_a_month_and_what_it_sealed_stays_readable(aws: AwsPorts) -> None:
    old = aws.sealer.seal("sii", "h", b"alice")
    aws.clock.advance(MONTH)
    new = aws.sealer.seal("sii", "h", b"alice")
    assert (old[:4], new[:4]) == (b"\0\0\0\1", b"\0\0\0\2")
    assert aws.sealer.open("sii", "h", old) == aws.sealer.open("sii", "h", new) == b"alice"


def test_a_container_learns_of_a_sealing_key_when_it_first_meets_it(aws: AwsPorts, other: AwsPorts) -> None:
    other.sealer.seal("sii", "h", b"alice")
    aws.clock.advance(MONTH - REFRESH)
    other.keys.live("seal")
    aws.keys.rotate("seal")
    aws.clock.advance(REFRESH - 1)
    assert other.sealer.open("sii", "h", aws.sealer.seal("sii", "h", b"bob")) == b"bob"


def test_two_containers_begin_one_new_month(aws: AwsPorts, other: AwsPorts) -> None:
    other.sealer.seal("sii", "h", b"alice")
    aws.clock.advance(MONTH)
    sealed = [one.sealer.seal("sii", "h", b"alice") for one in (aws, other)]
    assert [value[:4] for value in sealed] == [b"\0\0\0\2"] * 2


def test_an_index_key_is_announced_before_anything_is_named_by_it(aws: AwsPorts, other: AwsPorts) -> None:
    map_user(aws)
    aws.keys.rotate("index")
    map_user(aws, BETA, "bob")
    assert epoch_of(aws.store.records(PHONE)) == 1
    aws.clock.advance(REFRESH)
    assert epoch_of(other.store.records(PHONE)) == 1
    aws.clock.advance(SETTLING)
    found = other.store.records(PHONE)
    change = confirm(found.records, mapping(other, BETA, "alice-there"), aws.clock(), alone=False)
    other.store.commit(ReplaceRecords(PHONE, found, change, aws.clock()))
    assert epoch_of(aws.store.records(PHONE)) == 2
    assert sii_rows(aws) == 1


def test_of_two_that_move_a_row_to_a_new_index_key_one_loses(aws: AwsPorts, other: AwsPorts) -> None:
    map_user(aws)
    aws.keys.rotate("index")
    aws.clock.advance(SETTLING)
    found = other.store.records(PHONE)
    map_user(aws, BETA, "bob")
    change = confirm(found.records, mapping(other, BETA, "alice-there"), aws.clock(), alone=False)
    with pytest.raises(Stale):
        other.store.commit(ReplaceRecords(PHONE, found, change, aws.clock()))
    assert sii_rows(aws) == 1


def test_a_row_found_under_no_key_is_made_under_one_only(aws: AwsPorts, other: AwsPorts) -> None:
    """One container still names rows by the old key while the other already uses the new one."""
    missing = aws.store.records(PHONE)
    aws.keys.rotate("index")
    aws.clock.advance(REFRESH)
    other.store.records(PHONE)
    map_user(other)
    aws.clock.advance(SETTLING)
    change = confirm(missing.records, mapping(aws, BETA, "bob"), aws.clock(), alone=True)
    with pytest.raises(Stale):
        aws.store.commit(ReplaceRecords(PHONE, missing, change, aws.clock()))
    assert sii_rows(aws) == 1


def test_a_scan_reads_rows_of_every_index_key(aws: AwsPorts) -> None:
    map_user(aws)
    aws.keys.rotate("index")
    aws.clock.advance(SETTLING)
    parameters = Parameters(20)
    assert list(aws.scans.positions(0, 1, parameters)) == [indexes(parameters, PHONE)]


def test_a_rebuild_leaves_no_row_under_an_index_key_that_is_being_replaced(aws: AwsPorts) -> None:
    """So that the old key can be retired; the moved row's entry covers a scan that it might have slipped past."""
    map_user(aws)
    aws.pending_log.discard(aws.pending_log.read())
    aws.keys.rotate("index")
    aws.clock.advance(SETTLING)
    assert list(aws.scans.outdated(0, 1)) == [PHONE]
    before = aws.store.records(PHONE).records

    rebuild = rebuild_of(aws)
    rebuild.step()
    rebuild.scan(aws.filter_pointer.load().value.versions[0].version, 0)

    assert list(aws.scans.outdated(0, 1)) == []
    assert [entry.appears for entry in aws.pending_log.read()] == [PHONE]
    aws.keys.retire("index", 1)
    assert aws.store.records(PHONE).records == before


def rebuild_of(aws: AwsPorts) -> Rebuild:
    return Rebuild(
        aws.filter_pointer, aws.store, aws.rebuild_jobs, aws.scans, aws.filter_objects, aws.keyring, aws.hints,
        aws.alarms, aws.clock, gp="eu",
    )  # fmt: skip


def test_a_retired_key_opens_nothing(aws: AwsPorts) -> None:
    identity = aws.keyring.mapping_id("alpha", PHONE, b"")
    aws.keys.rotate("mapping-id")
    assert aws.keyring.open_mapping_id("alpha", identity) == PHONE
    aws.keys.retire("mapping-id", 1)
    assert aws.keyring.open_mapping_id("alpha", identity) is None
    with pytest.raises(ValueError, match="older than the one in use"):
        aws.keys.retire("mapping-id", 2)


@pytest.mark.parametrize("purpose", ["digest", "external-sender"])
def test_a_key_that_is_one_for_good_cannot_be_rotated(aws: AwsPorts, purpose: str) -> None:
    with pytest.raises(ValueError, match="for good"):
        aws.keys.rotate(purpose)


@pytest.mark.parametrize("typ", get_args(Typ))
def test_what_a_signing_key_signs_its_published_half_verifies(aws: AwsPorts, typ: Typ) -> None:
    token = sign(aws.keyring.signing_key(typ), typ, {"iss": "eu", "iat": 0, "exp": 10})
    published = dict(map(read_jwk, container(aws.stage, aws.clock).keyring.public_jwks(typ)))
    assert verify(token, typ, published, issuer="eu", audience=None, now=1000)["iss"] == "eu"


def test_a_new_signing_key_is_published_before_it_signs(aws: AwsPorts) -> None:
    before = aws.keyring.signing_key("glados-head+jwt").kid
    aws.keys.rotate("sign:glados-head+jwt")
    assert aws.keyring.signing_key("glados-head+jwt").kid == before
    assert len(aws.keyring.public_jwks("glados-head+jwt")) == 2
    aws.clock.advance(SETTLING)
    assert aws.keyring.signing_key("glados-head+jwt").kid != before


@pytest.mark.parametrize("text", ["", "AA", "AAE", "not base64url!", "ſ" * 40, "A" * 80, "__8" + "A" * 77, "A" * 5000])
def test_any_other_text_is_no_mapping_id(aws: AwsPorts, text: str) -> None:
    assert aws.keyring.open_mapping_id("alpha", MappingId(text)) is None


def test_a_repeat_of_a_request_makes_the_same_mapping_id(aws: AwsPorts) -> None:
    made = [aws.keyring.mapping_id("alpha", PHONE, fresh) for fresh in (b"1", b"1", b"2")]
    assert made[0] == made[1] != made[2]


def test_a_wrapped_key_opens_for_its_own_purpose_only(aws: AwsPorts) -> None:
    aws.keyring.code_key()
    (row,) = rows_of(aws, "code")
    kms = clients.client("kms", 3)
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        kms.decrypt(CiphertextBlob=row, EncryptionContext={"stage": aws.stage, "purpose": "index"})


def rows_of(aws: AwsPorts, purpose: str) -> Iterator[bytes]:
    for row in aws.database.query("keys", "#purpose = :purpose", {"purpose": purpose}):
        wrapped = row["wrapped"]
        assert isinstance(wrapped, bytes)
        yield wrapped

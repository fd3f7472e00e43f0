"""Bodies that are too large to be posted."""

import hashlib

import pytest

from chalicelib.errors import DecodeError, TooManyRequests
from chalicelib.protocol.delivery.directory import Upload, UploadReference
from chalicelib.protocol.delivery.messages import DSMessage
from chalicelib.protocol.delivery.responses import UploadAnswer
from chalicelib.protocol.timestamps import DAY, HOUR
from chalicelib.services.delivery.senders import WrongSender
from tests.protocol.mls.story import refused
from tests.services.delivery.accounts.user import User
from tests.services.delivery.house import House

CONTENT = b"a large message"
MB = 1 << 20


def uploading(user: User, length: int, content: bytes = CONTENT) -> DSMessage:
    return user.sign(Upload(hashlib.sha256(content).digest(), length, user.fresh()))


def reference(length: int = len(CONTENT)) -> bytes:
    return UploadReference(hashlib.sha256(CONTENT).digest(), length).encode()


def test_what_is_uploaded_by_the_link_can_be_named(house: House, alice: User) -> None:
    answer = house.serve(uploading(alice, len(CONTENT)))
    assert isinstance(answer, UploadAnswer)
    assert house.world.uploads.put_in(answer.url, CONTENT)
    assert house.uploading.fetch_reference(reference()) == CONTENT


def test_what_was_not_uploaded_or_not_so_long_is_refused(house: House, alice: User) -> None:
    with refused("mds-upload-2"):
        house.uploading.fetch_reference(reference())
    answer = house.serve(uploading(alice, len(CONTENT)))
    house.world.uploads.put_in(answer.url, CONTENT)
    with refused("mds-upload-2"):
        house.uploading.fetch_reference(reference(len(CONTENT) - 1))


@pytest.mark.parametrize("length", [0, 64 * MB + 1])
def test_a_body_has_1_byte_to_64_mib(house: House, alice: User, length: int) -> None:
    with refused("mds-upload-1"):
        house.serve(uploading(alice, length))
    with refused("mds-upload-1"):
        house.uploading.fetch_reference(reference(length))
    assert ("uploads", "fetch") not in house.world.calls()


def test_what_is_no_reference_is_refused(house: House) -> None:
    with pytest.raises(DecodeError):
        house.uploading.fetch_reference(reference() + b".")


def test_strangers_get_no_link(house: House) -> None:
    with pytest.raises(WrongSender):
        house.serve(uploading(User(house, "stranger"), 1))


def test_a_user_uploads_a_gigabyte_a_day(house: House, alice: User) -> None:
    for _ in range(16):
        house.serve(uploading(alice, 64 * MB))
    with pytest.raises(TooManyRequests) as told:
        house.serve(uploading(alice, 64 * MB))
    assert told.value.retry_after_seconds == pytest.approx(86_400 / 16, rel=0.01)
    house.world.clock.advance(DAY // 16)
    house.serve(uploading(alice, 64 * MB))


def test_one_upload_is_fetched_some_times_an_hour(house: House, alice: User) -> None:
    house.world.uploads.put_in(house.serve(uploading(alice, len(CONTENT))).url, CONTENT)
    for _ in range(30):
        house.uploading.fetch_reference(reference())
    with pytest.raises(TooManyRequests):
        house.uploading.fetch_reference(reference())
    house.world.clock.advance(HOUR // 60)
    house.uploading.fetch_reference(reference())

"""`DsKeys` and `Uploads`: keys that are always the same or have epochs, and bodies by link."""

import hashlib

import pytest

from chalicelib.protocol.crypto import CIPHER_SUITES, InvalidSignature
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.sealed import STATE_KEY, seal_to
from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.delivery.state import GroupId
from tests.contracts.delivery import GROUP, DsPorts

OTHER = GroupId(b"another")


@pytest.mark.parametrize("number", CIPHER_SUITES)
def test_what_the_sender_key_signs_its_public_key_verifies_in_every_suite(ds: DsPorts, number: int) -> None:
    suite = CIPHER_SUITES[number]
    private = ds.keys.sender_key(GROUP, number)
    public = suite.signatures.public_key(private)
    signature = suite.sign_with_label(private, "label", b"content")
    suite.verify_with_label(public, "label", b"content", signature, "check")
    other = suite.signatures.public_key(ds.keys.sender_key(OTHER, number))
    with pytest.raises(InvalidSignature):
        suite.verify_with_label(other, "label", b"content", signature, "check")


def test_a_sender_key_is_always_the_same_for_a_group_and_suite_and_no_others(ds: DsPorts) -> None:
    keys = [ds.keys.sender_key(group_id, suite) for group_id in (GROUP, OTHER) for suite in CIPHER_SUITES]
    assert len(set(keys)) == 2 * len(CIPHER_SUITES)
    ds.rotate_hub_key()
    ds.clock.advance(10 * MINUTE)
    assert keys == [ds.keys.sender_key(group_id, suite) for group_id in (GROUP, OTHER) for suite in CIPHER_SUITES]


def test_what_is_sealed_to_the_hub_opens_in_its_context_only(ds: DsPorts) -> None:
    epoch, public = ds.keys.hub_key()
    sealed = seal_to(public, epoch, STATE_KEY, GROUP, b"k" * 32)
    assert ds.keys.open_state_key(epoch, sealed.ciphertext, GROUP) == b"k" * 32
    for wrong_epoch, ciphertext, context in [
        (epoch, sealed.ciphertext, OTHER),
        (epoch, sealed.ciphertext[:-1] + b"\x00", GROUP),
        (epoch, b"short", GROUP),
        (epoch + 1, sealed.ciphertext, GROUP),
        (0, sealed.ciphertext, GROUP),
    ]:
        with pytest.raises(CannotOpen):
            ds.keys.open_state_key(wrong_epoch, ciphertext, context)


def test_an_old_hub_key_opens_what_was_sealed_to_it(ds: DsPorts) -> None:
    epoch, public = ds.keys.hub_key()
    sealed = seal_to(public, epoch, STATE_KEY, GROUP, b"k" * 32)
    ds.rotate_hub_key()
    ds.clock.advance(10 * MINUTE)
    next_epoch, next_public = ds.keys.hub_key()
    assert next_epoch == epoch + 1
    assert next_public != public
    assert ds.keys.open_state_key(epoch, sealed.ciphertext, GROUP) == b"k" * 32
    with pytest.raises(CannotOpen):
        ds.keys.open_state_key(next_epoch, sealed.ciphertext, GROUP)


def test_a_digest_depends_on_its_purpose_and_on_where_its_parts_end(ds: DsPorts) -> None:
    digests = [
        ds.keys.digest("one", b"ab", b"c"),
        ds.keys.digest("one", b"a", b"bc"),
        ds.keys.digest("one", b"abc"),
        ds.keys.digest("two", b"ab", b"c"),
    ]
    assert len(set(digests)) == 4
    assert digests[0] == ds.keys.digest("one", b"ab", b"c")


def test_what_is_sealed_opens_for_its_purpose_and_name_only(ds: DsPorts) -> None:
    sealed = ds.keys.seal("fan-out", b"row", b"plain")
    assert b"plain" not in sealed
    assert ds.keys.seal("fan-out", b"row", b"plain") != sealed
    assert ds.keys.open("fan-out", b"row", sealed) == b"plain"
    for purpose, name in [("other", b"row"), ("fan-out", b"other")]:
        with pytest.raises(CannotOpen):
            ds.keys.open(purpose, name, sealed)


def test_nothing_is_fetched_that_was_not_uploaded(ds: DsPorts) -> None:
    digest = hashlib.sha256(b"body").digest()
    assert ds.uploads.link_in(digest, 4).startswith("http")
    with pytest.raises(LookupError):
        ds.uploads.fetch(digest, 4)


def test_what_goes_out_has_one_url_for_each_content(ds: DsPorts) -> None:
    urls = [ds.uploads.put_out(content).partition("?")[0] for content in (b"one", b"two", b"one")]
    assert urls[0] == urls[2] != urls[1]

"""What is sealed opens for one key, one label and one context, and its refusal tells nothing."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

from chalicelib.errors import DecodeError, InvalidValue
from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, QueueConfig
from chalicelib.protocol.delivery.sealed import (
    OVERHEAD,
    QUEUE_CONFIG,
    STATE_KEY,
    STATE_KEY_SIZE,
    Sealed,
    open_sealed,
    read_sealed_state_key,
    seal_to,
)
from chalicelib.protocol.tls import decode

PRIVATE = bytes(range(32))
PUBLIC = X25519PrivateKey.from_private_bytes(PRIVATE).public_key().public_bytes_raw()
CONFIG = QueueConfig(b"i" * 16, b"t" * 16)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_is_sealed_opens(context: bytes, plaintext: bytes) -> None:
    sealed = seal_to(PUBLIC, 3, STATE_KEY, context, plaintext)
    assert sealed.key_epoch == 3
    assert len(sealed.ciphertext) == OVERHEAD + len(plaintext)
    assert open_sealed(PRIVATE, STATE_KEY, context, sealed) == plaintext


def test_another_implementation_of_hpke_opens_it() -> None:
    sealed = seal_to(PUBLIC, 0, STATE_KEY, b"a group", b"a key")
    other = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM)
    private = other.kem.deserialize_private_key(PRIVATE)
    opened = other.create_recipient_context(sealed.ciphertext[:32], private, b"MIMI StateKey\x00a group")
    assert opened.open(sealed.ciphertext[32:]) == b"a key"


@pytest.mark.parametrize(
    ("private", "label", "context"),
    [(bytes(32), STATE_KEY, b"a group"), (PRIVATE, QUEUE_CONFIG, b"a group"), (PRIVATE, STATE_KEY, b"another")],
    ids=["key", "label", "context"],
)
def test_what_was_sealed_for_something_else_does_not_open(private: bytes, label: str, context: bytes) -> None:
    sealed = seal_to(PUBLIC, 0, STATE_KEY, b"a group", b"a key")
    with pytest.raises(CannotOpen) as refused:
        open_sealed(private, label, context, sealed)
    assert str(refused.value) == "something sealed does not open with the key it names"
    assert refused.value.facts() == {}


def test_no_changed_byte_opens() -> None:
    sealed = seal_to(PUBLIC, 0, STATE_KEY, b"a group", b"a key")
    for place in range(len(sealed.ciphertext)):
        changed = bytearray(sealed.ciphertext)
        changed[place] ^= 1
        with pytest.raises(CannotOpen):
            open_sealed(PRIVATE, STATE_KEY, b"a group", Sealed(0, bytes(changed)))


def test_an_encapsulated_key_of_low_order_does_not_open() -> None:
    with pytest.raises(CannotOpen):
        open_sealed(PRIVATE, STATE_KEY, b"", Sealed(0, bytes(OVERHEAD)))


def test_a_label_and_a_context_are_not_taken_for_each_other() -> None:
    sealed = seal_to(PUBLIC, 0, "a", b"b\x00c", b"")
    with pytest.raises(CannotOpen):
        open_sealed(PRIVATE, "ab", b"c", sealed)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32)], ids=["none", "short", "long", "low order"])
def test_nothing_is_sealed_to_what_is_no_key(key: bytes) -> None:
    with pytest.raises(InvalidValue):
        seal_to(key, 0, STATE_KEY, b"", b"")


def test_a_queue_config_opens_at_the_service_it_names_only() -> None:
    sealed = ClientQueueConfig.seal(Domain("eu.ds.example"), 1, PUBLIC, CONFIG)
    assert sealed.open(PRIVATE) == CONFIG
    with pytest.raises(CannotOpen):
        ClientQueueConfig(Domain("us.ds.example"), sealed.sealed_config).open(PRIVATE)


@pytest.mark.parametrize("size", [OVERHEAD, 79, 81, 2_300_000])
def test_a_sealed_config_and_a_sealed_state_key_have_one_size(size: int) -> None:
    queue = ClientQueueConfig.seal(Domain("eu.ds.example"), 1, PUBLIC, CONFIG)
    assert decode(ClientQueueConfig.read, queue.encode()) == queue
    key = seal_to(PUBLIC, 1, STATE_KEY, b"a group", bytes(STATE_KEY_SIZE))
    assert decode(read_sealed_state_key, key.encode()) == key
    with pytest.raises(DecodeError, match="another length"):
        decode(ClientQueueConfig.read, dataclasses.replace(queue, sealed_config=Sealed(1, bytes(size))).encode())
    with pytest.raises(DecodeError, match="another length"):
        decode(read_sealed_state_key, Sealed(1, bytes(size)).encode())


def test_two_sealed_configs_of_one_queue_do_not_look_alike() -> None:
    one, other = (ClientQueueConfig.seal(Domain("eu.ds.example"), 1, PUBLIC, CONFIG) for _ in range(2))
    assert one.sealed_config.ciphertext[:32] != other.sealed_config.ciphertext[:32]
    assert one.sealed_config.ciphertext[32:] != other.sealed_config.ciphertext[32:]

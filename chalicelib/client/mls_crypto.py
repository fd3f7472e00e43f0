"""A cipher suite as a member needs it: HPKE, AEAD and the labelled derivations (RFC 9420 §§5.1.3, 8).

Needs the package `pyhpke`, which the servers do not: install the extra `mls-member`.
"""

import dataclasses
import functools

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pyhpke import AEADId, KDFId, KEMId, PyHPKEError
from pyhpke import CipherSuite as Hpke

from chalicelib.protocol.crypto import CipherSuite, cipher_suite
from chalicelib.protocol.mls.commit import HPKECiphertext
from chalicelib.protocol.tls import opaque, uint16, uint32

NONCE_SIZE = 12
"""AEAD.Nn of every suite of the RFC."""


class CannotFollow(Exception):
    """A member cannot go along with a message that the delivery service may well have passed; raise a subclass."""


class CannotDecrypt(CannotFollow):
    """A ciphertext does not open with the key that it must have been made for."""


class UnknownKem(CannotFollow):
    """The cipher suite's KEM is not one that this member knows."""


@dataclasses.dataclass(frozen=True)
class KeyPair:
    """An HPKE key pair, both halves in the form that travels."""

    private: bytes
    public: bytes


_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_HPKE = {
    1: (KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM),
    2: (KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM),
    3: (KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305),
    4: (KEMId.DHKEM_X448_HKDF_SHA512, KDFId.HKDF_SHA512, AEADId.AES256_GCM),
    5: (KEMId.DHKEM_P521_HKDF_SHA512, KDFId.HKDF_SHA512, AEADId.AES256_GCM),
    6: (KEMId.DHKEM_X448_HKDF_SHA512, KDFId.HKDF_SHA512, AEADId.CHACHA20_POLY1305),
    7: (KEMId.DHKEM_P384_HKDF_SHA384, KDFId.HKDF_SHA384, AEADId.AES256_GCM),
}
_KEY_SIZES = {AEADId.AES128_GCM: 16, AEADId.AES256_GCM: 32, AEADId.CHACHA20_POLY1305: 32}


@dataclasses.dataclass(frozen=True)
class MemberSuite:
    """One of the RFC's seven suites with everything a member does with it."""

    cipher_suite: CipherSuite
    hpke: Hpke
    aead: type[AESGCM | ChaCha20Poly1305]
    key_size: int

    @property
    def hash_size(self) -> int:
        """Return KDF.Nh."""
        return self.cipher_suite.hash_size

    @property
    def _hash(self) -> hashes.HashAlgorithm:
        return _HASHES[self.cipher_suite.hash_name]()

    def mac(self, key: bytes, content: bytes) -> bytes:
        """Return HMAC with the suite's hash."""
        code = hmac.HMAC(key, self._hash)
        code.update(content)
        return code.finalize()

    def extract(self, salt: bytes, material: bytes) -> bytes:
        """KDF.Extract (RFC 5869 §2.2)."""
        return self.mac(salt, material)

    def expand_with_label(self, secret: bytes, label: str, context: bytes, size: int) -> bytes:
        """ExpandWithLabel (§8)."""
        info = uint16(size) + opaque(b"MLS 1.0 " + label.encode()) + opaque(context)
        return HKDFExpand(self._hash, size, info).derive(secret)

    def derive_secret(self, secret: bytes, label: str) -> bytes:
        """DeriveSecret (§8)."""
        return self.expand_with_label(secret, label, b"", self.hash_size)

    def derive_tree_secret(self, secret: bytes, label: str, generation: int, size: int) -> bytes:
        """DeriveTreeSecret (§9.1)."""
        return self.expand_with_label(secret, label, uint32(generation), size)

    def derive_key_pair(self, secret: bytes) -> KeyPair:
        """KEM.DeriveKeyPair (RFC 9180 §4)."""
        pair = self.hpke.kem.derive_key_pair(secret)
        return KeyPair(pair.private_key.to_private_bytes(), pair.public_key.to_public_bytes())

    def encrypt_with_label(self, public_key: bytes, label: str, context: bytes, plaintext: bytes) -> HPKECiphertext:
        """EncryptWithLabel (§5.1.3)."""
        receiver = self.hpke.kem.deserialize_public_key(public_key)
        kem_output, sender = self.hpke.create_sender_context(receiver, _encrypt_context(label, context))
        return HPKECiphertext(kem_output, sender.seal(plaintext))

    def decrypt_with_label(self, private_key: bytes, label: str, context: bytes, ciphertext: HPKECiphertext) -> bytes:
        """DecryptWithLabel (§5.1.3)."""
        try:
            receiver = self.hpke.create_recipient_context(
                ciphertext.kem_output,
                self.hpke.kem.deserialize_private_key(private_key),
                _encrypt_context(label, context),
            )
            return receiver.open(ciphertext.ciphertext)
        except (PyHPKEError, ValueError) as failure:
            raise CannotDecrypt("an HPKE ciphertext does not open") from failure

    def export_to(self, public_key: bytes, label: str) -> tuple[bytes, bytes]:
        """Return a KEM output and the secret it exports to `public_key` (§8.3)."""
        receiver = self.hpke.kem.deserialize_public_key(public_key)
        kem_output, sender = self.hpke.create_sender_context(receiver)
        return kem_output, sender.export(label.encode(), self.hash_size)

    def export_from(self, private_key: bytes, kem_output: bytes, label: str) -> bytes:
        """Return the secret that a KEM output exports to the holder of `private_key` (§8.3)."""
        try:
            receiver = self.hpke.create_recipient_context(
                kem_output, self.hpke.kem.deserialize_private_key(private_key)
            )
            return receiver.export(label.encode(), self.hash_size)
        except (PyHPKEError, ValueError) as failure:
            raise CannotDecrypt("a KEM output does not open") from failure

    def seal(self, key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> bytes:
        """Encrypt with the suite's AEAD."""
        return self.aead(key).encrypt(nonce, plaintext, associated)

    def open(self, key: bytes, nonce: bytes, associated: bytes, ciphertext: bytes) -> bytes:
        """Decrypt with the suite's AEAD."""
        try:
            return self.aead(key).decrypt(nonce, ciphertext, associated)
        except (InvalidTag, ValueError) as failure:
            raise CannotDecrypt("a ciphertext does not open") from failure


def _encrypt_context(label: str, context: bytes) -> bytes:
    return opaque(b"MLS 1.0 " + label.encode()) + opaque(context)


@functools.cache
def member_suite(number: int) -> MemberSuite:
    """Return one of the RFC's seven suites; others a member of this kind cannot use."""
    suite = cipher_suite(number)
    if number not in _HPKE:
        raise UnknownKem("this member does not know the cipher suite's KEM")
    kem, kdf, aead = _HPKE[number]
    cipher = ChaCha20Poly1305 if aead == AEADId.CHACHA20_POLY1305 else AESGCM
    return MemberSuite(suite, Hpke.new(kem, kdf, aead), cipher, _KEY_SIZES[aead])

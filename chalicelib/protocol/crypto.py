"""Cipher suites as a table, and the operations that need no secret of the group (RFC 9420 §§5.1–5.2, 17.1).

The KEM is opaque here except for what is a public key of it: a delivery service never encrypts to a leaf. A
suite whose KEM we do not know (0xf057, X-Wing) is served all the same. Verifying raises; nothing returns a
bool that someone could forget to read.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature as BadSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519

from chalicelib.errors import NotAuthenticated, Refusal
from chalicelib.protocol.tls import opaque


class UnsupportedCipherSuite(Refusal):
    """[mls-5.1-1] The cipher suite is not one that is served here."""

    check = "mls-5.1-1"

    def __init__(self, number: int) -> None:
        super().__init__("the cipher suite is not one that is served here")
        self.number = number

    def facts(self) -> dict[str, object]:
        """Return the suite's number, and the id of the check."""
        return {**super().facts(), "cipher_suite": self.number}


class InvalidSignature(NotAuthenticated):
    """A signature does not verify with the key it must have been made with."""

    def __init__(self, check: str) -> None:
        super().__init__("a signature does not verify")
        self.check = check


@dataclasses.dataclass(frozen=True)
class Signatures:
    """A signature scheme of RFC 8446 §4.2.3: how to verify, sign, and find the public key of a private one.

    Private keys are raw: a seed for EdDSA, the big-endian scalar for ECDSA.
    """

    verify: Callable[[bytes, bytes, bytes], None]
    sign: Callable[[bytes, bytes], bytes]
    public_key: Callable[[bytes], bytes]


def _ed25519_verify(public_key: bytes, signature: bytes, content: bytes) -> None:
    ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)


def _ed25519_sign(private_key: bytes, content: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(private_key).sign(content)


def _ed25519_public_key(private_key: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def _ed448_verify(public_key: bytes, signature: bytes, content: bytes) -> None:
    ed448.Ed448PublicKey.from_public_bytes(public_key).verify(signature, content)


def _ed448_sign(private_key: bytes, content: bytes) -> bytes:
    return ed448.Ed448PrivateKey.from_private_bytes(private_key).sign(content)


def _ed448_public_key(private_key: bytes) -> bytes:
    return ed448.Ed448PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def _ecdsa(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> Signatures:
    scheme = ec.ECDSA(digest, deterministic_signing=True)

    def verify(public_key: bytes, signature: bytes, content: bytes) -> None:
        _check_point(curve, public_key)
        ec.EllipticCurvePublicKey.from_encoded_point(curve, public_key).verify(signature, content, scheme)

    def private(private_key: bytes) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(private_key, "big"), curve)

    def sign(private_key: bytes, content: bytes) -> bytes:
        return private(private_key).sign(content, scheme)

    def public_key(private_key: bytes) -> bytes:
        return (
            private(private_key)
            .public_key()
            .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        )

    return Signatures(verify, sign, public_key)


def _check_point(curve: ec.EllipticCurve, encoded: bytes) -> None:
    """Accept a point on the curve in UncompressedPointRepresentation only (RFC 8446 §4.2.8.2)."""
    if encoded[:1] != b"\x04":
        raise ValueError("the point is not uncompressed")
    ec.EllipticCurvePublicKey.from_encoded_point(curve, encoded)


_ANY_X25519 = x25519.X25519PrivateKey.from_private_bytes(bytes(32))
_ANY_X448 = x448.X448PrivateKey.from_private_bytes(bytes(56))


def _check_x25519(encoded: bytes) -> None:
    """Refuse a point of low order too: with any private key, clamped as they are, it comes to zero (RFC 7748 §6.1)."""
    _ANY_X25519.exchange(x25519.X25519PublicKey.from_public_bytes(encoded))


def _check_x448(encoded: bytes) -> None:
    """Refuse a point of low order too, as with X25519 (RFC 7748 §6.2)."""
    _ANY_X448.exchange(x448.X448PublicKey.from_public_bytes(encoded))


_LONGEST_KEY = 4 << 10


def _check_any(encoded: bytes) -> None:
    if not 0 < len(encoded) <= _LONGEST_KEY:
        raise ValueError("the key is empty, or longer than any KEM's")


_P256, _P384, _P521 = ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()
_ED25519 = Signatures(_ed25519_verify, _ed25519_sign, _ed25519_public_key)
_ED448 = Signatures(_ed448_verify, _ed448_sign, _ed448_public_key)


@dataclasses.dataclass(frozen=True)
class CipherSuite:
    """One row of the registry of RFC 9420 §17.1, as far as a delivery service needs it."""

    number: int
    name: str
    hash_name: str
    signatures: Signatures
    check_encryption_key: Callable[[bytes], None]

    @property
    def hash_size(self) -> int:
        """Return KDF.Nh: every suite's KDF is HKDF with the suite's hash."""
        return hashlib.new(self.hash_name).digest_size

    def hash(self, content: bytes) -> bytes:
        """Hash with the suite's hash."""
        return hashlib.new(self.hash_name, content, usedforsecurity=True).digest()

    def ref_hash(self, label: str, value: bytes) -> bytes:
        """RefHash of RFC 9420 §5.2; `label` is given in full, with its "MLS 1.0 "."""
        return self.hash(opaque(label.encode()) + opaque(value))

    def verify_with_label(self, public_key: bytes, label: str, content: bytes, signature: bytes, check: str) -> None:
        """VerifyWithLabel of RFC 9420 §5.1.2; a failure names `check`, the ledger's id of the rule."""
        try:
            self.signatures.verify(public_key, signature, sign_content(label, content))
        except (BadSignature, ValueError) as failure:
            raise InvalidSignature(check) from failure

    def check_signature_key(self, public_key: bytes) -> None:
        """Raise `ValueError` for a key that nobody could sign with in this suite."""
        try:
            self.signatures.verify(public_key, b"", b"")
        except BadSignature:
            return  # As it had to be: what counts is that the key could be read.

    def sign_with_label(self, private_key: bytes, label: str, content: bytes) -> bytes:
        """SignWithLabel of RFC 9420 §5.1.2, for the delivery service's own proposals and answers."""
        return self.signatures.sign(private_key, sign_content(label, content))


def sign_content(label: str, content: bytes) -> bytes:
    """Encode SignContent (RFC 9420 §5.1.2)."""
    return opaque(b"MLS 1.0 " + label.encode()) + opaque(content)


_P256_ECDSA, _P256_KEM = _ecdsa(_P256, hashes.SHA256()), functools.partial(_check_point, _P256)
_P384_ECDSA, _P384_KEM = _ecdsa(_P384, hashes.SHA384()), functools.partial(_check_point, _P384)
_P521_ECDSA, _P521_KEM = _ecdsa(_P521, hashes.SHA512()), functools.partial(_check_point, _P521)

CIPHER_SUITES = {
    suite.number: suite
    for suite in (
        CipherSuite(1, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", "sha256", _ED25519, _check_x25519),
        CipherSuite(2, "MLS_128_DHKEMP256_AES128GCM_SHA256_P256", "sha256", _P256_ECDSA, _P256_KEM),
        CipherSuite(3, "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", "sha256", _ED25519, _check_x25519),
        CipherSuite(4, "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448", "sha512", _ED448, _check_x448),
        CipherSuite(5, "MLS_256_DHKEMP521_AES256GCM_SHA512_P521", "sha512", _P521_ECDSA, _P521_KEM),
        CipherSuite(6, "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448", "sha512", _ED448, _check_x448),
        CipherSuite(7, "MLS_256_DHKEMP384_AES256GCM_SHA384_P384", "sha384", _P384_ECDSA, _P384_KEM),
        # Private use: X-Wing with SHA-256 and Ed25519, the default of one of the real clients.
        CipherSuite(0xF057, "XWING_SHA256_Ed25519", "sha256", _ED25519, _check_any),
    )
}


def cipher_suite(number: int) -> CipherSuite:
    """Return the suite with this number, or refuse it."""
    suite = CIPHER_SUITES.get(number)
    if suite is None:
        raise UnsupportedCipherSuite(number)
    return suite

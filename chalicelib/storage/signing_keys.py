"""The port `SigningKeys`: a P-256 key for each purpose, from the table `keys`."""

import hashlib

from cryptography.hazmat.primitives import serialization

from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.signed import SigningKey, Typ
from chalicelib.storage.datakeys import SIGNING, DataKey
from chalicelib.storage.digests import AwsDigests


class AwsSigningKeys(AwsDigests):
    """Digests and signing keys of one stage."""

    def signing_key(self, typ: Typ) -> SigningKey:
        """Return the key that signs objects of this type now."""
        return _signing_key(self.keys.in_use(SIGNING + typ))

    def public_jwks(self, typ: Typ) -> list[dict[str, str]]:
        """Return the public halves of all live keys of a type: old ones for what they signed, announced ones too."""
        return [_signing_key(key).public_jwk() for key in self.keys.live(SIGNING + typ)]


def _signing_key(key: DataKey) -> SigningKey:
    if key.private is None:
        raise TypeError("this purpose has no signing key")
    public = key.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(encode_base64url(hashlib.sha256(public).digest()[:16]), key.private)

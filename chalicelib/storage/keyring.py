"""The port `Keyring`: beside signing keys and digests the code key, and mapping ids, from the table `keys`.

A mapping id is the sealed identifier itself: key epoch (2 bytes), nonce (12), AES-256-GCM of the canonical SII
bound to its provider, as base64url. So the GP finds the row of an id without an index that could be stolen, and
nobody else learns anything from one. The nonce is a keyed hash of all that goes in, so a repeat of a request
makes the same id; `fresh` tells two ids of one pair apart.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chalicelib.errors import DecodeError
from chalicelib.protocol.base64url import decode_base64url, encode_base64url
from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.protocol.glados.mappings import MappingId
from chalicelib.storage.datakeys import DataKey
from chalicelib.storage.sealing import keyed_hash
from chalicelib.storage.signing_keys import AwsSigningKeys

_EPOCH_BYTES = 2
_NONCE_BYTES = 12
_LONGEST_ID = 2_000


class AwsKeyring(AwsSigningKeys):
    """All keys of a provider's stage."""

    def code_key(self) -> bytes:
        """Return the key that codes are derived with."""
        return self.keys.in_use("code").key

    def mapping_id(self, provider_id: str, sii: Sii, fresh: bytes) -> MappingId:
        """Seal an SII for one provider."""
        key = self.keys.in_use("mapping-id")
        nonce = keyed_hash(key.key, "mapping-id nonce", provider_id, sii.uri, fresh)[:_NONCE_BYTES]
        sealed = AESGCM(_sealing_key(key)).encrypt(nonce, sii.uri.encode(), provider_id.encode())
        return MappingId(encode_base64url(key.epoch.to_bytes(_EPOCH_BYTES, "big") + nonce + sealed))

    def open_mapping_id(self, provider_id: str, mapping_id: MappingId) -> Sii | None:
        """Return the SII of an id that was made for this provider, or None for any other text."""
        try:
            data = decode_base64url(mapping_id) if len(mapping_id) <= _LONGEST_ID else b""
        except DecodeError:
            return None
        nonce, sealed = data[_EPOCH_BYTES : _EPOCH_BYTES + _NONCE_BYTES], data[_EPOCH_BYTES + _NONCE_BYTES :]
        key = self.keys.of_epoch("mapping-id", int.from_bytes(data[:_EPOCH_BYTES], "big"))
        if key is None or not sealed:
            return None
        try:
            return Sii(AESGCM(_sealing_key(key)).decrypt(nonce, sealed, provider_id.encode()).decode())
        except InvalidTag:
            return None


def _sealing_key(key: DataKey) -> bytes:
    """Return the key that seals, kept apart from the one that makes nonces."""
    return keyed_hash(key.key, "mapping-id seal")

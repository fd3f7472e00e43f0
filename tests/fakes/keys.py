"""Real keys from a fixed seed: what is sealed here opens only here, and comes out the same in every run."""

import base64
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from chalicelib.protocol.glados.identifiers import Sii, parse_sii
from chalicelib.protocol.glados.mappings import MappingId
from chalicelib.protocol.signed import SigningKey, Typ
from tests.fakes.faults import Fake, Faults, fallible, require


class MemoryKeyring(Fake):
    port = "keyring"

    def __init__(self, faults: Faults, seed: str) -> None:
        super().__init__(faults)
        self._seed = seed

    @fallible
    def signing_key(self, typ: Typ) -> SigningKey:
        return self._signing_key(typ)

    @fallible
    def public_jwks(self, typ: Typ) -> list[dict[str, str]]:
        return [self._signing_key(typ).public_jwk()]

    @fallible
    def code_key(self) -> bytes:
        return self._key("code")

    @fallible
    def digest(self, purpose: str, *parts: str | bytes) -> bytes:
        require(bool(purpose), "a digest for no purpose")
        written = [part.encode() if isinstance(part, str) else part for part in parts]
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in written)
        return hmac.digest(self._key(f"digest {purpose}"), framed, hashlib.sha256)

    @fallible
    def mapping_id(self, provider_id: str, sii: Sii, fresh: bytes) -> MappingId:
        require(len(fresh) >= 16, "too few fresh bytes to make two ids differ")
        sealed = self._seal().encrypt(fresh[:16] + sii.uri.encode(), [provider_id.encode()])
        return MappingId("map_" + base64.urlsafe_b64encode(sealed).decode().rstrip("="))

    @fallible
    def open_mapping_id(self, provider_id: str, mapping_id: MappingId) -> Sii | None:
        text = mapping_id.removeprefix("map_")
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            opened = self._seal().decrypt(sealed, [provider_id.encode()])
        except (InvalidTag, ValueError):
            return None
        return parse_sii(opened[16:].decode())

    def _signing_key(self, typ: Typ) -> SigningKey:
        private = ec.derive_private_key(int.from_bytes(self._key(f"sign {typ}"), "big") >> 1, ec.SECP256R1())
        return SigningKey(f"{self._seed}-{typ.removesuffix('+jwt')}", private)

    def _seal(self) -> AESSIV:
        return AESSIV(self._key("mapping id"))

    def _key(self, purpose: str) -> bytes:
        return hashlib.sha256(f"{self._seed} {purpose}".encode()).digest()

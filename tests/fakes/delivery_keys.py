"""The keys of a delivery service from a fixed seed, and the links by which large bodies come and go."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chalicelib.protocol.delivery.errors import CannotOpen
from chalicelib.protocol.delivery.sealed import OVERHEAD, STATE_KEY, Sealed, open_sealed
from chalicelib.protocol.timestamps import DAY, MINUTE
from chalicelib.services.delivery.state import GroupId
from chalicelib.services.ports import Clock
from tests.fakes.faults import Fake, Faults, fallible, require

# As many bytes as a private key has; for ECDSA one less, so that it lies below the order of the curve.
KEY_SIZES = {1: 32, 2: 31, 3: 32, 4: 57, 5: 65, 6: 57, 7: 47, 0xF057: 32}


class MemoryDsKeys(Fake):
    """Real keys; `rotate` begins the next epoch of the state key, as an operator does."""

    port = "keys"

    def __init__(self, faults: Faults, seed: str) -> None:
        super().__init__(faults)
        self._seed = seed
        self._sealed = 0
        self.epoch = 1

    @fallible
    def sender_key(self, group_id: GroupId, cipher_suite: int) -> bytes:
        require(bool(group_id), "the key of no group")
        return self._key(f"sender {group_id.hex()} {cipher_suite}", KEY_SIZES[cipher_suite])

    @fallible
    def hub_key(self) -> tuple[int, bytes]:
        private = X25519PrivateKey.from_private_bytes(self._state(self.epoch))
        return self.epoch, private.public_key().public_bytes_raw()

    @fallible
    def open_state_key(self, key_epoch: int, ciphertext: bytes, context: bytes) -> bytes:
        if not 0 < key_epoch <= self.epoch or len(ciphertext) < OVERHEAD:
            raise CannotOpen
        return open_sealed(self._state(key_epoch), STATE_KEY, context, Sealed(key_epoch, ciphertext))

    @fallible
    def digest(self, purpose: str, *parts: str | bytes) -> bytes:
        require(bool(purpose), "a digest for no purpose")
        written = [part.encode() if isinstance(part, str) else part for part in parts]
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in written)
        return hmac.digest(self._key(f"digest {purpose}"), framed, hashlib.sha256)

    @fallible
    def seal(self, purpose: str, name: bytes, plain: bytes) -> bytes:
        require(bool(purpose), "sealed for no purpose")
        self._sealed += 1
        nonce = self._sealed.to_bytes(12, "big")
        return nonce + AESGCM(self._key("seal")).encrypt(nonce, plain, purpose.encode() + b"\0" + name)

    @fallible
    def open(self, purpose: str, name: bytes, sealed: bytes) -> bytes:
        if len(sealed) < 28:
            raise CannotOpen
        try:
            return AESGCM(self._key("seal")).decrypt(sealed[:12], sealed[12:], purpose.encode() + b"\0" + name)
        except InvalidTag as failure:
            raise CannotOpen from failure

    def rotate(self) -> None:
        """Begin the next epoch of the state key."""
        self.epoch += 1

    def _state(self, epoch: int) -> bytes:
        return self._key(f"state {epoch}")

    def _key(self, name: str, size: int = 32) -> bytes:
        return hashlib.shake_256(f"{self._seed} {name}".encode()).digest(size)


class MemoryUploads(Fake):
    """Links that lead nowhere; `put_in` is what a client does with one, `follow` what it does with one out."""

    port = "uploads"

    def __init__(self, faults: Faults, domain: str, clock: Clock) -> None:
        super().__init__(faults)
        self.domain = domain
        self.clock = clock
        self._linked: dict[str, tuple[bytes, int, int]] = {}
        self._in: dict[bytes, bytes] = {}
        self._out: dict[str, tuple[bytes, int]] = {}

    @fallible
    def link_in(self, sha256: bytes, length: int) -> str:
        require(len(sha256) == 32 and length > 0, "a link for no digest, or for nothing")
        url = f"https://objects.{self.domain}/in/{sha256.hex()}?length={length}"
        self._linked[url] = (sha256, length, self.clock() + 5 * MINUTE)
        return url

    @fallible
    def fetch(self, sha256: bytes, length: int) -> bytes:
        content = self._in.get(sha256)
        if content is None or len(content) != length:
            raise LookupError("nothing was uploaded that is this")
        return content

    @fallible
    def put_out(self, content: bytes) -> str:
        url = f"https://objects.{self.domain}/out/{hashlib.sha256(content).hexdigest()}"
        self._out[url] = (content, self.clock() + DAY)
        return url

    def put_in(self, url: str, content: bytes) -> bool:
        """Upload by a link, and say whether it was taken."""
        sha256, length, until = self._linked[url]
        taken = self.clock() < until and (hashlib.sha256(content).digest(), len(content)) == (sha256, length)
        if taken:
            self._in[sha256] = content
        return taken

    def follow(self, url: str) -> bytes | None:
        """Fetch by a link out, or find that it expired."""
        content, until = self._out[url]
        return content if self.clock() < until else None

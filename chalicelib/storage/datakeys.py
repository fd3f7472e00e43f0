"""The table `keys`: data keys made and wrapped by KMS, one row for each purpose and epoch.

A key is made when it is first needed, by a conditional write, so that two containers that need it at once agree
on one. KMS binds it to stage and purpose (encryption context) and unwraps it once for each container.

Epochs. A purpose may have several live keys: the newest in use, older ones for what they made. A key can be
*announced*: made now, used from later. That is how index keys rotate: every container hears of a new epoch
within `REFRESH`, reads under both, and only then (`SETTLING`) does anyone write under it; a container that
cannot refresh its view fails rather than miss a row. Signing keys are announced in the same way, so that peers
can pin them first.
"""

import dataclasses
import os
import threading

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chalicelib.protocol.timestamps import DAY, MINUTE, SECOND
from chalicelib.services.ports import Clock, Entropy
from chalicelib.storage import clients
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, Update, blob, number

TABLE = "keys"
REFRESH = MINUTE
SETTLING = 5 * MINUTE
MONTH = 30 * DAY
SIGNING = "sign:"
_STRANGER_EPOCH_PAUSE = 5 * SECOND

# Rows and client secrets are named by this key for good; there is no second name to find them under.
# So is each group's external sender.
SENDER = "external-sender"
_NEVER_ROTATED = frozenset({"digest", SENDER})
QUEUE_CONFIG = "queue-config"
GROUP_STATE = "group-state"
_ANNOUNCED = frozenset({"index", QUEUE_CONFIG, GROUP_STATE})


@dataclasses.dataclass(frozen=True, slots=True)
class DataKey:
    """One epoch's key; `private` is set for signing purposes."""

    epoch: int
    key: bytes = dataclasses.field(repr=False)
    made_at: int
    use_from: int
    private: ec.EllipticCurvePrivateKey | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(slots=True)
class _Known:
    """What this container knows of a purpose; `at` is when it last looked."""

    keys: tuple[DataKey, ...]
    at: int


class DataKeys:
    """The live keys of all purposes, as this container sees them; safe for threads."""

    def __init__(self, database: Database, clock: Clock, entropy: Entropy = os.urandom) -> None:
        self.database = database
        self.clock = clock
        self.entropy = entropy
        self._known: dict[str, _Known] = {}
        self._unwrapped: dict[tuple[str, int], tuple[bytes, ec.EllipticCurvePrivateKey | None]] = {}
        self._lock = threading.RLock()

    def live(self, purpose: str) -> tuple[DataKey, ...]:
        """Return a purpose's live keys, oldest first, as they were at most `REFRESH` ago; at least one."""
        known = self._known.get(purpose)
        if known is not None and self.clock() - known.at < REFRESH:
            return known.keys
        with self._lock:
            known = self._known.get(purpose)
            if known is not None and self.clock() - known.at < REFRESH:
                return known.keys
            return self._load(purpose)

    def in_use(self, purpose: str) -> DataKey:
        """Return the key that makes new things now."""
        now = self.clock()
        live = self.live(purpose)
        return next((key for key in reversed(live) if key.use_from <= now), live[0])

    def monthly(self, purpose: str) -> DataKey:
        """Return the key in use, after a new epoch was begun if it is older than a month."""
        key = self.in_use(purpose)
        if self.clock() - key.made_at < MONTH:
            return key
        with self._lock:
            newest = self._load(purpose)[-1]  # Another container may have begun the month already.
            if self.clock() - newest.made_at >= MONTH:
                self.rotate(purpose)
        return self.in_use(purpose)

    def of_epoch(self, purpose: str, epoch: int) -> DataKey | None:
        """Return the key of one epoch, or None where it never was or has been retired.

        An epoch may be younger than our view, so the table is asked again; not each time, since an epoch can come
        from outside, inside an id.
        """
        for key in self.live(purpose):
            if key.epoch == epoch:
                return key
        with self._lock:
            known = self._known[purpose]
            if self.clock() - known.at >= _STRANGER_EPOCH_PAUSE:
                self._load(purpose)
            return next((key for key in self._known[purpose].keys if key.epoch == epoch), None)

    def rotate(self, purpose: str) -> int:
        """Begin a purpose's next epoch and return its number; an operator's deed, and a month's.

        Two that rotate at once begin one epoch. Codes on their way fail once when `code` rotates.
        """
        if purpose in _NEVER_ROTATED:
            raise ValueError(f"the key {purpose} is one for good and cannot be rotated")
        with self._lock:
            newest = self._load(purpose)[-1].epoch
            waits = SETTLING if purpose in _ANNOUNCED or purpose.startswith(SIGNING) else 0
            self._make(purpose, newest + 1, use_from=self.clock() + waits)
            self._load(purpose)
        return newest + 1

    def retire(self, purpose: str, epoch: int) -> None:
        """End an old epoch for good: what it made can no longer be read. An operator's deed."""
        if epoch >= self.in_use(purpose).epoch:
            raise ValueError("only an epoch older than the one in use can be retired")
        row: Item = {"purpose": purpose, "epoch": epoch}
        retire = "SET #retired_at = :now REMOVE #wrapped"
        self.database.write(Update(TABLE, row, retire, values={"now": self.clock()}))
        with self._lock:
            self._load(purpose)

    def _load(self, purpose: str) -> tuple[DataKey, ...]:
        now = self.clock()
        rows = self._rows(purpose)
        if not rows:
            self._make(purpose, 1, use_from=now)
            rows = self._rows(purpose)
        keys = tuple(self._unwrap(purpose, row) for row in rows if "wrapped" in row)
        self._known[purpose] = _Known(keys, now)
        return keys

    def _rows(self, purpose: str) -> list[Item]:
        return list(self.database.query(TABLE, "#purpose = :purpose", {"purpose": purpose}))

    def _make(self, purpose: str, epoch: int, use_from: int) -> None:
        """Write a new key's row, unless another container was first."""
        made = clients.client("kms", 3).generate_data_key(
            KeyId=f"alias/glados-{self.database.stage}", KeySpec="AES_256", EncryptionContext=self._context(purpose)
        )
        item: Item = {
            "purpose": purpose,
            "epoch": epoch,
            "wrapped": made["CiphertextBlob"],
            "made_at": self.clock(),
            "use_from": use_from,
        }
        if purpose.startswith(SIGNING):
            item["private"] = self._seal_private(made["Plaintext"], purpose, epoch)
        try:
            self.database.write(Put(TABLE, item, "attribute_not_exists(#epoch)"), repeatable=True)
        except ConditionFailed:
            return  # Whoever was first, the key that stands is loaded next; ours was not used yet.

    def _context(self, purpose: str) -> dict[str, str]:
        return {"stage": self.database.stage, "purpose": purpose}

    def _unwrap(self, purpose: str, row: Item) -> DataKey:
        epoch = number(row, "epoch")
        if (purpose, epoch) not in self._unwrapped:
            answer = clients.client("kms", 3).decrypt(
                CiphertextBlob=blob(row, "wrapped"), EncryptionContext=self._context(purpose)
            )
            key: bytes = answer["Plaintext"]
            private = self._open_private(key, purpose, epoch, blob(row, "private")) if "private" in row else None
            self._unwrapped[purpose, epoch] = (key, private)
        key, private = self._unwrapped[purpose, epoch]
        return DataKey(epoch, key, number(row, "made_at"), number(row, "use_from"), private)

    def _seal_private(self, key: bytes, purpose: str, epoch: int) -> bytes:
        private = ec.generate_private_key(ec.SECP256R1())
        plain = private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        nonce = self.entropy(12)
        return nonce + AESGCM(key).encrypt(nonce, plain, _bound_to(purpose, epoch))

    def _open_private(self, key: bytes, purpose: str, epoch: int, sealed: bytes) -> ec.EllipticCurvePrivateKey:
        plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], _bound_to(purpose, epoch))
        private = serialization.load_der_private_key(plain, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise TypeError("a signing key is a P-256 key")
        return private


def _bound_to(purpose: str, epoch: int) -> bytes:
    return f"{TABLE}\0{purpose}\0{epoch}".encode()

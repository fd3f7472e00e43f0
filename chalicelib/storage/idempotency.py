"""The port `Idempotency`: answers by Idempotency-Key, kept sealed for a day under keyed names."""

import hmac
from collections.abc import Sequence

import msgspec

from chalicelib.errors import IdempotencyKeyReused, RequestInFlight
from chalicelib.protocol.timestamps import DAY, SECOND
from chalicelib.services.accounts.state import StoredAnswer
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import ConditionFailed, Database, Delete, Put, Update, blob, number
from chalicelib.storage.notation import gone_at
from chalicelib.storage.sealing import Sealer, keyed_hash

TABLE = "idem"
_answer: msgspec.json.Decoder[StoredAnswer] = msgspec.json.Decoder(StoredAnswer)


class AwsIdempotency:
    """Stored answers of one stage."""

    def __init__(self, database: Database, keys: DataKeys, sealer: Sealer) -> None:
        self.database = database
        self.keys = keys
        self.sealer = sealer

    def begin(self, key: Sequence[str], body: bytes, now: int, until: int) -> StoredAnswer | None:
        """Return the stored answer, or take the key on until `until` and return None."""
        name = self._name(key)
        tag = keyed_hash(self.keys.in_use("digest").key, "body of a request", name, body)
        fresh = Put(
            TABLE,
            {"id": name, "body": tag, "until": until, "expires_at": now + DAY, "gone_at": gone_at(now + DAY)},
            "attribute_not_exists(#id) OR #expires_at <= :now "
            "OR (attribute_not_exists(#answer) AND #until <= :now AND #body = :body)",
            {"now": now, "body": tag},
        )
        try:
            self.database.write(fresh)
        except ConditionFailed as failed:
            if failed.row is None:
                raise RequestInFlight(1.0) from failed  # Between the condition and the look, the row went.
            if not hmac.compare_digest(blob(failed.row, "body"), tag):
                raise IdempotencyKeyReused("the idempotency key was used before with another body") from failed
            if "answer" in failed.row:
                return _answer.decode(self.sealer.open(TABLE, name, blob(failed.row, "answer")))
            raise RequestInFlight(max(number(failed.row, "until") - now, SECOND) / SECOND) from failed
        return None

    def finish(self, key: Sequence[str], answer: StoredAnswer) -> None:
        """Keep the answer for repeats; if the row expired meanwhile there is nothing to repeat."""
        name = self._name(key)
        sealed = self.sealer.seal(TABLE, name, msgspec.json.encode(answer))
        try:
            self.database.write(
                Update(TABLE, {"id": name}, "SET #answer = :answer", "attribute_exists(#id)", {"answer": sealed})
            )
        except ConditionFailed:
            return

    def abandon(self, key: Sequence[str]) -> None:
        """Let the key be used again, if it has no answer."""
        try:
            self.database.write(Delete(TABLE, {"id": self._name(key)}, "attribute_not_exists(#answer)"))
        except ConditionFailed:
            return

    def _name(self, key: Sequence[str]) -> bytes:
        return keyed_hash(self.keys.in_use("digest").key, "row of an idempotency key", *key)

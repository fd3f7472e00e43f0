"""The port `Bodies`: the table `bodies`, one row a message, named by a keyed digest; large ones lie in S3.

    bodies  digest   until, gone_at, and ⟦message⟧ if it has at most 350 kB

What lies in S3 is encrypted with the stage's key and not sealed by us, so that a link can lead a client to it.
There a message is written before its row; the bucket forgets what is under `bodies/` after 38 days, and no row
lasts longer.

A message is *gone* where DynamoDB's consistent read finds no row, where S3 says that there is no such object, and
where what lies there is not what was sealed. Nothing else is said by a call that fails; nor by a key that we do not
have, since our view of the keys may be some seconds old.
"""

from collections.abc import Collection

from cryptography.exceptions import InvalidTag

from chalicelib.protocol.timestamps import DAY
from chalicelib.services.ports import Clock, Digests
from chalicelib.storage.dynamodb import ConditionFailed, Database, Item, Put, blob, number
from chalicelib.storage.notation import gone_at
from chalicelib.storage.objects import Objects
from chalicelib.storage.sealing import Sealer

BODIES = "bodies"
LARGEST_INLINE = 350_000
SLACK = DAY  # A row is written to last so much longer than asked, so that other shards' asking changes nothing.


class AwsBodies:
    """The messages that lie in the queues of one stage."""

    def __init__(self, database: Database, objects: Objects, sealer: Sealer, digests: Digests, clock: Clock) -> None:
        self.database = database
        self.objects = objects
        self.sealer = sealer
        self.digests = digests
        self.clock = clock

    def put(self, sha256: bytes, message: bytes, until: int) -> None:
        """Store a message until then at least, once."""
        name = self._name(sha256)
        row: Item = {"b": name, "until": until + SLACK, "gone_at": gone_at(until + SLACK)}
        if len(message) > LARGEST_INLINE:
            known = self.database.get(BODIES, {"b": name})
            if known is not None and number(known, "until") >= until:
                return
            self.objects.put(_object(name), message)
        else:
            row["sealed"] = self.sealer.seal(BODIES, name, message)
        try:
            lasts = "attribute_not_exists(#b) OR #until < :until"
            self.database.write(Put(BODIES, row, lasts, {"until": until}), repeatable=True)
        except ConditionFailed:
            return  # It is there.

    def get(self, wanted: Collection[bytes]) -> dict[bytes, bytes]:
        """Return messages by their SHA-256, without those that are gone for good."""
        asked = list(wanted)
        rows = self.database.batch_get([(BODIES, {"b": self._name(sha256)}) for sha256 in asked])
        messages = {sha256: self._message(sha256, row) for sha256, row in zip(asked, rows, strict=True)}
        return {sha256: message for sha256, message in messages.items() if message is not None}

    def link(self, sha256: bytes) -> str | None:
        """Return a URL by which anybody may fetch a large message for five minutes, or None if it is gone for good."""
        name = _object(self._name(sha256))
        try:
            self.objects.get_range(name, 0, 1)  # S3 tells a GET, and not a HEAD, whether object or bucket is missing.
        except LookupError:
            return None
        return self.objects.link(name)

    def _message(self, sha256: bytes, row: Item | None) -> bytes | None:
        if row is None or number(row, "until") <= self.clock():
            return None
        if "sealed" in row:
            try:
                return self.sealer.open(BODIES, self._name(sha256), blob(row, "sealed"))
            except InvalidTag:
                return None
        try:
            return self.objects.get(_object(blob(row, "b")))
        except LookupError:
            return None

    def _name(self, sha256: bytes) -> bytes:
        return self.digests.digest("queue body", sha256)


def _object(name: bytes) -> str:
    return f"bodies/{name.hex()}"

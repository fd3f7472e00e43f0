"""The port `Directory`: the table `directory`, where a KeyPackage is one row, and another by which it is found.

    digest of its reference / package         over_at, given_at, ⟦AddPackage⟧
    digest of user / p#SUITE#CLIENT#KIND#NAME   offered: NAME is the row above, KIND 1 for the last resort
    digest of user / g#SUITE#CLIENT#KIND#NAME   given out, or replaced after it was
    digest of user / k#KEY                      until: KEY is a digest of a provider and a signature key

The row of the package decides: it is given out by the one write that first sets `given_at`. So a one-time package
goes out once whoever else claims, and one whose reply was lost is lost and not given again. The rows that find it may
lag behind; a claim that follows one of those in vain tries the next. A package that was given out or removed keeps
its row as long as its lifetime, so that it cannot be published again to go out twice.
"""

import dataclasses
import random
from collections.abc import Callable, Collection, Iterable, Sequence

from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.timestamps import SECOND
from chalicelib.protocol.tls import decode
from chalicelib.services.ports import Clock
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import (
    MOST_IN_TRANSACTION,
    Cancelled,
    ConditionFailed,
    Database,
    Delete,
    Item,
    Operation,
    Put,
    Update,
    blob,
    number,
    text,
)
from chalicelib.storage.notation import gone_at
from chalicelib.storage.sealing import Sealer, keyed_hash

DIRECTORY = "directory"
LAST_SECOND = 1 << 40  # A lifetime may be said to end when no clock of ours can tell.
_PAIRS = MOST_IN_TRANSACTION // 2


@dataclasses.dataclass(frozen=True, slots=True)
class _Pointer:
    """A row that leads to a package."""

    owner: bytes
    cipher_suite: int
    client: str
    last_resort: bool
    name: bytes
    over_at: int

    def row(self, prefix: str) -> Item:
        return {**self.key(prefix), "over_at": self.over_at, "gone_at": gone_at(self.over_at)}

    def key(self, prefix: str) -> Item:
        kind = int(self.last_resort)
        name = f"{prefix}#{self.cipher_suite:04x}#{self.client}#{kind}#{self.name.hex()}"
        return {"user": self.owner, "r": name}

    @classmethod
    def read(cls, row: Item) -> "_Pointer":
        _, suite, client, kind, name = text(row, "r").split("#")
        owner, over_at = blob(row, "user"), number(row, "over_at")
        return cls(owner, int(suite, 16), client, kind == "1", bytes.fromhex(name), over_at)


class AwsDirectory:
    """The directory of one stage; `shuffle` keeps those who claim at once from all trying the same package."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        sealer: Sealer,
        clock: Clock,
        shuffle: Callable[[list[_Pointer]], None] = random.shuffle,
    ) -> None:
        self.database = database
        self.keys = keys
        self.sealer = sealer
        self.clock = clock
        self.shuffle = shuffle

    def publish(
        self, user: bytes, client: bytes, cipher_suite: int, packages: Sequence[tuple[bytes, AddPackage]]
    ) -> None:
        """Offer these packages of a client and suite, and no others; two that publish at once may leave both."""
        owner, client_name = self._owner(user), self._client(user, client)
        offered = self._pointers(owner, f"p#{cipher_suite:04x}#{client_name}#")
        known = {pointer.name for pointer in offered}
        published: dict[bytes, tuple[_Pointer, AddPackage]] = {}
        for reference, package in packages:
            name = self._package(reference)
            pointer = _Pointer(owner, cipher_suite, client_name, package.last_resort, name, _over_at(package))
            published[name] = pointer, package
        self._offer([both for name, both in published.items() if name not in known])
        self._withdraw([pointer for pointer in offered if pointer.name not in published])

    def claim(self, user: bytes, cipher_suite: int, now: int) -> list[AddPackage]:
        """Take one package of every client of a user."""
        by_client: dict[str, list[_Pointer]] = {}
        for pointer in self._pointers(self._owner(user), f"p#{cipher_suite:04x}#"):
            if pointer.over_at > now:
                by_client.setdefault(pointer.client, []).append(pointer)
        claimed, spent = [], []
        for pointers in by_client.values():
            self.shuffle(pointers)
            for pointer in sorted(pointers, key=lambda one: one.last_resort):
                package = self._take(pointer, now)
                if not pointer.last_resort:
                    spent.append(pointer)
                if package is not None:
                    claimed.append(package)
                    break
        self._set_aside(spent)
        return claimed

    def find(self, reference: bytes) -> AddPackage | None:
        """Return a package that is offered, or was given out."""
        name = self._package(reference)
        row = self.database.get(DIRECTORY, _package_key(name))
        if row is None or "sealed" not in row or number(row, "over_at") <= self.clock():
            return None
        return self._open(name, row)

    def remove(self, user: bytes, client: bytes | None = None) -> None:
        """Take away all packages of a client or user, those too that were given out."""
        owner = self._owner(user)
        prefix = None if client is None else self._client(user, client)
        found = [
            (kind, pointer)
            for kind in ("p", "g")
            for pointer in self._pointers(owner, f"{kind}#")
            if prefix in {None, pointer.client}
        ]
        # First what decides, then what leads there: a crash in between can be repeated.
        emptied = {pointer.name: pointer.over_at for _, pointer in found}
        self.database.batch_write([Put(DIRECTORY, _emptied(name, over_at)) for name, over_at in emptied.items()])
        self.database.batch_write([Delete(DIRECTORY, pointer.key(kind)) for kind, pointer in found])

    def _offer(self, wanted: list[tuple[_Pointer, AddPackage]]) -> None:
        """Store packages that were never here before; one that was given out or removed stays so."""
        self._change_pairs(
            [
                (
                    Put(DIRECTORY, self._row(pointer, package), "attribute_not_exists(#user)"),
                    Put(DIRECTORY, pointer.row("p")),
                )
                for pointer, package in wanted
            ]
        )

    def _withdraw(self, pointers: list[_Pointer]) -> None:
        """Forget packages that nobody was given; the others are still to be found."""
        given = self._change_pairs(
            [
                (
                    Delete(DIRECTORY, _package_key(pointer.name), "attribute_not_exists(#given_at)"),
                    Delete(DIRECTORY, pointer.key("p")),
                )
                for pointer in pointers
            ]
        )
        self._set_aside([pointers[place] for place in given])

    def _change_pairs(self, pairs: Sequence[tuple[Operation, Operation]]) -> Sequence[int]:
        """Change packages with the rows that find them, as many as may be; return the places of the others."""
        refused: list[int] = []
        for start in range(0, len(pairs), _PAIRS):
            places = list(range(start, min(start + _PAIRS, len(pairs))))
            while places:
                try:
                    self.database.transact([operation for place in places for operation in pairs[place]])
                except Cancelled as cancelled:
                    failed = {places[position // 2] for position in cancelled.failed}
                    refused += failed
                    places = [place for place in places if place not in failed]
                else:
                    break
        return sorted(refused)

    def _set_aside(self, pointers: list[_Pointer]) -> None:
        """Take packages that were given out from those on offer; the client still has them."""
        moved: list[Put | Delete] = []
        for pointer in pointers:
            moved += [Put(DIRECTORY, pointer.row("g")), Delete(DIRECTORY, pointer.key("p"))]
        self.database.batch_write(moved)

    def _take(self, pointer: _Pointer, now: int) -> AddPackage | None:
        """Give a package out, or find that somebody else was given it or that it was removed."""
        unspent = "" if pointer.last_resort else " AND attribute_not_exists(#given_at)"
        key = _package_key(pointer.name)
        take = Update(DIRECTORY, key, "SET #given_at = :now", f"attribute_exists(#sealed){unspent}", {"now": now})
        try:
            row = self.database.write(take, returns="ALL_NEW", repeatable=pointer.last_resort)
        except ConditionFailed:
            return None
        if row is None:
            raise RuntimeError("DynamoDB did not return the row it changed")
        return self._open(pointer.name, row)

    def others(self, user: bytes, clients: Collection[bytes]) -> int:
        """Count the user's clients that offer something and are not among those named."""
        named = {self._client(user, client) for client in clients}
        return len({pointer.client for pointer in self._pointers(self._owner(user), "p#")} - named)

    def record_keys(self, user: bytes, provider_id: str, keys: Collection[bytes], until: int) -> None:
        """Remember keys that a user published while it was a provider's."""
        rows = [{**self._key(user, provider_id, key), "until": until, "gone_at": gone_at(until)} for key in set(keys)]
        self.database.batch_write([Put(DIRECTORY, row) for row in rows])

    def published_keys(self, user: bytes, provider_id: str, keys: Collection[bytes], now: int) -> frozenset[bytes]:
        """Return which of some keys the user published while it was that provider's."""
        asked = sorted(set(keys))
        rows = self.database.batch_get([(DIRECTORY, self._key(user, provider_id, key)) for key in asked])
        known = zip(asked, rows, strict=True)
        return frozenset(key for key, row in known if row is not None and number(row, "until") > now)

    def _key(self, user: bytes, provider_id: str, key: bytes) -> Item:
        name = self._digest("published key in the directory", user, provider_id.encode(), key)
        return {"user": self._owner(user), "r": f"k#{name.hex()}"}

    def _pointers(self, owner: bytes, prefix: str) -> list[_Pointer]:
        condition = "#user = :user AND begins_with(#r, :prefix)"
        rows: Iterable[Item] = self.database.query(DIRECTORY, condition, {"user": owner, "prefix": prefix})
        return [_Pointer.read(row) for row in rows]

    def _row(self, pointer: _Pointer, package: AddPackage) -> Item:
        sealed = self.sealer.seal(DIRECTORY, pointer.name, package.encode())
        return {
            **_package_key(pointer.name),
            "sealed": sealed,
            "over_at": pointer.over_at,
            "gone_at": gone_at(pointer.over_at),
        }

    def _open(self, name: bytes, row: Item) -> AddPackage:
        return decode(AddPackage.read, self.sealer.open(DIRECTORY, name, blob(row, "sealed")))

    def _owner(self, user: bytes) -> bytes:
        return self._digest("rows of a user in the directory", user)

    def _client(self, user: bytes, client: bytes) -> str:
        return self._digest("client in the directory", user, client)[:16].hex()

    def _package(self, reference: bytes) -> bytes:
        return self._digest("row of a key package", reference)

    def _digest(self, purpose: str, *parts: bytes) -> bytes:
        return keyed_hash(self.keys.in_use("digest").key, purpose, *parts)


def _package_key(name: bytes) -> Item:
    return {"user": name, "r": "package"}


def _emptied(name: bytes, over_at: int) -> Item:
    """Return the row of a package that was removed."""
    return {**_package_key(name), "given_at": 0, "over_at": over_at, "gone_at": gone_at(over_at)}


def _over_at(package: AddPackage) -> int:
    """Return when a package's lifetime is over."""
    lifetime = package.key_package.leaf_node.lifetime
    return 0 if lifetime is None else min(lifetime.not_after, LAST_SECOND) * SECOND

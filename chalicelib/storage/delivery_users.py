"""The ports `Users` and `Memberships`: who is registered here, and in which groups they are.

    ds-users   digest of user / user      provider_id, key_name, ⟦name, suite, key⟧
    ds-users   digest of key hash / key   owner (the digest of its user), ⟦name⟧
    members    digest of user / group id

Both rows of a user change in one transaction, so that a key always leads to the user who has it.
"""

import hashlib

import msgspec

from chalicelib.errors import AlreadyExists
from chalicelib.services.delivery.state import GroupId, User
from chalicelib.services.ports import Lost
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.dynamodb import Cancelled, Database, Delete, Item, Operation, Put, blob, text
from chalicelib.storage.sealing import Sealer, keyed_hash

USERS = "ds-users"
MEMBERS = "members"
TRIES = 5


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    """What is sealed of a user."""

    user: bytes
    cipher_suite: int
    signature_key: bytes


_sealed = msgspec.msgpack.Decoder(_Sealed)


class AwsUsers:
    """The users of one stage."""

    def __init__(self, database: Database, keys: DataKeys, sealer: Sealer) -> None:
        self.database = database
        self.keys = keys
        self.sealer = sealer

    def register(self, user: User) -> None:
        """Add or replace a user; raise `AlreadyExists` where another provider has it, or another user its key."""
        owner, key_name = self._user_name(user.user), self._key_name(hashlib.sha256(user.signature_key).digest())
        for _ in range(TRIES):
            known = self.database.get(USERS, _user_key(owner))
            if known is not None and text(known, "provider_id") != user.provider_id:
                raise AlreadyExists("another provider registered the user")
            operations: list[Operation] = [
                self._user_put(user, owner, key_name, known),
                self._key_put(user, owner, key_name),
            ]
            if known is not None and blob(known, "key_name") != key_name:
                operations.append(Delete(USERS, _key_key(blob(known, "key_name"))))
            try:
                self.database.transact(operations)
            except Cancelled as cancelled:
                if 1 in cancelled.failed:
                    raise AlreadyExists("the key is another user's") from cancelled
                continue  # The user has changed since it was read.
            return
        raise Lost

    def of(self, user: bytes) -> User | None:
        """Return a user as registered."""
        owner = self._user_name(user)
        row = self.database.get(USERS, _user_key(owner))
        return None if row is None else self._user(owner, row)

    def by_key_hash(self, key_hash: bytes) -> User | None:
        """Return the user who has a key."""
        name = self._key_name(key_hash)
        row = self.database.get(USERS, _key_key(name))
        if row is None:
            return None
        found = self.of(self.sealer.open(USERS, name, blob(row, "sealed")))
        # The user may have changed its key between the two reads; then nobody has this one any more.
        return found if found is not None and hashlib.sha256(found.signature_key).digest() == key_hash else None

    def remove(self, user: bytes) -> None:
        """Forget a user and its key; one that has gone is gone."""
        owner = self._user_name(user)
        for _ in range(TRIES):
            known = self.database.get(USERS, _user_key(owner))
            if known is None:
                return
            key_name = blob(known, "key_name")
            unchanged = "attribute_not_exists(#user) OR #key_name = :key_name"
            try:
                self.database.transact(
                    [
                        Delete(USERS, _user_key(owner), unchanged, {"key_name": key_name}),
                        Delete(USERS, _key_key(key_name), "attribute_not_exists(#user) OR #owner = :o", {"o": owner}),
                    ]
                )
            except Cancelled:
                continue
            return
        raise Lost

    def _user_put(self, user: User, owner: bytes, key_name: bytes, known: Item | None) -> Put:
        plain = msgspec.msgpack.encode(_Sealed(user.user, user.cipher_suite, user.signature_key))
        row: Item = {
            **_user_key(owner),
            "provider_id": user.provider_id,
            "key_name": key_name,
            "sealed": self.sealer.seal(USERS, owner, plain),
        }
        if known is None:
            return Put(USERS, row, "attribute_not_exists(#user)")
        before: Item = {"provider_id": user.provider_id, "before": blob(known, "key_name")}
        return Put(USERS, row, "#provider_id = :provider_id AND #key_name = :before", before)

    def _key_put(self, user: User, owner: bytes, key_name: bytes) -> Put:
        sealed = self.sealer.seal(USERS, key_name, user.user)
        row: Item = {**_key_key(key_name), "owner": owner, "sealed": sealed}
        return Put(USERS, row, "attribute_not_exists(#user) OR #owner = :owner", {"owner": owner})

    def _user(self, owner: bytes, row: Item) -> User:
        held = _sealed.decode(self.sealer.open(USERS, owner, blob(row, "sealed")))
        return User(held.user, text(row, "provider_id"), held.cipher_suite, held.signature_key)

    def _user_name(self, user: bytes) -> bytes:
        return keyed_hash(self.keys.in_use("digest").key, "row of a user of the delivery service", user)

    def _key_name(self, key_hash: bytes) -> bytes:
        return keyed_hash(self.keys.in_use("digest").key, "row of a user's key", key_hash)


class AwsMemberships:
    """In which groups the users of one stage are."""

    def __init__(self, database: Database, keys: DataKeys) -> None:
        self.database = database
        self.keys = keys

    def add(self, user: bytes, group_id: GroupId) -> None:
        """Note that a user has a client in a group."""
        self.database.write(Put(MEMBERS, self._key(user, group_id)), repeatable=True)

    def remove(self, user: bytes, group_id: GroupId) -> None:
        """Note that it has none any more."""
        self.database.write(Delete(MEMBERS, self._key(user, group_id)), repeatable=True)

    def of(self, user: bytes, after: GroupId | None = None, most: int = 1_000) -> list[GroupId]:
        """Return the first groups of a user that come after one."""
        condition, values = "#user = :user", Item(user=self._name(user))
        if after is not None:
            condition += " AND #group > :after"
            values["after"] = after
        rows = self.database.query(MEMBERS, condition, values, most=most)
        return [GroupId(blob(row, "group")) for row in rows]

    def _key(self, user: bytes, group_id: GroupId) -> Item:
        return {"user": self._name(user), "group": group_id}

    def _name(self, user: bytes) -> bytes:
        return keyed_hash(self.keys.in_use("digest").key, "rows of a member", user)


def _user_key(owner: bytes) -> Item:
    return {"user": owner, "r": "user"}


def _key_key(name: bytes) -> Item:
    return {"user": name, "r": "key"}

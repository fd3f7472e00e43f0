"""Whose a client certificate is: one row for each thumbprint, for application providers and peers alike.

Callers put these operations into the transaction that makes the certificate good for something.
"""

from collections.abc import Iterable

from chalicelib.storage.dynamodb import Delete, Item, Operation, Put

TABLE = "aps"


def key(thumbprint: str) -> Item:
    """Return the key of a thumbprint's row; no provider id holds a #."""
    return {"provider_id": f"thumbprint#{thumbprint}"}


def claims(owner: str, thumbprints: Iterable[str]) -> list[Operation]:
    """Return operations that make `owner` the holder of each, and fail where somebody else is."""
    return [
        Put(
            TABLE,
            {**key(thumbprint), "owner": owner},
            "attribute_not_exists(#provider_id) OR #owner = :owner",
            {"owner": owner},
        )
        for thumbprint in dict.fromkeys(thumbprints)
    ]


def releases(owner: str, thumbprints: Iterable[str]) -> list[Operation]:
    """Return operations that give each up; one that `owner` no longer holds makes them fail."""
    return [
        Delete(TABLE, key(thumbprint), "attribute_not_exists(#provider_id) OR #owner = :owner", {"owner": owner})
        for thumbprint in dict.fromkeys(thumbprints)
    ]

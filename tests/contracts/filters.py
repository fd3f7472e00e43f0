"""Filter versions, objects and heads to store."""

import hashlib

from chalicelib.protocol.glados import gapcoded
from chalicelib.protocol.glados.filters import Parameters, set_bits
from chalicelib.services.provider.ports import FilterObjects
from chalicelib.services.provider.state import FilterVersion, PeerHead, StoredDelta, StoredObject
from tests.contracts.examples import NOW

PARAMETERS = Parameters(20)


def stored_object(name: str, data: bytes = b"data") -> StoredObject:
    return StoredObject(name, len(data), hashlib.sha256(data).hexdigest())


def staged_delta(objects: FilterObjects, seq: int, *positions: int) -> StoredDelta:
    """Put a delta's object where readers will look, and return what names it."""
    data = gapcoded.encode(PARAMETERS.n, positions)
    return StoredDelta(seq, seq, NOW + seq, len(positions), objects.put(f"deltas/{seq}", data))


def building(version: int = 1) -> FilterVersion:
    return FilterVersion(version, "building", PARAMETERS, cut_at=NOW, at=NOW)


def raw(parameters: Parameters, *positions: int) -> bytes:
    data = bytearray(parameters.raw_size)
    set_bits(data, positions)
    return bytes(data)


def peer_head(gp: str = "us", seq: int = 0, version: int = 1) -> PeerHead:
    return PeerHead(
        gp=gp,
        version=version,
        seq=seq,
        at=NOW + seq,
        parameters=Parameters(20, 2, b"salt"),
        base=stored_object(f"{gp}/base"),
        deltas=(stored_object(f"{gp}/1-2"), stored_object(f"{gp}/3-3")),
        bits_set=7,
        base_bits=4,
        checked_at=NOW,
        subscription_id="sub_1",
    )

"""Fills a stage's tables: `python -m infra.bench._stock mappings FIRST COUNT` and `… peers`.

Rows are made by the code that makes them in earnest, keyed and sealed; only they are written 25 at a time. Of a
mapping the row of its identifier alone is written, because a query reads no other. Prints how many were written,
from time to time.
"""

import argparse
import time

import msgspec

from chalicelib import wiring
from chalicelib.protocol.glados import mappings
from chalicelib.protocol.glados.filters import SMALLEST_N, Parameters
from chalicelib.protocol.glados.identifiers import Sii, ssi
from chalicelib.protocol.glados.mappings import Mapping, Provider, Records
from chalicelib.protocol.glados.trust import Peer, PeerKeys, TrustList
from chalicelib.protocol.timestamps import DAY
from chalicelib.services.ports import Versioned
from chalicelib.services.provider.state import Heads, PeerHead, StoredRecords
from chalicelib.services.provider.writes import ReplaceRecords
from chalicelib.storage.dynamodb import SCHEMA, Item, Put
from chalicelib.storage.notation import to_wire
from chalicelib.storage.peer_heads import AwsPeerHeads
from chalicelib.storage.records import SII
from chalicelib.storage.signed_call import SignedCall
from chalicelib.wiring import provider
from infra.bench._numbers import mapped

BATCH = 25  # BatchWriteItem takes no more.
SAID = 1_000
HOME = Provider("home", "Home of the mapped", "bench")
PEERS = ("north", "south")
NOBODY = "https://127.0.0.1:9"


def stock_mappings(first: int, count: int) -> None:
    """Write the mappings of `count` identifiers."""
    numbers, call = range(first, first + count), SignedCall()
    for begin in range(0, count, SAID):
        some = numbers[begin : begin + SAID]
        for start in range(0, len(some), BATCH):
            _write([_row(number) for number in some[start : start + BATCH]], call)
        print(len(some), flush=True)


def _write(rows: list[Item], call: SignedCall) -> None:
    pending: object = {wiring.database().name(SII): [{"PutRequest": {"Item": to_wire(row)}} for row in rows]}
    while pending:
        answer = call.send("BatchWriteItem", msgspec.json.encode({"RequestItems": pending}))
        pending = msgspec.json.decode(answer, type=dict[str, object])["UnprocessedItems"]


def _row(number: int) -> Item:
    sii = Sii(mapped(number))
    now = wiring.clock()()
    user = f"user-{number}"
    mapping = Mapping(
        mapping_id=provider.keyring().mapping_id(HOME.provider_id, sii, number.to_bytes(12, "big")),
        provider=HOME,
        user_id=user,
        ssi=ssi(user, "home.example"),
        source="verified",
        registered_at=now,
    )
    change = mappings.confirm(Records(), mapping, now, alone=True)
    put = provider.record_rows().replace(ReplaceRecords(sii, StoredRecords(Records(), None), change, now))[0]
    if not isinstance(put, Put) or put.table != SII:
        raise TypeError("the first operation of new records is the row of their identifier")
    return {**put.item, "schema": SCHEMA}


def stock_peers() -> None:
    """Have two peers followed, whose filters are empty and so rule both out for every identifier.

    They are confirmed a day ahead, because there is nobody who could confirm them meanwhile.
    """
    peers = [Peer(gp=gp, name=gp, origins=[NOBODY], thumbprints=[gp.ljust(43, "_")], keys=PeerKeys()) for gp in PEERS]
    provider.trust_lists().replace(TrustList(version=1, peers=peers))
    parameters = Parameters(SMALLEST_N)
    heads = Heads()
    now = time.time_ns() // 1_000_000
    for gp in PEERS:
        base = provider.filter_objects().put(f"peers/{gp}/1/raw", bytes(parameters.raw_size))
        heads = heads.with_(PeerHead(gp, 1, 0, now, parameters, base, (), 0, 0, checked_at=now + DAY))
    AwsPeerHeads(wiring.database()).replace(Versioned(Heads(), None), heads)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench._stock", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="what")
    commands.add_parser("peers")
    stocking = commands.add_parser("mappings")
    stocking.add_argument("first", type=int)
    stocking.add_argument("count", type=int)
    asked = parser.parse_args()
    if asked.what == "peers":
        stock_peers()
    else:
        stock_mappings(asked.first, asked.count)


if __name__ == "__main__":
    main()

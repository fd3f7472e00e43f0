"""What containers keep of accounts and peers: for a minute, and no longer than until they change it themselves."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.protocol.glados.trust import Peer, PeerKeys, TrustList
from chalicelib.protocol.timestamps import MINUTE
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.delivery.state import DsPeer
from chalicelib.storage.accounts import AccountRows, AwsAccounts
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.ds_peers import AwsDsPeers
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.sealing import Sealer
from chalicelib.storage.trust_lists import AwsTrustLists
from tests.contracts import aws
from tests.contracts.examples import account
from tests.fakes.clock import SettableClock
from tests.storage.test_calls import counted

THUMBPRINT = "t" * 43


@dataclasses.dataclass(frozen=True)
class Kept:
    """A container's view of one value, and how the container changes it to its second, third, … state."""

    read: Callable[[], Any]
    change: Callable[[int], None]


def account_in(database: Database, clock: SettableClock) -> Kept:
    accounts = AwsAccounts(database, AccountRows(Sealer(DataKeys(database, clock))), clock)

    def change(state: int) -> None:
        before = accounts.load(ProviderId("alpha"))
        if before is None:
            accounts.create(account())
        else:
            accounts.replace(before, dataclasses.replace(before.value, strikes=state))

    return Kept(lambda: accounts.recent(ProviderId("alpha")), change)


def trust_list_in(database: Database, clock: SettableClock) -> Kept:
    lists = AwsTrustLists(database, clock)
    peer = Peer(gp="us", name="US", origins=["https://us.example"], thumbprints=[THUMBPRINT], keys=PeerKeys())
    return Kept(lists.load, lambda state: lists.replace(TrustList(version=state, peers=[peer])))


def ds_peer_in(database: Database, clock: SettableClock) -> Kept:
    peers = AwsDsPeers(database, clock)

    def change(state: int) -> None:
        peers.put(DsPeer("us.example", f"https://{state}.us.example", frozenset({THUMBPRINT})))

    return Kept(lambda: peers.of_thumbprint(THUMBPRINT), change)


@pytest.mark.parametrize("of", [account_in, trust_list_in, ds_peer_in])
def test_what_another_container_changes_is_seen_after_a_minute_and_ones_own_at_once(
    of: Callable[[Database, SettableClock], Kept],
) -> None:
    clock = SettableClock()
    database = Database(aws.new_stage("delivery" if of is ds_peer_in else "provider"))
    one, other = of(database, clock), of(database, clock)
    one.change(1)
    first = one.read()
    other.change(2)
    clock.advance(MINUTE - 1)
    with counted() as calls:
        assert one.read() == first
    assert not calls
    clock.advance(1)
    second = one.read()
    assert second != first
    one.change(3)
    assert one.read() not in (first, second)

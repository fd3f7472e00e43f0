"""`DsPeers`: whom a delivery service deals with, and that a certificate belongs to one of them alone."""

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.accounts.ports import Accounts
from chalicelib.services.delivery.ports import DsPeers
from chalicelib.services.delivery.state import DsPeer
from chalicelib.storage.accounts import AccountRows, AwsAccounts
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.ds_peers import AwsDsPeers
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.sealing import Sealer
from tests.contracts import aws
from tests.contracts.examples import account
from tests.contracts.races import race, winners
from tests.fakes.accounts import MemoryAccounts
from tests.fakes.clock import SettableClock
from tests.fakes.ds_peers import MemoryDsPeers
from tests.fakes.faults import Faults
from tests.fakes.tables import Tables


@dataclasses.dataclass(frozen=True)
class Side:
    """The port on one side of the contract, and what shares its certificates."""

    clock: SettableClock
    ds_peers: DsPeers
    accounts: Accounts
    lose_reply: Callable[[], None]

    def settled(self) -> DsPeers:
        """Return the port when no older answer is allowed any more."""
        self.clock.advance(60 * SECOND)
        return self.ds_peers


@pytest.fixture(params=["memory", "aws"])
def side(request: pytest.FixtureRequest) -> Side:
    clock = SettableClock()
    if request.param == "memory":
        faults, tables = Faults(), Tables()
        lose = partial(faults.arm, "ds_peers", "put", "after", 1, 0)
        return Side(clock, MemoryDsPeers(faults, tables, clock), MemoryAccounts(faults, tables, clock), lose)
    database = Database(aws.new_stage("delivery"))
    rows = AccountRows(Sealer(DataKeys(database, clock)))
    return Side(clock, AwsDsPeers(database, clock), AwsAccounts(database, rows, clock), aws.lose_next_reply)


def thumbprint(name: str) -> str:
    return name.ljust(43, "-")


def peer(domain: str, *names: str, origin: str = "https://ds.example") -> DsPeer:
    return DsPeer(domain, origin, frozenset(map(thumbprint, names)))


def test_at_first_nobody_is_admitted(side: Side) -> None:
    assert side.ds_peers.of_domain("us.example") is None
    assert side.ds_peers.of_thumbprint(thumbprint("a")) is None


def test_a_peer_is_found_by_its_domain_and_each_certificate(side: Side) -> None:
    us = peer("us.example", "a", "b")
    side.ds_peers.put(us)
    side.ds_peers.put(peer("asia.example", "c"))
    assert side.ds_peers.of_domain("us.example") == us
    assert [side.ds_peers.of_thumbprint(thumbprint(name)) for name in "ab"] == [us, us]
    assert side.ds_peers.of_thumbprint(thumbprint("d")) is None


def test_a_peer_that_is_put_again_is_replaced_and_its_old_certificates_are_nobodys(side: Side) -> None:
    side.ds_peers.put(peer("us.example", "a", "b"))
    moved = peer("us.example", "b", "c", origin="https://new.example:8443")
    side.ds_peers.put(moved)
    assert side.settled().of_domain("us.example") == moved
    assert side.ds_peers.of_thumbprint(thumbprint("a")) is None
    assert side.ds_peers.of_thumbprint(thumbprint("c")) == moved
    side.ds_peers.put(peer("asia.example", "a"))
    assert side.settled().of_thumbprint(thumbprint("a")) == peer("asia.example", "a")


def test_a_put_whose_reply_was_lost_can_be_repeated(side: Side) -> None:
    side.lose_reply()
    race(lambda: side.ds_peers.put(peer("us.example", "a")))
    side.ds_peers.put(peer("us.example", "a"))
    assert side.settled().of_thumbprint(thumbprint("a")) == peer("us.example", "a")


def test_a_certificate_belongs_to_one_peer(side: Side) -> None:
    side.ds_peers.put(peer("us.example", "a"))
    with pytest.raises(AlreadyExists):
        side.ds_peers.put(peer("asia.example", "b", "a"))
    assert side.settled().of_domain("asia.example") is None
    assert side.ds_peers.of_thumbprint(thumbprint("a")) == peer("us.example", "a")
    assert side.ds_peers.of_thumbprint(thumbprint("b")) is None


def test_of_two_peers_with_one_certificate_one_is_admitted(side: Side) -> None:
    rivals = [peer(f"{name}.example", "a") for name in ("us", "asia", "africa")]
    assert winners(race(*(partial(side.ds_peers.put, one) for one in rivals)), AlreadyExists) == 1
    held = side.settled().of_thumbprint(thumbprint("a"))
    assert held in rivals
    assert [one for one in rivals if side.ds_peers.of_domain(one.domain) is not None] == [held]


def test_of_two_changes_of_one_peer_the_later_stands_whole(side: Side) -> None:
    changes = [peer("us.example", *names) for names in ("ab", "bc", "cd")]
    assert race(*(partial(side.ds_peers.put, one) for one in changes)) == [None] * 3
    stands = side.settled().of_domain("us.example")
    assert stands in changes
    held = {name for name in "abcd" if side.ds_peers.of_thumbprint(thumbprint(name)) is not None}
    assert frozenset(map(thumbprint, held)) == stands.thumbprints


def test_peers_and_application_providers_share_no_certificate(side: Side) -> None:
    side.accounts.create(account("alpha", "a"))
    with pytest.raises(AlreadyExists):
        side.ds_peers.put(peer("us.example", "a"))
    assert side.settled().of_thumbprint(thumbprint("a")) is None
    side.ds_peers.put(peer("us.example", "b"))
    with pytest.raises(AlreadyExists):
        side.accounts.create(account("beta", "b"))


def test_a_peer_that_is_removed_is_gone_within_a_minute_and_its_certificates_are_free(side: Side) -> None:
    side.ds_peers.put(peer("us.example", "a"))
    assert side.ds_peers.of_thumbprint(thumbprint("a")) is not None
    side.ds_peers.remove("us.example")
    side.ds_peers.remove("us.example")
    assert side.settled().of_domain("us.example") is None
    assert side.ds_peers.of_thumbprint(thumbprint("a")) is None
    side.accounts.create(account("alpha", "a"))


def test_what_was_found_is_at_most_a_minute_old(side: Side) -> None:
    before, after = peer("us.example", "a"), peer("us.example", "a", origin="https://new.example")
    side.ds_peers.put(before)
    assert side.ds_peers.of_domain("us.example") == before
    side.ds_peers.put(after)
    assert side.ds_peers.of_domain("us.example") in (before, after)
    assert side.settled().of_domain("us.example") == side.ds_peers.of_thumbprint(thumbprint("a")) == after

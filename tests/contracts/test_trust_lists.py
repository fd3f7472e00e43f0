"""`TrustLists`: a higher version replaces a lower one, and never the other way round."""

from functools import partial

import pytest

from chalicelib.errors import AlreadyExists
from chalicelib.protocol.glados.trust import Peer, PeerKeys, PeerLimits, TrustList
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.ports import Lost
from tests.contracts.examples import account
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners


def listed(version: int, *thumbprints: str) -> TrustList:
    peers = [
        Peer(
            gp=f"gp-{number}",
            name="The other one",
            origins=["https://us.example"],
            thumbprints=[thumbprint.ljust(43, "-")],
            keys=PeerKeys(head=[{"kty": "EC", "kid": "one"}]),
            direction="inbound",
            limits=PeerLimits(burst=5),
        )
        for number, thumbprint in enumerate(thumbprints)
    ]
    return TrustList(version=version, peers=peers)


def now_loaded(ports: Ports) -> TrustList:
    """Load the list when no older answer is allowed any more."""
    ports.clock.advance(60 * SECOND)
    return ports.trust_lists.load()


def test_before_the_first_list_nobody_is_trusted(ports: Ports) -> None:
    assert ports.trust_lists.load().peers == []


def test_a_list_is_read_as_it_was_written(ports: Ports) -> None:
    ports.trust_lists.replace(listed(3, "a", "b"))
    assert now_loaded(ports) == listed(3, "a", "b")


def test_a_peer_that_is_no_longer_listed_is_gone(ports: Ports) -> None:
    ports.trust_lists.replace(listed(1, "a", "b"))
    ports.trust_lists.replace(listed(2, "a"))
    assert now_loaded(ports) == listed(2, "a")


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_is_not_higher_replaces_nothing(ports: Ports, version: int) -> None:
    ports.trust_lists.replace(listed(2, "a"))
    with pytest.raises(Lost):
        ports.trust_lists.replace(listed(version, "b"))
    assert now_loaded(ports) == listed(2, "a")


def test_the_highest_of_many_versions_stands_in_the_end(ports: Ports) -> None:
    versions = [listed(version, str(version)) for version in (3, 1, 4, 2)]
    winners(race(*(partial(ports.trust_lists.replace, one) for one in versions)), Lost)
    assert now_loaded(ports) == listed(4, "4")


def test_a_list_that_names_a_providers_certificate_is_refused_whole(ports: Ports) -> None:
    ports.accounts.create(account("alpha", "a"))
    with pytest.raises(AlreadyExists):
        ports.trust_lists.replace(listed(1, "b", "a"))
    assert now_loaded(ports).peers == []


def test_a_delisted_peers_certificate_is_free_for_a_provider(ports: Ports) -> None:
    ports.trust_lists.replace(listed(1, "a"))
    ports.trust_lists.replace(listed(2))
    ports.accounts.create(account("alpha", "a"))
    assert ports.accounts.load(account().provider_id) is not None

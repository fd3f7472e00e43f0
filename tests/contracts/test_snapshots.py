"""`Snapshots`: what a query needs, each part as its own port would say."""

from chalicelib.protocol.glados.mappings import Records
from chalicelib.services.accounts.state import ProviderId
from chalicelib.services.provider.state import Heads
from tests.contracts.examples import ALICE, BETA, BOB, account, change_of, mapping, register, writes_of
from tests.contracts.filters import peer_head
from tests.contracts.ports import Ports

ID = ProviderId("alpha")


def test_where_nothing_is_known_every_part_is_empty(ports: Ports) -> None:
    stored, known, heads = ports.snapshots.read(ALICE, ID)
    assert (stored.records, known, heads) == (Records(), None, Heads())


def test_every_part_is_what_its_own_port_says(ports: Ports) -> None:
    ports.accounts.create(account())
    ports.accounts.create(account("beta", "b"))
    register(ports.store)
    ports.peer_heads.replace(ports.peer_heads.load(), Heads((peer_head("us"),)))
    loaded = ports.accounts.load(ID)
    assert loaded is not None
    stored, known, heads = ports.snapshots.read(ALICE, ID)
    assert stored.records == ports.store.records(ALICE).records != Records()
    assert known == loaded.value
    assert heads == ports.peer_heads.load().value
    assert ports.snapshots.read(BOB, ProviderId("beta"))[0].records == Records()


def test_each_write_is_seen_at_once(ports: Ports) -> None:
    register(ports.store)
    ports.snapshots.read(ALICE, ID)
    register(ports.store, new=mapping(BETA))
    assert len(ports.snapshots.read(ALICE, ID)[0].records.active) == 2


def test_what_a_snapshot_read_can_be_replaced(ports: Ports) -> None:
    before, _, _ = ports.snapshots.read(ALICE, ID)
    ports.store.commit(*writes_of(ALICE, before, change_of(before, mapping())))
    assert ports.store.records(ALICE).records.of("alpha") is not None

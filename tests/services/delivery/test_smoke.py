from chalicelib.protocol.delivery.responses import Ok
from tests.services.delivery.house import House, Person


def test_a_group_lives() -> None:
    house = House()
    alice, bob, carol = Person(house, "alice"), Person(house, "bob"), Person(house, "carol", "us.ds.example")
    alice.create()
    alice.add(bob)
    message, pending = bob.adding(carol)
    assert house.serve(message) == Ok()
    assert house.serve(message) == Ok()
    bob.accepted(pending, [carol], [alice])
    carol.say(b"hello")
    house.deliver()
    print(house.world.queueing_services.delivered)
    message, pending = alice.updating()
    assert house.serve(message) == Ok()
    alice.accepted(pending, others=[bob, carol])
    message, pending = alice.removing(bob)
    assert house.serve(message) == Ok()
    alice.accepted(pending, others=[carol])
    answer = house.serve(carol.asking_to_return())
    message, pending = carol.returning(answer.group_info.body, answer.ratchet_tree, carol.member.leaf_index)
    assert house.serve(message) == Ok()
    carol.accepted(pending, others=[alice])
    alice.say(b"x")
    house.deliver()
    assert alice.member.secrets == carol.member.secrets

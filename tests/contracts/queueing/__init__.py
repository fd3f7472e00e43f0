"""The ports of a queueing service, behind fakes or real adapters."""

import dataclasses
import time
from collections.abc import Callable

from chalicelib.services.ports import Alarms, Buckets, Digests, Pieces, RemoteBodies
from chalicelib.services.queueing.ports import (
    Bodies,
    ConfigKeys,
    QueueEntries,
    QueueHeads,
    Streams,
    Wait,
)
from chalicelib.storage.alarms import AwsAlarms
from chalicelib.storage.buckets import AwsBuckets
from chalicelib.storage.config_keys import AwsConfigKeys
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.digests import AwsDigests
from chalicelib.storage.ds_peers import AwsDsPeers
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.objects import Objects
from chalicelib.storage.queueing_bodies import AwsBodies
from chalicelib.storage.queueing_entries import AwsQueueEntries
from chalicelib.storage.queueing_heads import AwsQueueHeads
from chalicelib.storage.queueing_streams import AwsStreams
from chalicelib.storage.remote_bodies import AwsPieces, PeerRemoteBodies
from chalicelib.storage.sealing import Sealer
from tests.contracts import aws
from tests.fakes.clock import SettableClock
from tests.fakes.ds_peers import MemoryPeerCalls
from tests.fakes.faults import Faults
from tests.fakes.queueing import QueueWorld
from tests.services.queueing.queues import EU, Qs


@dataclasses.dataclass(frozen=True)
class QueuePorts:
    """One queueing service's stored state. `lose_reply(port, method)` is as in `tests.contracts.ports`."""

    clock: SettableClock
    lose_reply: Callable[[str, str], None]
    heads: QueueHeads
    entries: QueueEntries
    streams: Streams
    bodies: Bodies
    remote_bodies: RemoteBodies
    pieces: Pieces
    config_keys: ConfigKeys
    digests: Digests
    buckets: Buckets
    alarms: Alarms
    wait: Wait

    def qs(self) -> Qs:
        """Return the service over these ports."""
        return Qs.over(
            self.heads,
            self.entries,
            self.streams,
            self.bodies,
            self.remote_bodies,
            self.pieces,
            self.config_keys,
            self.digests,
            self.buckets,
            self.alarms,
            self.clock,
            self.wait,
            EU,
        )


def memory() -> QueuePorts:
    """Return the ports of a new world in memory."""
    world = QueueWorld()
    return QueuePorts(
        world.clock,
        lambda port, method: world.fail(port, method, when="after"),
        world.heads,
        world.entries,
        world.streams,
        world.bodies,
        world.remote_bodies,
        world.pieces,
        world.config_keys,
        world.digests,
        world.buckets,
        world.alarms,
        world.wait,
    )


def on_aws(stage: str, clock: SettableClock) -> QueuePorts:
    """Return the adapters of a stage as one more container would make them."""
    database = Database(stage)
    keys = DataKeys(database, clock)
    sealer, digests = Sealer(keys), AwsDigests(keys)
    return QueuePorts(
        clock,
        lambda _port, _method: aws.lose_next_reply(),
        AwsQueueHeads(database),
        AwsQueueEntries(database, sealer),
        AwsStreams(database),
        AwsBodies(database, Objects(stage, "objects"), sealer, digests, clock),
        PeerRemoteBodies(AwsDsPeers(database, clock), MemoryPeerCalls(Faults())),
        AwsPieces(Objects(stage, "objects"), digests),
        AwsConfigKeys(keys),
        digests,
        AwsBuckets(database),
        AwsAlarms(stage, clock),
        lambda milliseconds: time.sleep(milliseconds / 1000),
    )

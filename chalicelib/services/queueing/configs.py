"""Queue configs: which queue a hub's message goes to, sealed by the client so that only we can read it.

The key that opens them lives for long, since a config lies in groups for as long as its client is a member; former
epochs stay open until they are retired.
"""

from chalicelib.errors import Refusal
from chalicelib.protocol.delivery.parts import Domain
from chalicelib.protocol.delivery.queueing import ClientQueueConfig, QueueConfig
from chalicelib.services.queueing.ports import ConfigKeys

MOST_REMEMBERED = 20_000


class Configs:
    """Opens queue configs; one instance a container, which remembers what it opened: each comes with every message."""

    def __init__(self, keys: ConfigKeys, ds_domain: Domain) -> None:
        self.keys = keys
        self.ds_domain = ds_domain
        self._opened: dict[ClientQueueConfig, QueueConfig] = {}

    def public(self) -> tuple[int, bytes]:
        """Return the epoch and the X25519 key that configs are to be sealed to."""
        return self.keys.public()

    def open(self, config: ClientQueueConfig) -> QueueConfig | None:
        """Return what is inside a config, or None: another service's, a retired key's, or not sealed for us."""
        if config.ds_domain != self.ds_domain:
            return None
        if (known := self._opened.get(config)) is not None:
            return known
        private = self.keys.private(config.sealed_config.key_epoch)
        if private is None:
            return None
        try:
            opened = config.open(private)
        except Refusal:
            return None
        if len(self._opened) >= MOST_REMEMBERED:
            self._opened = {}
        self._opened[config] = opened
        return opened

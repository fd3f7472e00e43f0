"""`python -m infra.local.hello DIR`: the least that two clients do to talk, on a run that serves with `--state DIR`.

Alice is a user of alpha's and lives at the delivery service eu, Bob of gamma's and at us. Each step is one that an
integrator's own code makes, with `chalicelib.client` and an MLS library, here rine-mls: companies register keys,
clients make queues, Bob publishes a KeyPackage, Alice takes it, makes a group at eu, adds him and says something, and
he reads his queue and answers through us. What a client of its own does on top (it repeats what may be lost, it goes
back when another's commit has won, it comes back after a loss) is in `infra/local/devices.py`.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import rine_mls

from chalicelib.client import (
    AddedClient,
    AddPackage,
    ApClient,
    DeliveryClient,
    DSSenderID,
    Queue,
    QueueClient,
    SignatureKey,
    group_update,
)
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls.framing import MLSMessage, decode_message
from chalicelib.protocol.mls.key_package import KeyPackage

SUITE = 1
TAG = bytes([rine_mls.APP_MESSAGE_TAG])
"""What rine writes before an application message; a delivery service takes the MLSMessage alone."""


class Client:
    """A user's only client: its MLS library, its key, and its queue."""

    def __init__(self, said: dict[str, Any], company: str, folder: str) -> None:
        self.ca = said["ca"]
        self.home = said["ds"][said["aps"][company]["gp"]]
        seed = os.urandom(32)
        self.mls = rine_mls.MlsClient(folder, seed, SUITE)
        self.key = SignatureKey(SUITE, seed)
        # Who the user is, says the credential in its leaves. Rine's is the key itself; others are mimi://DOMAIN/u/NAME.
        self.user = self.key.signature_key
        self._register(said["aps"][company])
        self.as_user = DSSenderID.user(hashlib.sha256(self.key.signature_key).digest())
        self.queue = QueueClient(
            self.home["public_url"], self.home["domain"], Queue.draw(SUITE, os.urandom), ca=self.ca
        )
        self.queue.create_queue()
        self._entries = self.queue.entries()  # Who asks for the next one has finished the one before.
        self._config_key = self.queue.describe().queue_config_key

    def _register(self, company: dict[str, Any]) -> None:
        """Tell the delivery service of the user, as the company's server does."""
        own = company["ds"]
        server = ApClient(
            self.home["url"],
            own["client_id"],
            own["client_secret"],
            cert=company["cert"],
            key=company["key"],
            ca=self.ca,
        )
        user, key = encode_base64url(self.user), encode_base64url(self.key.signature_key)
        server.call("POST", "/ds/v1/users", {"user": user, "cipher_suite": SUITE, "signature_key": key})
        server.close()

    def at(self, hub: str) -> DeliveryClient:
        """Return the way to a hub: to one's own service straight, to any other through one's own."""
        forwarded = hub != self.home["domain"]
        uploader = (self.key, self.as_user)  # For what is too large to be posted.
        return DeliveryClient(
            self.home["public_url"], hub, self.key, forwarded=forwarded, uploader=uploader, ca=self.ca
        )

    def close(self) -> None:
        """Leave the queue alone."""
        self._entries.close()
        self.queue.close()

    def offer(self) -> AddPackage:
        """Return a new KeyPackage, and where messages for it go."""
        package = decode_message(self.mls.generate_key_package()).body
        if not isinstance(package, KeyPackage):
            raise TypeError("rine gave something else than a KeyPackage")
        return AddPackage.sign(package, self.queue.client_queue_config(self._config_key), self.key.sign)

    def next_message(self) -> tuple[str, bytes]:
        """Return what comes next, and from which hub. The queue lets go of what came before."""
        entry = next(self._entries)
        if not isinstance(entry.message, bytes):
            raise TypeError("an entry's message was not fetched")
        return entry.hub, entry.message


def hello(said: dict[str, Any], folder: Path) -> tuple[bytes, bytes]:
    """Let both say something; return what each has read of the other's."""
    alice = Client(said, "alpha", str(folder / "alice"))
    bob = Client(said, "gamma", str(folder / "bob"))
    suite = cipher_suite(SUITE)

    bob.at(bob.home["domain"]).publish_key_packages(bob.as_user, [bob.offer()])

    hub = alice.at(alice.home["domain"])
    (package,) = hub.key_packages(alice.as_user, bob.home["domain"], [bob.user])
    package.verify(suite)
    group_id = hub.request_group_id(alice.as_user).group_id
    group = alice.mls.create_group(group_id)
    own, sender = alice.offer(), DSSenderID.leaf(group.current_member_index())
    hub.create_group(sender, group_id, own.key_package, own.client_queue_config, group.group_info())

    made = group.add_members([MLSMessage(package.key_package).encode()])
    added = AddedClient(package.key_package.reference(suite), package.client_queue_config)
    hub.add_users(sender, group_update(made.commit, made.group_info), made.welcomes, [added])
    hub.send_message(sender, group.encrypt_application_message(b"Hello, Bob.").removeprefix(TAG))

    named, welcome = bob.next_message()
    his = bob.mls.join_from_welcome(welcome)
    _, message = bob.next_message()
    heard_by_bob: bytes = his.decrypt_application_message(TAG + message).envelope
    answer = his.encrypt_application_message(b"Hello, Alice.").removeprefix(TAG)
    bob.at(named).send_message(DSSenderID.leaf(his.current_member_index()), answer)

    _, message = alice.next_message()
    heard_by_alice: bytes = group.decrypt_application_message(TAG + message).envelope
    alice.close()
    bob.close()
    return heard_by_bob, heard_by_alice


def main() -> int:
    """Run it on the run of a folder."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.hello", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the --state of a run that serves")
    endpoints = parser.parse_args().folder / "endpoints.json"
    if not endpoints.is_file():
        parser.error(
            f"there is no {endpoints}: start `python -m infra.local --serve-only --state DIR`, and wait for it"
        )
    with tempfile.TemporaryDirectory(prefix="glados-hello-") as folder:
        heard_by_bob, heard_by_alice = hello(json.loads(endpoints.read_text()), Path(folder))
    print(f"bob read: {heard_by_bob.decode()}\nalice read: {heard_by_alice.decode()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

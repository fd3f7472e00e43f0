"""Where everything is built, once a container and when first needed.

Event functions of a blueprint deploy without `app.py`, so construction cannot live there. Each function makes one
thing; none is called while a module is imported, but for names. Here is what both roles have; what one role alone
has is in the module of its name, which the other never imports.
"""

import functools
import os
import time
from typing import TYPE_CHECKING

from chalicelib import config as settings
from chalicelib.services.accounts.state import SCOPES_OF
from chalicelib.services.ports import Clock
from chalicelib.storage.accounts import AccountRows, AwsAccounts
from chalicelib.storage.alarms import AwsAlarms
from chalicelib.storage.buckets import AwsBuckets
from chalicelib.storage.datakeys import DataKeys
from chalicelib.storage.digests import AwsDigests
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.federation_tls import FederationTls
from chalicelib.storage.idempotency import AwsIdempotency
from chalicelib.storage.queues import Queues
from chalicelib.storage.sealing import Sealer

if TYPE_CHECKING:
    from chalicelib.services.accounts.access import Access
    from chalicelib.services.accounts.enrolment import Enrolment
    from chalicelib.storage.signing_keys import AwsSigningKeys


@functools.cache
def config() -> settings.Config:
    """The stage's settings."""
    return settings.read()


def queue_name(name: str) -> str:
    """The name of one of the stage's queues; Chalice needs it while it packages."""
    return f"glados-{config().stage}-{name}"


def clock() -> Clock:
    """The time of day in milliseconds."""
    return lambda: time.time_ns() // 1_000_000


entropy = os.urandom


@functools.cache
def database() -> Database:
    """The stage's tables."""
    return Database(config().stage)


@functools.cache
def data_keys() -> DataKeys:
    """The data keys that KMS unwraps for this container."""
    return DataKeys(database(), clock())


@functools.cache
def sealer() -> Sealer:
    """Seals values at rest."""
    return Sealer(data_keys())


@functools.cache
def digests() -> AwsDigests:
    """Keyed hashes."""
    return AwsDigests(data_keys())


@functools.cache
def signing_keys() -> "AwsSigningKeys":
    """The keys that sign, by purpose."""
    from chalicelib.storage.signing_keys import AwsSigningKeys  # noqa: PLC0415 (PyJWT; few callers of a DS have tokens)

    return AwsSigningKeys(data_keys())


@functools.cache
def alarms() -> AwsAlarms:
    """What an operator should see."""
    return AwsAlarms(config().stage, clock())


@functools.cache
def queues() -> Queues:
    """The stage's queues."""
    return Queues(config().stage, alarms())


@functools.cache
def accounts() -> AwsAccounts:
    """The enrolled application providers."""
    return AwsAccounts(database(), AccountRows(sealer()), clock())


@functools.cache
def federation_tls() -> FederationTls:
    """The certificate with which this stage calls its peers."""
    return FederationTls(config().stage, clock())


@functools.cache
def idempotency() -> AwsIdempotency:
    """Answers by idempotency key."""
    return AwsIdempotency(database(), data_keys(), sealer())


@functools.cache
def buckets() -> AwsBuckets:
    """Token buckets."""
    return AwsBuckets(database())


@functools.cache
def access() -> "Access":
    """Who is asking."""
    from chalicelib.services.accounts.access import Access  # noqa: PLC0415 (as above)

    return Access(accounts(), signing_keys(), clock(), entropy, config().origin)


@functools.cache
def enrolment() -> "Enrolment":
    """The operator's hand on accounts."""
    from chalicelib.services.accounts.enrolment import Enrolment  # noqa: PLC0415 (only an operator needs it)

    return Enrolment(accounts(), digests(), clock(), entropy, SCOPES_OF[config().role])

"""One provider over an in-process AWS for all tests of the doors, because there is one app a process."""

import contextlib
import functools
import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from chalicelib import wiring
from chalicelib.config import Role
from chalicelib.protocol.glados.trust import Peer, PeerKeys, TrustList
from chalicelib.storage import clients
from chalicelib.wiring import delivery, groups, provider
from infra import operator
from infra.local.authority import Authority, Identity
from tests.contracts.aws import create_stack
from tests.fakes.clock import SettableClock
from tests.handlers.edge import Ap, Edge

STAGE = "gp-eu"
REGION = "eu-central-1"
ENVIRONMENT = {
    "GLADOS_ROLE": "provider",
    "GLADOS_STAGE": STAGE,
    "GLADOS_GP": "eu",
    "GLADOS_GP_NAME": "GLADOS provider EU",
    "GLADOS_ORIGIN": "https://eu.gp.example",
    "GLADOS_PUBLIC_ORIGIN": "https://public.eu.gp.example",
    "GLADOS_EMAIL_FROM": "codes@eu.gp.example",
    "AWS_DEFAULT_REGION": REGION,
}

Enrol = Callable[[str], Ap]


def forget(*modules: ModuleType) -> None:
    """Empty every cache of these modules, as a new container has it."""
    for module in modules:
        for made in vars(module).values():
            if isinstance(made, functools._lru_cache_wrapper) and made.__module__ == module.__name__:
                made.cache_clear()


@pytest.fixture(scope="package")
def clock() -> SettableClock:
    return SettableClock()


@contextlib.contextmanager
def deployed(environment: dict[str, str], clock: SettableClock, role: Role) -> Iterator[None]:
    """Be a container of a stage, with the tables, queues and keys of the data stack."""
    kept = (wiring, provider, delivery, groups, clients)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(wiring, "clock", lambda: clock)
        forget(*kept)
        with mock_aws():
            with warnings.catch_warnings():
                # The bucket's policy and the certificate for calling peers: no test here needs them.
                warnings.filterwarnings("ignore", "Tried to parse AWS::(S3::BucketPolicy|SecretsManager::Secret)")
                create_stack(environment["GLADOS_STAGE"], role)
            yield
        forget(*kept)


@pytest.fixture(scope="package")
def stage(clock: SettableClock) -> Iterator[None]:
    """The stage of a provider."""
    with deployed(ENVIRONMENT, clock, "provider"):
        clients.client("sesv2").create_email_identity(EmailIdentity=ENVIRONMENT["GLADOS_EMAIL_FROM"])
        yield


@pytest.fixture(scope="package")
def edge(stage: None) -> Edge:
    from app import app  # noqa: PLC0415 - importing it reads the stage's settings

    return Edge(app)


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="package")
def enrol(edge: Edge, authority: Authority) -> Enrol:
    """Enrols an application provider as its operator does."""

    def enrol(provider_id: str) -> Ap:
        identity = authority.issue_client(provider_id)
        said = [
            "--name",
            provider_id.title(),
            "--domain",
            f"{provider_id}.example",
            "--review",
            "reviewed for the tests",
        ]
        allowed = ["--certificate", str(identity.cert), "--sms-region", "*"]
        account = operate("enrol-ap", provider_id, *said, *allowed)
        return Ap(edge, provider_id, account["client_id"], account["client_secret"], identity)

    return enrol


def operate(*arguments: str) -> dict[str, Any]:
    """Run a command of `python -m infra.operator` on the stage."""
    return operator.answer(arguments)


@pytest.fixture(scope="package")
def alpha(enrol: Enrol) -> Ap:
    return enrol("alpha")


@pytest.fixture(scope="package")
def beta(enrol: Enrol) -> Ap:
    return enrol("beta")


@pytest.fixture(scope="package")
def stranger(authority: Authority) -> Identity:
    """A certificate of the right authority that nobody registered."""
    return authority.issue_client("stranger")


@pytest.fixture(scope="package")
def peer(edge: Edge, authority: Authority) -> Identity:
    """A GP on the trust list that is never asked."""
    identity = authority.issue_client("gp-us")
    listed = Peer(
        gp="us",
        name="GLADOS provider US",
        origins=["https://us.gp.example"],
        thumbprints=[identity.thumbprint()],
        keys=PeerKeys(),
        direction="inbound",
    )
    provider.trust_lists().replace(TrustList(version=1, peers=[listed]))
    return identity


_numbers = itertools.count()


@pytest.fixture
def number() -> str:
    """A mobile number that no other test uses."""
    return f"tel:+49151234{next(_numbers):05d}"


@pytest.fixture
def mapping_id(alpha: Ap, number: str) -> str:
    """A mapping of alpha's."""
    made: str = register(alpha, number, "alice")["mapping"]["mapping_id"]
    return made


def register(ap: Ap, sii: str, user_id: str) -> dict[str, Any]:
    """Verify a number by the code that its message brings, and return the code's answer."""
    opened = ap.call("POST", "/v1/verifications", {"sii": sii, "user_id": user_id})
    assert opened.status == 201, opened
    assert opened.headers["location"] == f"/v1/verifications/{opened.json['verification_id']}"
    code = {"user_id": user_id, "code": code_in(texts(sii)[-1])}
    made = ap.call("POST", f"{opened.headers['location']}/code", code)
    assert made.status == 200, made
    answer: dict[str, Any] = made.json
    return answer


def texts(sii: str) -> list[str]:
    """Return the text messages that were sent to a number, oldest first."""
    sent = sns_backends[DEFAULT_ACCOUNT_ID][REGION].sms_messages.values()
    return [text for to, text in sent if f"tel:{to}" == sii]


def code_in(text: str) -> str:
    """Return the code of a message."""
    match = re.search(r"\b\d{6}\b", text)
    assert match is not None
    return match[0]

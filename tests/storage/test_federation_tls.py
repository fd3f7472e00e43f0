"""A stage keeps only a certificate that it can call its peers with."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from chalicelib.storage.federation_tls import FederationTls
from infra.local.authority import Authority
from tests.contracts.aws import new_stage
from tests.fakes.clock import SettableClock


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def locked(key: str) -> str:
    pem = load_pem_private_key(key.encode(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password")
    )
    return pem.decode()


@pytest.mark.parametrize("mistake", ["another key", "no key", "no certificate", "an encrypted key", "no authorities"])
def test_what_no_call_could_be_made_with_is_refused_and_what_was_stored_stays(
    authority: Authority, mistake: str
) -> None:
    own, other = authority.issue_client("eu"), authority.issue_client("us")
    certificate, key, trusted = own.cert.read_text(), own.key.read_text(), authority.cert.read_text()
    tls = FederationTls(new_stage("delivery"), SettableClock())
    tls.store(certificate=certificate, private_key=key, authorities=trusted)
    wrong = {
        "another key": (certificate, other.key.read_text(), trusted),
        "no key": (certificate, certificate, trusted),
        "no certificate": (key, key, trusted),
        "an encrypted key": (certificate, locked(key), trusted),
        "no authorities": (certificate, key, "rubbish"),
    }[mistake]
    with pytest.raises(ValueError, match=r"do not serve for TLS: ."):
        tls.store(certificate=wrong[0], private_key=wrong[1], authorities=wrong[2])
    assert tls.authorities() == trusted
    tls.identified()  # And it can still be used.

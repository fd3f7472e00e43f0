"""The development authority: what its certificates are good for, and who may read their keys."""

import base64
import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from infra.local.authority import Authority


def test_every_file_is_for_its_owner_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    authority.issue_client("alice")
    authority.issue_server("gp")
    files = list((tmp_path / "ca").iterdir())
    assert {path.name for path in files} == {"ca.pem", "alice.pem", "alice.key", "gp.pem", "gp.key"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_clients_and_servers_cannot_stand_in_for_one_another(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for identity, purpose in (
        (authority.issue_client("alice"), ExtendedKeyUsageOID.CLIENT_AUTH),
        (authority.issue_server("gp"), ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        certificate = x509.load_pem_x509_certificate(identity.cert.read_bytes())
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [purpose]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_thumbprint_is_rfc_8705s(tmp_path: Path) -> None:
    identity = Authority(tmp_path).issue_client("alice")
    certificate = x509.load_pem_x509_certificate(identity.cert.read_bytes())
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
    assert base64.urlsafe_b64decode(identity.thumbprint() + "=") == digest
    assert len(identity.thumbprint()) == 43

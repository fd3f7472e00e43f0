"""What an operator is told who mistypes."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

REPOSITORY = Path(__file__).parents[2]
STAGE = {
    "GLADOS_ROLE": "provider",
    "GLADOS_STAGE": "gp-eu",
    "GLADOS_GP": "eu",
    "GLADOS_ORIGIN": "https://eu.gp.example",
    "GLADOS_EMAIL_FROM": "codes@eu.gp.example",
}

NOBODY = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Settings of a machine that AWS gave no region and no credentials."""


def operator(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.operator", *arguments],
        env={"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), **NOBODY, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "told"),
    [
        (["keys"], {}, 2, "the environment lacks GLADOS_ROLE"),
        (["--stage", "gp-xx", "keys"], {}, 2, "has no stage gp-xx; it has: gp-eu"),
        (["--stage", "gp-eu", "--run", "/none", "keys"], {}, 2, "/none has no stage gp-eu; it has none"),
        (["--run", "/none", "keys"], {}, 2, "name a stage of /none"),
        (["rotate-key", "indx"], STAGE, 2, "invalid choice: 'indx'"),
        (["--stage", "gp-eu", "keys"], {}, 2, "names no AWS region; set AWS_DEFAULT_REGION"),
        (["--stage", "gp-eu", "keys"], {"AWS_REGION": "eu-central-1"}, 2, "set AWS_DEFAULT_REGION"),
        (["--stage", "gp-eu", "keys"], {"AWS_DEFAULT_REGION": "eu-central-1"}, 1, "failed: NoCredentialsError"),
        (["sign-trust-list", "none.json", "--key", "none.pem", "--gp", "eu"], {}, 1, "failed: FileNotFoundError"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_not_as_a_traceback(
    arguments: list[str], environment: dict[str, str], status: int, told: str
) -> None:
    done = operator(*arguments, environment=environment)
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["has expired, at 2026-01-31T00:00:00Z", "is no certificate in PEM"])
def test_a_certificate_that_nobody_can_show_is_not_enrolled(tmp_path: Path, what: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "zeta")])
    begun, ended = (
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC),
    )
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, begun, ended).sign(key, hashes.SHA256())
    file = tmp_path / "zeta.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM) if "expired" in what else b"rubbish")
    arguments = ["certificates", "zeta", "--certificate", str(file)]
    done = operator(*arguments, environment={**STAGE, "AWS_DEFAULT_REGION": "eu-central-1"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"failed: ValueError: {file} {what}\n"

"""A certificate authority for development, and the names it gives to servers and clients.

Everything is EC P-256. Server certificates are good for 127.0.0.1 and localhost only; client certificates
can authenticate clients only, so that neither can stand in for the other.
"""

import datetime
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chalicelib.protocol.base64url import encode_base64url
from infra.local.private import write_private

Thumbprint = NewType("Thumbprint", str)

LIFETIME = datetime.timedelta(days=30)
CLOCK_SKEW = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, as the two PEM files that every TLS library takes."""

    cert: Path
    key: Path

    def thumbprint(self) -> Thumbprint:
        """Return what a certificate-bound token calls this certificate."""
        return thumbprint(self.cert)


def thumbprint(certificate: Path) -> Thumbprint:
    """Return the base64url SHA-256 of the certificate's DER encoding, unpadded (RFC 8705 §3.1)."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    return Thumbprint(encode_base64url(hashlib.sha256(der).digest()))


class Authority:
    """Issues certificates into one folder; its own certificate is `ca.pem` there.

    The authority's key stays in memory: a run makes its own authority, and no later one can extend it.
    """

    def __init__(self, folder: Path, name: str = "GLADOS development authority") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.cert = folder / "ca.pem"
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        write_private(self.cert, certificate.public_bytes(serialization.Encoding.PEM))

    def issue_server(self, name: str) -> Identity:
        """Make NAME.pem and NAME.key for a server on this machine."""
        here = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, here)

    def issue_client(self, name: str) -> Identity:
        """Make NAME.pem and NAME.key for a client, such as an application provider or a peer."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _issue(self, name: str, purpose: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(_named(name), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        identity = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        write_private(
            identity.key,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        write_private(identity.cert, certificate.public_bytes(serialization.Encoding.PEM))
        return identity

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )


def server_context(identity: Identity, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a listener; with `client_ca`, only its certificates get in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    # Sessions are not resumed: each connection shows its certificate anew.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    # HTTP says itself where a message ends, so a missing close_notify is no attack that matters here.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: Path, identity: Identity | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a caller that trusts `ca` and shows `identity`, if it has one."""
    context = ssl.create_default_context(cafile=str(ca))
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )

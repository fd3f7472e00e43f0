"""Who this stage is to its peers: the certificate of the secret `federation-tls`, and whom it trusts.

The secret is JSON: `certificate` and `private_key` (PEM), and `authorities` (PEM), which sign the peers' server
certificates. The operator fills it; it is read again each hour, so a renewed certificate comes into use alone.
"""

import os
import ssl
import tempfile
import threading

import msgspec
import urllib3

from chalicelib.protocol.timestamps import HOUR
from chalicelib.services.ports import Clock
from chalicelib.storage import clients
from chalicelib.storage.https import trusting

RENEWED = HOUR


class FederationSecret(msgspec.Struct, frozen=True):
    """The secret's members."""

    certificate: str
    private_key: str
    authorities: str


class FederationTls:
    """Connection pools with and without our certificate; safe for threads."""

    def __init__(self, stage: str, clock: Clock) -> None:
        self.secret_name = f"glados-{stage}-federation-tls"
        self.clock = clock
        self._pools: tuple[int, urllib3.PoolManager, urllib3.PoolManager] | None = None
        self._lock = threading.Lock()

    def identified(self) -> urllib3.PoolManager:
        """Return the pool that shows our certificate and trusts the federation's authorities alone."""
        return self._current()[1]

    def anonymous(self) -> urllib3.PoolManager:
        """Return the pool for where a peer redirects us: it shows nothing and trusts public authorities too."""
        return self._current()[2]

    def authorities(self) -> str:
        """Return the authorities (PEM) that sign the peers' certificates; empty for the public ones."""
        return self._read().authorities

    def store(self, *, certificate: str, private_key: str, authorities: str) -> None:
        """Replace the secret; containers that run take it up within the hour.

        Raises `ValueError`, and changes nothing, where no call could be made with it: what is no PEM, a private key
        that is not the certificate's, or one that needs a password.
        """
        secret = FederationSecret(certificate, private_key, authorities)
        try:
            _identified(secret)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise ValueError(f"certificate, private key and authorities do not serve for TLS: {reason}") from error
        clients.client("secretsmanager", 3).put_secret_value(
            SecretId=self.secret_name, SecretString=msgspec.json.encode(secret).decode()
        )

    def _read(self) -> FederationSecret:
        answer = clients.client("secretsmanager", 3).get_secret_value(SecretId=self.secret_name)
        return msgspec.json.decode(answer["SecretString"], type=FederationSecret)

    def _current(self) -> tuple[int, urllib3.PoolManager, urllib3.PoolManager]:
        with self._lock:
            if self._pools is None or self.clock() - self._pools[0] >= RENEWED:
                secret = self._read()
                self._pools = (self.clock(), _pool(_identified(secret)), _pool(trusting(secret.authorities)))
            return self._pools


def _pool(context: ssl.SSLContext) -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=256, maxsize=8, ssl_context=context)


def _identified(secret: FederationSecret) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if secret.authorities:
        context.load_verify_locations(cadata=secret.authorities)
    else:
        context.load_default_certs()
    # OpenSSL takes a certificate from a file only. It exists for this moment, for this user.
    descriptor, path = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret.certificate.rstrip() + "\n" + secret.private_key)
        context.load_cert_chain(path, password="")  # Else it would ask a terminal for that of an encrypted key.
    finally:
        os.unlink(path)
    return context

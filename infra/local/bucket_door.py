"""S3 over TLS, as on AWS: the emulator speaks plain HTTP, and no client follows a link that does not lead to HTTPS.

Bytes are passed on as they are, so that what was signed is what arrives. It lies in the process that runs the others.
"""

import select
import socket
import ssl

from infra.local.listener import Listener, reserve_port

PIECE = 256 << 10
SECONDS = 30.0
"""How long the emulator, or a client, may take for one piece."""


class BucketDoor:
    """Where stages and their clients find the emulator's buckets: `url`."""

    def __init__(self, emulator_port: int, context: ssl.SSLContext) -> None:
        self._emulator_port = emulator_port
        self._listener = Listener(reserve_port(), self._pass_on, context)
        self.url = f"https://127.0.0.1:{self._listener.port}"

    def start(self) -> None:
        """Begin to listen."""
        self._listener.start()

    def stop(self) -> None:
        """Stop listening."""
        self._listener.stop()

    def _pass_on(self, outside: socket.socket) -> None:
        """Pass on what either side sends, until one of them ends it."""
        outside.settimeout(SECONDS)
        with socket.create_connection(("127.0.0.1", self._emulator_port), SECONDS) as inside:
            to = {outside: inside, inside: outside}
            while True:
                # What TLS has read already is not seen by `select`.
                decrypted = isinstance(outside, ssl.SSLSocket) and outside.pending()
                for sock in [outside] if decrypted else select.select([*to], [], [])[0]:
                    piece = sock.recv(PIECE)
                    if not piece:
                        return
                    to[sock].sendall(piece)

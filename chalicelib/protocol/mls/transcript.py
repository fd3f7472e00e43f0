"""The transcript hashes (RFC 9420 §8.2): both can be computed without any secret."""

from chalicelib.protocol.crypto import CipherSuite
from chalicelib.protocol.mls.framing import AuthenticatedContent
from chalicelib.protocol.tls import opaque, uint16


def confirmed_transcript_hash(
    suite: CipherSuite, interim_transcript_hash: bytes, commit: AuthenticatedContent
) -> bytes:
    """[mls-8.2-1] Return the hash over all commits up to the signature of this one."""
    confirmed_input = uint16(commit.wire_format) + commit.content.encode() + opaque(commit.auth.signature)
    return suite.hash(interim_transcript_hash + confirmed_input)


def interim_transcript_hash(suite: CipherSuite, confirmed_transcript_hash: bytes, confirmation_tag: bytes) -> bytes:
    """Return the hash that covers the confirmation tag too."""
    return suite.hash(confirmed_transcript_hash + opaque(confirmation_tag))

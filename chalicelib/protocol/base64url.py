"""Bytes as text in JSON and URLs: base64url without padding (RFC 4648 §5), of which each value has one form."""

import base64
import binascii

from chalicelib.errors import DecodeError


def encode_base64url(data: bytes) -> str:
    """Write bytes as unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Read unpadded base64url in its one form, or raise `DecodeError`."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise DecodeError("this is not base64url") from error
    if encode_base64url(data) != text:
        raise DecodeError("this is not base64url in its shortest form")
    return data

"""From a request's bytes to the one typed value that its route takes, or a refusal that names what is wrong."""

from typing import TypeVar

import msgspec

from chalicelib import errors
from chalicelib.protocol.bodies import Body

Wanted = TypeVar("Wanted", bound=Body)

LONGEST_REASON = 200  # It may name a field that the caller made up.


def media_type(header: str | None) -> str:
    """Return the media type that a Content-Type header names; without one, a body is JSON."""
    return (header or "application/json").split(";")[0].strip().lower()


def decode(raw_body: bytes, media: str, as_type: type[Wanted]) -> Wanted:
    """Turn a JSON body into its type: 415 for another media type, 400 for no JSON object, 422 for a wrong value."""
    if media != "application/json":
        raise errors.UnsupportedMediaType("this route takes application/json")
    if not raw_body and not as_type.__struct_fields__:
        return as_type()
    try:
        plain = msgspec.json.decode(raw_body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise errors.MalformedBody("the body is not JSON") from error
    if not isinstance(plain, dict):
        raise errors.MalformedBody("the body is not a JSON object")
    try:
        return msgspec.convert(plain, as_type)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        if reason.startswith("Invalid enum value"):
            reason = "Invalid enum value"  # Without the value itself: it may be anything.
        raise errors.InvalidValue(reason[:LONGEST_REASON], place.rstrip("`") or None) from error

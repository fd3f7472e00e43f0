"""DNS names, as providers and delivery services are known by them."""

import re

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)


def is_domain(text: str) -> bool:
    """Return whether this is a lower-case DNS name of at least two labels."""
    return _DOMAIN.fullmatch(text) is not None

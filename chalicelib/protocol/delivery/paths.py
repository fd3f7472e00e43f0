"""Where delivery services call each other: the routes that one serves and another one asks."""

from typing import Final

ENQUEUE: Final = "/qs/v1/enqueue"
"""An EnqueueRequest of a hub."""

BODIES: Final = "/ds/v1/federation/bodies"
"""A message that was too large for a request: GET BODIES/SHA256?offset=N."""

KEY_PACKAGES: Final = "/ds/v1/federation/key-packages"
"""A KeyPackagesQuery."""

PUBLISHED_KEY_PACKAGES: Final = "/ds/v1/federation/published-key-packages"
"""A KeyPackageRefQuery."""

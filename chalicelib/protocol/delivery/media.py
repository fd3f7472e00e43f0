"""The media types of what travels to and from a delivery service or a queueing service."""

from typing import Final

DS_MESSAGE: Final = "application/mimi-ds-message"
"""A DSMessage."""

DS_REFERENCE: Final = "application/mimi-ds-reference"
"""An UploadReference to a DSMessage."""

DS_RESPONSE: Final = "application/mimi-ds-response"
"""A DSResponse, whatever it says."""

QS_MESSAGE: Final = "application/mimi-qs-message"
"""A QSMessage."""

QS_FETCHED: Final = "application/mimi-qs-fetched"
"""The answer to fetch: Fetched."""

DS_FANOUT: Final = "application/mimi-ds-fanout"
"""An EnqueueRequest."""

DS_FANOUT_RESPONSE: Final = "application/mimi-ds-fanout-response"
"""An EnqueueResponse."""

BODY_LENGTH: Final = "Body-Length"
"""The header that says how long a message is of which an answer has some bytes."""

KEY_PACKAGES: Final = "application/mimi-key-packages"
"""A KeyPackagesQuery, from one delivery service to another."""

KEY_PACKAGE_REF: Final = "application/mimi-key-package-ref"
"""A KeyPackageRefQuery, between delivery services; it is answered like a KeyPackagesQuery."""

KEY_PACKAGES_RESPONSE: Final = "application/mimi-key-packages-response"
"""A KeyPackagesAnswer."""

"""The answers that a gateway makes itself, before or instead of the application (RFC 9457).

This table is the only place that names them: the gateway of the local run sends them, and the gateway
responses of the deployed stages say the same.
"""

import enum
import json

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:glados:problem:"


class GatewayProblem(enum.Enum):
    """Slug, status, title and default detail of each answer that a gateway makes itself."""

    NOT_FOUND = ("not-found", 404, "Not found", "no route has this path")
    BODY_TOO_LARGE = ("body-too-large", 413, "Body too large", "the body is longer than is taken here")
    MALFORMED_REQUEST = ("malformed-request", 400, "Malformed request", "the request is not valid HTTP/1.1")
    HEADERS_TOO_LARGE = ("malformed-request", 431, "Malformed request", "the header section is too long")
    REQUEST_TIMEOUT = ("timeout", 408, "Timeout", "the request did not arrive in time")
    INTEGRATION_TIMEOUT = ("timeout", 504, "Timeout", "the request took too long and was given up")
    BAD_INTEGRATION = ("internal-error", 502, "Internal error", "the answer could not be passed on")
    INTERNAL_ERROR = ("internal-error", 500, "Internal error", "the request could not be completed")

    def __init__(self, slug: str, status: int, title: str, detail: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title
        self.detail = detail

    def document(self, request_id: str, detail: str | None = None) -> bytes:
        """Return the problem document as JSON."""
        return json.dumps(
            {
                "type": TYPE_PREFIX + self.slug,
                "title": self.title,
                "status": self.status,
                "detail": detail or self.detail,
                "request_id": request_id,
            }
        ).encode()

"""Where the delivery services of a run are, for those who use them."""

import dataclasses
from typing import Any

from chalicelib.client.ds_https import Description, Https, describe

QUEUE_SUITE = 1
"""The cipher suite of queues' own keys."""


@dataclasses.dataclass(frozen=True)
class Services:
    """The delivery services of a run, by name, and what their certificates are checked against."""

    ca: str
    urls: dict[str, str]
    domains: dict[str, str]

    @classmethod
    def of(cls, endpoints: dict[str, Any]) -> "Services":
        """Read what endpoints.json says of them."""
        services = endpoints["ds"]
        return cls(
            endpoints["ca"],
            {name: one["public_url"] for name, one in services.items()},
            {name: one["domain"] for name, one in services.items()},
        )

    def describe(self, domain: str) -> Description:
        """Return what a service says of itself, which anybody may read."""
        https = Https(self._url(domain), self.ca)
        try:
            return describe(https)
        finally:
            https.close()

    def _url(self, domain: str) -> str:
        return next(url for name, url in self.urls.items() if self.domains[name] == domain)

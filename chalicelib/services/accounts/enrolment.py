"""Enrolling application providers (draft §7): what an operator does once the manual review is passed."""

import dataclasses
import re

from chalicelib.errors import InvalidValue, NotFound
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.domains import is_domain
from chalicelib.services.accounts.ports import Accounts
from chalicelib.services.accounts.state import SCOPES_OF, Account, ProviderId
from chalicelib.services.ports import Clock, Digests, Entropy, Versioned

_PROVIDER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_REGION = re.compile(r"[A-Z]{2}|001|\*", re.ASCII)
SECRET_BYTES = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Enrolment:
    """The operator's hand on the accounts; each act is one conditional write and can be repeated."""

    accounts: Accounts
    digests: Digests
    clock: Clock
    entropy: Entropy
    offered: tuple[str, ...] = SCOPES_OF["provider"]

    def enrol(
        self,
        provider_id: str,
        name: str,
        domain: str,
        *,
        review: str,
        certificates: tuple[tuple[str, int], ...],
        scopes: tuple[str, ...] | None = None,
        sms_regions: tuple[str, ...] = (),
        trusted_bulk: bool = False,
        test_numbers: bool = False,
        query_rate: int | None = None,
        send_rate: int | None = None,
    ) -> tuple[Account, str]:
        """Add an account and return it with its client secret, which is shown this once and kept as a digest.

        `certificates` are thumbprints (RFC 8705) with the moments they expire; `review` says where the evidence
        of the manual review is kept. Without `scopes` the account gets all that the stage offers, `bulk` aside.
        Raises `AlreadyExists` for a provider or certificate that is taken.
        """
        if not _PROVIDER_ID.fullmatch(provider_id):
            raise InvalidValue("a provider id has 1 to 32 lower-case letters, digits and hyphens", "provider_id")
        if not is_domain(domain):
            raise InvalidValue("a provider's domain is a lower-case DNS name", "domain")
        if not 1 <= len(name) <= 80 or not name.isprintable() or re.search(r"\d{6}", name):
            raise InvalidValue("a name has 1 to 80 printable characters and no run of six digits", "name")
        if not review.strip():
            raise InvalidValue("the evidence of the manual review is missing", "review")
        if scopes is None:
            scopes = tuple(scope for scope in self.offered if scope != "bulk")
        if not scopes or not set(scopes) <= set(self.offered):
            raise InvalidValue(f"scopes are some of: {' '.join(self.offered)}", "scopes")
        _check_certificates(certificates)
        if not all(_REGION.fullmatch(region) for region in sms_regions):
            raise InvalidValue("regions are ISO 3166 codes, or * for all", "sms_regions")
        for name_of_rate, rate in (("query_rate", query_rate), ("send_rate", send_rate)):
            if rate is not None and rate < 1:
                raise InvalidValue(
                    "a rate is a number from 1; an account that is to do nothing is suspended", name_of_rate
                )
        client_id = f"{provider_id}.{self.entropy(6).hex()}"
        secret = encode_base64url(self.entropy(SECRET_BYTES))
        account = Account(
            provider_id=ProviderId(provider_id),
            name=name,
            domain=domain,
            client_id=client_id,
            secret_tag=self.digests.digest("client-secret", client_id, secret),
            status="active",
            thumbprints=tuple(thumbprint for thumbprint, _ in certificates),
            certificate_expiry=certificates,
            scopes=tuple(scope for scope in self.offered if scope in scopes or (scope == "bulk" and trusted_bulk)),
            review=review,
            created_at=self.clock(),
            trusted_bulk=trusted_bulk,
            test_numbers=test_numbers,
            sms_regions=sms_regions,
            query_rate=query_rate,
            send_rate=send_rate,
        )
        self.accounts.create(account)
        return account, secret

    def show(self, provider_id: str) -> Account:
        """Return an account, or raise `NotFound`."""
        return self._load(provider_id).value

    def suspend(self, provider_id: str) -> Account:
        """Refuse the account's tokens and requests from now on (caches hold for up to 60 s)."""
        return self._set(provider_id, status="suspended")

    def resume(self, provider_id: str) -> Account:
        """Let a suspended account work again."""
        return self._set(provider_id, status="active")

    def rotate_secret(self, provider_id: str) -> tuple[Account, str]:
        """Replace the client secret and return the new one; the old one ends at once, tokens live on."""
        before = self._load(provider_id)
        secret = encode_base64url(self.entropy(SECRET_BYTES))
        tag = self.digests.digest("client-secret", before.value.client_id, secret)
        after = dataclasses.replace(before.value, secret_tag=tag)
        self.accounts.replace(before, after)
        return after, secret

    def set_certificates(self, provider_id: str, certificates: tuple[tuple[str, int], ...]) -> Account:
        """Replace the client certificates; two at once let a provider change its certificate without a gap."""
        _check_certificates(certificates)
        thumbprints = tuple(thumbprint for thumbprint, _ in certificates)
        return self._set(provider_id, thumbprints=thumbprints, certificate_expiry=certificates)

    def _set(self, provider_id: str, **changes: object) -> Account:
        before = self._load(provider_id)
        after = dataclasses.replace(before.value, **changes)  # type: ignore[arg-type]
        if after != before.value:
            self.accounts.replace(before, after)
        return after

    def _load(self, provider_id: str) -> Versioned[Account]:
        stored = self.accounts.load(ProviderId(provider_id))
        if stored is None:
            raise NotFound("no such application provider is enrolled")
        return stored


def _check_certificates(certificates: tuple[tuple[str, int], ...]) -> None:
    if not certificates or not all(_THUMBPRINT.fullmatch(thumbprint) for thumbprint, _ in certificates):
        raise InvalidValue("at least one certificate is needed, as base64url of its SHA-256", "certificates")

"""The stage's settings; the only place that reads the environment."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Literal

Role = Literal["provider"]


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """What tells one stage from another. Names of tables, queues and keys follow from `stage`.

    `origin` is where callers with a client certificate reach this GP, `public_origin` where anybody does.
    `trust_authority` is the public key (JWK, as JSON) that signs the trust list. `webhook_exempt_origin` lets a
    local run send webhooks to its own inbox; deployment refuses to set it.
    """

    role: Role
    stage: str
    gp: str
    gp_name: str
    origin: str
    public_origin: str
    email_from: str
    trust_authority: str
    webhook_exempt_origin: str | None


def read(environment: Mapping[str, str] = os.environ) -> Config:
    """Return the settings, or raise `LookupError` naming the first that is missing."""
    if (role := environment["GLADOS_ROLE"]) != "provider":
        raise LookupError(f"GLADOS_ROLE is {role!r}, and this project deploys: provider")
    return Config(
        role="provider",
        stage=environment["GLADOS_STAGE"],
        gp=environment["GLADOS_GP"],
        gp_name=environment.get("GLADOS_GP_NAME", environment["GLADOS_GP"]),
        origin=environment["GLADOS_ORIGIN"].rstrip("/"),
        public_origin=environment.get("GLADOS_PUBLIC_ORIGIN", environment["GLADOS_ORIGIN"]).rstrip("/"),
        email_from=environment["GLADOS_EMAIL_FROM"],
        trust_authority=environment.get("GLADOS_TRUST_AUTHORITY", ""),
        webhook_exempt_origin=environment.get("GLADOS_WEBHOOK_EXEMPT_ORIGIN") or None,
    )

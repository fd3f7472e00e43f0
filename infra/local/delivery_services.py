"""The two delivery services of the local run, admitted to each other, and their application providers' accounts."""

from typing import Any

from infra.local.authority import Identity
from infra.local.deployment import Deployment, Ground


def delivery_service(ground: Ground, name: str, region: str) -> Deployment:
    """Return the stage of a delivery service."""
    settings = {
        "GLADOS_DS_DOMAIN": domain_of(name),
        "GLADOS_DS_NAME": f"Delivery service {name.upper()}",
        # Clients that name no delivery service among a group's external senders exist, and a run should show them.
        "GLADOS_ALLOW_NO_DS_SENDER": "1",
    }
    return Deployment(ground, f"ds-{name}", "delivery", region, settings)


def domain_of(name: str) -> str:
    """Return the domain of a delivery service."""
    return f"{name}.ds.example"


def introduce(ds: Deployment, others: dict[str, Deployment]) -> None:
    """Give a delivery service its certificate, and admit the others to it."""
    ds.take_certificate()
    for name, other in others.items():
        ds.operator.run("admit-ds", domain_of(name), "--origin", other.doors.url, "--certificate", other.identity.cert)


def enrol(ds: Deployment, certificates: dict[str, Identity]) -> dict[str, dict[str, Any]]:
    """Enrol application providers whose servers manage users here; return their credentials."""
    accounts = {ap: ds.enrol(ap, certificate) for ap, certificate in certificates.items()}
    return {ap: {name: account[name] for name in ("client_id", "client_secret")} for ap, account in accounts.items()}

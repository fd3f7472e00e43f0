"""The stage's settings; the only place that reads the environment."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Literal, TypeVar, get_args

Role = Literal["provider", "delivery"]


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """What every stage has. Names of tables, queues and keys follow from `stage`.

    `name` is what people call the deployment. `origin` is where callers with a client certificate reach it,
    `public_origin` where anybody does.
    """

    role: Role
    stage: str
    name: str
    origin: str
    public_origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class ProviderConfig(Config):
    """A GLADOS provider's settings.

    `trust_authority` is the public key (JWK, as JSON) that signs the trust list. `webhook_exempt_origin` lets a
    local run send webhooks to its own inbox; deployment refuses to set it.
    """

    gp: str
    email_from: str
    trust_authority: str
    webhook_exempt_origin: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryConfig(Config):
    """A delivery service's settings.

    `ds_domain` is its name in group ids, queue configurations and signatures. `allow_no_ds_sender` takes in groups
    that do not name it among their external senders; it cannot propose removals in those. A client that has done
    nothing for `inactive_days` is removed, a group that nobody used for `unused_group_days` is deleted.
    """

    ds_domain: str
    allow_no_ds_sender: bool
    inactive_days: int
    unused_group_days: int


def read(environment: Mapping[str, str] = os.environ) -> ProviderConfig | DeliveryConfig:
    """Return the settings of the stage's role, or raise `LookupError` naming the first that is missing or wrong.

    What has no default is missing also where it is empty.
    """
    role = _needed(environment, "GLADOS_ROLE")
    stage = _needed(environment, "GLADOS_STAGE")
    origin = _origin(environment, "GLADOS_ORIGIN", None)
    public_origin = _origin(environment, "GLADOS_PUBLIC_ORIGIN", origin)
    match role:
        case "provider":
            return ProviderConfig(
                role="provider",
                stage=stage,
                name=environment.get("GLADOS_GP_NAME", _needed(environment, "GLADOS_GP")),
                origin=origin,
                public_origin=public_origin,
                gp=_needed(environment, "GLADOS_GP"),
                email_from=_needed(environment, "GLADOS_EMAIL_FROM"),
                trust_authority=environment.get("GLADOS_TRUST_AUTHORITY", ""),
                webhook_exempt_origin=environment.get("GLADOS_WEBHOOK_EXEMPT_ORIGIN") or None,
            )
        case "delivery":
            return DeliveryConfig(
                role="delivery",
                stage=stage,
                name=environment.get("GLADOS_DS_NAME", _needed(environment, "GLADOS_DS_DOMAIN")),
                origin=origin,
                public_origin=public_origin,
                ds_domain=_needed(environment, "GLADOS_DS_DOMAIN"),
                allow_no_ds_sender=_switch(environment, "GLADOS_ALLOW_NO_DS_SENDER"),
                inactive_days=_days(environment, "GLADOS_INACTIVE_DAYS", 90),
                unused_group_days=_days(environment, "GLADOS_UNUSED_GROUP_DAYS", 365),
            )
        case _:
            raise LookupError(f"GLADOS_ROLE is {role!r}, and this project deploys: {', '.join(get_args(Role))}")


Wanted = TypeVar("Wanted", bound=Config)


def as_role(wanted: type[Wanted], config: Config) -> Wanted:
    """Return the settings as those of one role, or raise `LookupError`: the stage has the other one."""
    if not isinstance(config, wanted):
        raise LookupError(f"the stage {config.stage} has the role {config.role}")  # noqa: TRY004 (of what is set)
    return config


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment[name]
    if not value:
        raise KeyError(name)
    return value


def _origin(environment: Mapping[str, str], name: str, default: str | None) -> str:
    value = (_needed(environment, name) if default is None else environment.get(name, default)).rstrip("/")
    if not value.startswith("https://"):
        raise LookupError(f"{name} is {value!r}, and it takes https://HOST or https://HOST:PORT")
    return value


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "0")
    if value not in {"0", "1"}:
        raise LookupError(f"{name} is {value!r}, and it takes 0 or 1")
    return value == "1"


def _days(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default))
    if not (value.isascii() and value.isdigit() and int(value)):
        raise LookupError(f"{name} is {value!r}, and it takes a number of days from 1")
    return int(value)

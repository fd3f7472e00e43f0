"""Settings: each role reads its own, and says which is missing or wrong."""

import pytest

from chalicelib import config
from chalicelib.config import DeliveryConfig, ProviderConfig

COMMON = {"GLADOS_STAGE": "x", "GLADOS_ORIGIN": "https://x.example/"}
PROVIDER = {**COMMON, "GLADOS_ROLE": "provider", "GLADOS_GP": "eu", "GLADOS_EMAIL_FROM": "codes@x.example"}
DELIVERY = {**COMMON, "GLADOS_ROLE": "delivery", "GLADOS_DS_DOMAIN": "eu.ds.example"}


@pytest.mark.parametrize(("environment", "kind"), [(PROVIDER, ProviderConfig), (DELIVERY, DeliveryConfig)])
def test_each_setting_without_a_default_is_missed_by_name(environment: dict[str, str], kind: type) -> None:
    assert type(config.read(environment)) is kind
    for name in environment:
        with pytest.raises(LookupError, match=name):
            config.read({key: value for key, value in environment.items() if key != name})
        with pytest.raises(KeyError, match=name):
            config.read({**environment, name: ""})


def test_a_role_that_is_not_deployed_is_refused() -> None:
    with pytest.raises(LookupError, match="this project deploys: provider, delivery"):
        config.read({**PROVIDER, "GLADOS_ROLE": "other"})


def test_what_is_not_said_of_a_delivery_service_is_the_careful_choice() -> None:
    read = config.read(DELIVERY)
    assert isinstance(read, DeliveryConfig)
    assert (read.ds_domain, read.name, read.origin) == ("eu.ds.example", "eu.ds.example", "https://x.example")
    assert read.public_origin == read.origin
    assert (read.allow_no_ds_sender, read.inactive_days, read.unused_group_days) == (False, 90, 365)


def test_a_delivery_services_choices_are_read() -> None:
    chosen = {"GLADOS_ALLOW_NO_DS_SENDER": "1", "GLADOS_INACTIVE_DAYS": "7", "GLADOS_UNUSED_GROUP_DAYS": "8"}
    read = config.read({**DELIVERY, **chosen})
    assert isinstance(read, DeliveryConfig)
    assert (read.allow_no_ds_sender, read.inactive_days, read.unused_group_days) == (True, 7, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GLADOS_ALLOW_NO_DS_SENDER", "true"), ("GLADOS_ALLOW_NO_DS_SENDER", ""),
        ("GLADOS_ORIGIN", "eu.ds.example"), ("GLADOS_PUBLIC_ORIGIN", "http://eu.ds.example"),
        ("GLADOS_PUBLIC_ORIGIN", ""),
        ("GLADOS_INACTIVE_DAYS", "0"), ("GLADOS_INACTIVE_DAYS", "-1"), ("GLADOS_UNUSED_GROUP_DAYS", "a year"),
    ],
)  # fmt: skip
def test_a_setting_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(LookupError, match=name):
        config.read({**DELIVERY, name: value})


def test_one_roles_settings_are_not_taken_for_the_others() -> None:
    read = config.read(DELIVERY)
    assert config.as_role(DeliveryConfig, read) is read
    with pytest.raises(LookupError, match="the stage x has the role delivery"):
        config.as_role(ProviderConfig, read)

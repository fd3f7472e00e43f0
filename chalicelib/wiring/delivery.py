"""What a delivery service alone is built from."""

from chalicelib import config as settings
from chalicelib import wiring


def config() -> settings.DeliveryConfig:
    """The stage's settings, which are a delivery service's."""
    return settings.as_role(settings.DeliveryConfig, wiring.config())

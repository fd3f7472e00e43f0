"""What callers import: the client of the GP's API, and the check of a webhook's signature."""

from chalicelib.client.ap_client import ApClient, ApiProblem
from chalicelib.client.webhook import InvalidWebhook, verify_webhook

__all__ = ["ApClient", "ApiProblem", "InvalidWebhook", "verify_webhook"]

"""What callers import: clients of the GP's API, of a delivery service and of a queue, and the check of a webhook."""

from chalicelib.client.ap_client import ApClient, ApiProblem
from chalicelib.client.delivery_client import DeliveryClient, JoinInfo, group_update, seal_state_key
from chalicelib.client.ds_https import DeliveryError, InvalidAnswer, NoAnswer, ServiceKey
from chalicelib.client.ds_requests import DeliveryRefused
from chalicelib.client.queue_client import Queue, QueueClient, QueueRefused
from chalicelib.client.signer import SignatureKey, Signer
from chalicelib.client.webhook import InvalidWebhook, verify_webhook
from chalicelib.protocol.delivery.directory import AddPackage
from chalicelib.protocol.delivery.group_updates import AddedClient
from chalicelib.protocol.delivery.messages import DSSenderID
from chalicelib.protocol.delivery.responses import DSErrorCode

__all__ = [
    "AddPackage",
    "AddedClient",
    "ApClient",
    "ApiProblem",
    "DSErrorCode",
    "DSSenderID",
    "DeliveryClient",
    "DeliveryError",
    "DeliveryRefused",
    "InvalidAnswer",
    "InvalidWebhook",
    "JoinInfo",
    "NoAnswer",
    "Queue",
    "QueueClient",
    "QueueRefused",
    "ServiceKey",
    "SignatureKey",
    "Signer",
    "group_update",
    "seal_state_key",
    "verify_webhook",
]

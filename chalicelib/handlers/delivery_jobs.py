"""What a delivery service does without a caller: queues and schedules. The work lies in rows; queues only hurry it."""

from chalice import Blueprint

jobs = Blueprint(__name__)

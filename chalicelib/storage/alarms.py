"""The port `Alarms`: CloudWatch metrics in the embedded metric format, one JSON line each on standard output.

CloudWatch makes metrics of such lines by itself, so an alarm costs no call and cannot fail.
"""

import json
import sys
from typing import TextIO

from chalicelib.services.ports import Clock

NAMESPACE = "glados"


class AwsAlarms:
    """Counts of one stage."""

    def __init__(self, stage: str, clock: Clock, stream: TextIO | None = None) -> None:
        self.stage = stage
        self.clock = clock
        self.stream = stream

    def raise_(self, name: str, about: str) -> None:
        """Count one `name`; `about` is written beside it and is no dimension, so metrics stay few."""
        metrics = {"Namespace": NAMESPACE, "Dimensions": [["stage"]], "Metrics": [{"Name": name, "Unit": "Count"}]}
        line = {
            "_aws": {"Timestamp": self.clock(), "CloudWatchMetrics": [metrics]},
            "stage": self.stage,
            "about": about,
            name: 1,
        }
        print(json.dumps(line), file=self.stream or sys.stdout, flush=True)

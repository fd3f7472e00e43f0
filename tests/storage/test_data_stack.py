"""The template of everything stateful says what we rely on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.aws import STACK

RESOURCES: dict[str, dict[str, Any]] = json.loads(STACK.read_text())["Resources"]


def of_type(kind: str) -> list[dict[str, Any]]:
    return [resource for resource in RESOURCES.values() if resource["Type"] == kind]


def test_cfn_lint_finds_nothing() -> None:
    lint = Path(sys.executable).with_name("cfn-lint")
    linted = subprocess.run([lint, STACK], capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("kind", ["AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::S3::Bucket"])
def test_what_cannot_be_made_again_outlives_its_stack(kind: str) -> None:
    assert of_type(kind)
    for resource in of_type(kind):
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_every_table_is_encrypted_with_our_key_and_can_be_restored() -> None:
    for table in of_type("AWS::DynamoDB::Table"):
        properties = table["Properties"]
        assert properties["SSESpecification"]["KMSMasterKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_every_queue_gives_up_into_one_that_is_watched() -> None:
    queues = [queue["Properties"] for queue in of_type("AWS::SQS::Queue")]
    redriven = [queue for queue in queues if "RedrivePolicy" in queue]
    assert sorted(queue["QueueName"]["Fn::Sub"] for queue in redriven) == [
        f"glados-${{Stage}}-{name}" for name in ("follow", "outbox", "scan", "sequence")
    ]
    assert len(queues) == 2 * len(redriven)

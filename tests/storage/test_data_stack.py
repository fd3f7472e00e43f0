"""The template of everything stateful says what we rely on."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config import Role
from chalicelib.storage import clients
from tests.contracts.aws import STACK, new_stage
from tests.infra.wired import wired

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
        f"glados-${{Stage}}-{name}" for name in ("fanout", "follow", "outbox", "scan", "sequence")
    ]
    assert len(queues) == 2 * len(redriven)


def test_nothing_refers_to_what_its_own_role_does_not_have() -> None:
    for name, resource in RESOURCES.items():
        for other in referred_to(resource) & set(RESOURCES):
            assert RESOURCES[other].get("Condition") in (None, resource.get("Condition")), (name, other)


def referred_to(part: Any) -> set[str]:
    """Return the logical ids that a part of the template names."""
    if isinstance(part, list):
        return {name for one in part for name in referred_to(one)}
    if not isinstance(part, dict):
        return set()
    named = {part["Ref"]} if "Ref" in part else set()
    named |= {part["Fn::GetAtt"][0]} if "Fn::GetAtt" in part else set()
    named |= set(re.findall(r"\$\{(\w+)", part["Fn::Sub"])) if "Fn::Sub" in part else set()
    return named | {name for one in part.values() for name in referred_to(one)}


@pytest.mark.parametrize("role", ["provider", "delivery"])
def test_a_stage_has_what_its_role_is_wired_with_and_nothing_else(role: Role) -> None:
    stage, used = new_stage(role), wired(role)
    prefix = f"glados-{stage}-"

    def own(names: Iterable[str]) -> set[str]:
        return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}

    tables = clients.client("dynamodb").get_paginator("list_tables").paginate()
    assert own(name for page in tables for name in page["TableNames"]) == used.tables & names("AWS::DynamoDB::Table")
    urls = clients.client("sqs").list_queues(QueueNamePrefix=prefix)["QueueUrls"]
    queues = used.queues & names("AWS::SQS::Queue")
    assert own(url.rpartition("/")[2] for url in urls) == queues | {f"{name}-dead" for name in queues}
    assert own(one["Name"] for one in clients.client("s3", 3).list_buckets()["Buckets"]) == used.buckets
    secrets = clients.client("secretsmanager", 3).get_paginator("list_secrets").paginate()
    assert own(one["Name"] for page in secrets for one in page["SecretList"]) == used.secrets


def names(kind: str) -> set[str]:
    """Return what any stage's resources of a kind are called, whatever its role."""
    properties = [resource["Properties"] for resource in of_type(kind)]
    called = [one.get("TableName") or one.get("QueueName") for one in properties]
    return {name["Fn::Sub"].removeprefix("glados-${Stage}-") for name in called}


def test_what_passes_through_the_object_bucket_goes_and_what_groups_refer_to_stays() -> None:
    rules = RESOURCES["ObjectBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule} == {
        "bodies/": 38, "uploads/": 2, "peers/": 2, "log/": 32,
    }  # fmt: skip

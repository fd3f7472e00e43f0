"""What `chalice package` makes of each stage: a whole template, and a zip that works by itself."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config import Role
from chalicelib.protocol.timestamps import SECOND
from chalicelib.services.delivery import account_desk, fanout, sweeping
from chalicelib.services.delivery import upkeep as delivery_upkeep
from chalicelib.services.queueing import upkeep as queueing_upkeep
from infra.package import REPOSITORY, NotPackaged, package, stages
from tests.infra.wired import wired

STAGES = stages()
QUEUES: dict[str, dict[str, str]] = {
    "provider": {"Deliver": "outbox", "Sequence": "sequence", "Follow": "follow", "Scan": "scan"},
    "delivery": {"FanOut": "fanout"},
}
MINUTE, HOUR = "rate(1 minute)", "rate(1 hour)"
SCHEDULES: dict[str, dict[str, str]] = {
    "provider": dict.fromkeys(("Sweep", "Publish", "FollowAll", "Rebuild"), MINUTE),
    "delivery": {"SweepFanout": MINUTE, "SweepAccounts": MINUTE, "TendGroups": HOUR, "ExpireQueues": HOUR},
}
PUBLIC = {"provider": "/.well-known/glados", "delivery": "/openapi.json"}

# In the function's own interpreter: answers one request, and finds every handler that the template names.
LAMBDA = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
path, *handlers = sys.argv[2:]
import app
event = {"requestContext": {"httpMethod": "GET", "resourcePath": path, "identity": {},
         "requestId": "1"}, "headers": {}, "pathParameters": None, "multiValueQueryStringParameters": None,
         "stageVariables": None, "body": None, "isBase64Encoded": False}
answer = app.app(event, None)
found = {}
for handler in handlers:
    module, _, name = handler.rpartition(".")
    found[handler] = callable(getattr(importlib.import_module(module), name))
names = ("app", "botocore", "chalice", "chalicelib", "cryptography", "msgspec")
outside = [name for name in names if not sys.modules[name].__file__.startswith(sys.argv[1])]
print(json.dumps({"answer": answer, "found": found, "outside": outside}))
"""


def index_is_reachable(folder: Path) -> bool:
    probe = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "-d", str(folder), "six"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage's template, and the zip unpacked."""
    folder = tmp_path_factory.mktemp("packages")
    try:
        package(STAGES, folder)
    except NotPackaged:
        if index_is_reachable(tmp_path_factory.mktemp("probe")):
            raise
        # Without a network nothing can be packaged, and that says nothing of the project.
        pytest.skip("the package index cannot be reached, and Chalice takes wheels from there")
    for name in STAGES:
        with zipfile.ZipFile(folder / name / "deployment.zip") as made:
            made.extractall(folder / name / "unpacked")
    return folder


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def functions(packages: Path, stage: str) -> dict[str, dict[str, Any]]:
    """The properties of each function of the stage's template."""
    resources = json.loads((packages / stage / "sam.json").read_text())["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def settings(stage: str) -> dict[str, Any]:
    config = json.loads((REPOSITORY / ".chalice" / "config.json").read_text())
    own = config["stages"][stage]
    return {**config, **own, "lambda_functions": {**config["lambda_functions"], **own.get("lambda_functions", {})}}


def role(stage: str) -> Role:
    said: Role = settings(stage)["environment_variables"]["GLADOS_ROLE"]
    return said


def test_there_is_a_stage_for_each_provider_and_each_delivery_service() -> None:
    assert {stage: role(stage) for stage in STAGES} == {
        "gp-eu": "provider", "gp-us": "provider", "ds-eu": "delivery", "ds-us": "delivery",
    }  # fmt: skip


def test_each_roles_policy_allows_its_own_tables_indexes_queues_and_bucket_and_no_others(stage: str) -> None:
    """Beside them come the dead-letter queues, which functions leave alone, and pynamodb's scan."""
    resources = json.loads((REPOSITORY / "infra" / "data-stack.json").read_text())["Resources"].values()
    condition = {"provider": "IsProvider", "delivery": "IsDelivery"}[role(stage)]
    named = {"AWS::DynamoDB::Table": "TableName", "AWS::SQS::Queue": "QueueName", "AWS::S3::Bucket": "BucketName"}
    own = [one for one in resources if one["Type"] in named and one.get("Condition") in (None, condition)]
    needed = set()
    for resource in own:
        properties = resource["Properties"]
        name = properties[named[resource["Type"]]]["Fn::Sub"].removeprefix("glados-${Stage}-")
        needed |= {name} | {f"{name}/index/{one['IndexName']}" for one in properties.get("GlobalSecondaryIndexes", [])}
    policy = json.loads((REPOSITORY / ".chalice" / settings(stage)["iam_policy_file"]).read_text())
    stated = [one["Resource"] for one in policy["Statement"] if "Resource" in one]
    arns = [arn for one in stated for arn in (one if isinstance(one, list) else [one])]
    form = re.compile(rf"arn:aws:(?:dynamodb|sqs|s3):.*glados-{stage[:2]}-\*-([a-z-]+(?:/index/[a-z]+)?)(?:/\*)?")
    allowed = {found[1] for arn in arns if (found := form.fullmatch(arn))}
    assert allowed == {name for name in needed if not name.endswith("-dead")}


def test_each_roles_policy_allows_what_its_adapters_ask_of_tables_and_nothing_more(stage: str) -> None:
    """Beside that come the scan and the description for a provider's rebuilds, of one table, as its own statement."""
    policy = json.loads((REPOSITORY / ".chalice" / settings(stage)["iam_policy_file"]).read_text())
    (tables,) = (one for one in policy["Statement"] if one["Sid"] == "Tables")
    assert set(tables["Action"]) == {f"dynamodb:{action}" for action in wired(role(stage)).actions}


def test_the_template_has_the_api_and_every_queue_handler_and_schedule(
    stage: str, functions: dict[str, dict[str, Any]]
) -> None:
    assert set(functions) == {"APIHandler", *QUEUES[role(stage)], *SCHEDULES[role(stage)]}
    for name, queue in QUEUES[role(stage)].items():
        (event,) = functions[name]["Events"].values()
        assert event["Type"] == "SQS"
        assert event["Properties"]["Queue"]["Fn::Sub"].endswith(f":glados-{stage}-{queue}")
    for name, rate in SCHEDULES[role(stage)].items():
        (event,) = functions[name]["Events"].values()
        assert (event["Type"], event["Properties"]["Schedule"]) == ("Schedule", rate)


def test_every_queue_that_is_listened_to_is_in_the_data_stack_and_waits_out_its_worker(
    stage: str, functions: dict[str, dict[str, Any]]
) -> None:
    resources = json.loads((REPOSITORY / "infra" / "data-stack.json").read_text())["Resources"].values()
    queues = {
        resource["Properties"]["QueueName"]["Fn::Sub"]: resource["Properties"]
        for resource in resources
        if resource["Type"] == "AWS::SQS::Queue"
    }
    for name, queue in QUEUES[role(stage)].items():
        stored = queues[f"glados-${{Stage}}-{queue}"]
        assert stored["VisibilityTimeout"] >= functions[name]["Timeout"], "Lambda refuses a shorter one"
        assert stored["RedrivePolicy"]


def test_every_function_gets_the_stages_settings_and_its_own_bounds(
    stage: str, functions: dict[str, dict[str, Any]]
) -> None:
    said = settings(stage)
    own = {"".join(part.title() for part in name.split("_")): one for name, one in said["lambda_functions"].items()}
    api = {"APIHandler"} if role(stage) == "delivery" else set()
    if "ApiHandler" in own:
        own["APIHandler"] = own.pop("ApiHandler")
    assert set(own) == api | {name for one in QUEUES for name in (*QUEUES[one], *SCHEDULES[one])}
    for name, properties in functions.items():
        assert properties["Environment"]["Variables"] == said["environment_variables"]
        assert properties["Timeout"] == own.get(name, {}).get("lambda_timeout", said["lambda_timeout"])
        # Who waits at a queue holds a function: callers must not have all, or nothing is delivered.
        assert properties.get("ReservedConcurrentExecutions") == own.get(name, {}).get("reserved_concurrency")
        assert properties["Runtime"] == f"python{sys.version_info.major}.{sys.version_info.minor}"


def test_the_settings_exempt_no_webhook_origin(stage: str) -> None:
    assert "GLADOS_WEBHOOK_EXEMPT_ORIGIN" not in settings(stage)["environment_variables"]


def test_the_zip_answers_in_a_clean_interpreter(
    packages: Path, stage: str, functions: dict[str, dict[str, Any]]
) -> None:
    handlers = [properties["Handler"] for properties in functions.values()]
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-B",
            "-c",
            LAMBDA,
            str(packages / stage / "unpacked"),
            PUBLIC[role(stage)],
            *handlers,
        ],
        env={**settings(stage)["environment_variables"], "AWS_REGION": "eu-central-1"},
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["answer"]["statusCode"] == 200
    assert said["found"] == dict.fromkeys(handlers, True)
    assert said["outside"] == []


def test_the_zip_holds_what_is_deployed_and_nothing_of_ours_beside(packages: Path, stage: str) -> None:
    unpacked = packages / stage / "unpacked"
    for name in ("tests", "infra", ".chalice", "pyproject.toml", "README.md", "requirements.txt"):
        assert not (unpacked / name).exists()
    ours = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "chalicelib").rglob("*.py")} | {"app.py"}
    packed = {str(path.relative_to(unpacked)) for path in (unpacked / "chalicelib").rglob("*") if path.is_file()}
    assert packed | {"app.py"} == ours
    assert all((unpacked / name).read_bytes() == (REPOSITORY / name).read_bytes() for name in ours)


def test_workers_end_before_they_are_killed() -> None:
    """Each begins nothing more after a time; what it has begun then has half a minute."""
    said = settings(STAGES[0])["lambda_functions"]
    ends = {
        "fan_out": fanout.WORK,
        "sweep_fanout": sweeping.WORK,
        "sweep_accounts": account_desk.WORK + account_desk.TURN,
        "tend_groups": delivery_upkeep.STEP + delivery_upkeep.TURN,
        "expire_queues": queueing_upkeep.TIME,
    }
    for name, end in ends.items():
        assert end / SECOND + 30 <= said[name]["lambda_timeout"], name

"""AWS on one machine: one ministack process, on loopback only, with all its files in one folder."""

import http.client
import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import botocore.session

from infra.local.listener import hold_port
from infra.local.supervisor import Child, Supervisor

SECRET_ACCESS_KEY = "test"  # Presigned URLs verify with this one only.
ACCOUNT = "000000000000"
HEALTH_SECONDS = 60.0


class NotInstalled(RuntimeError):
    """The emulated AWS is not there to be started."""


class Emulator:
    """A running ministack, whose children are told where it is by `environment`."""

    def __init__(self, port: int, child: Child) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.child = child
        self._session = botocore.session.get_session()

    @classmethod
    def start(cls, supervisor: Supervisor) -> Self:
        """Start it as a child of `supervisor`, and return once it answers; raise `NotInstalled` where it cannot be."""
        if importlib.util.find_spec("ministack") is None:
            raise NotInstalled("AWS is emulated by ministack, which is not installed: pip install -e '.[local]'")
        folder = supervisor.folder / "emulator"
        for name in ("state", "s3", "tmp"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        held = hold_port()
        port: int = held.getsockname()[1]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "STATE_DIR": str(folder / "state"),
            "S3_DATA_DIR": str(folder / "s3"),
            "GATEWAY_PORT": str(port),
            # Everything on loopback: two of its services would otherwise listen on every interface.
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            # At INFO its log would hold the addresses and subjects of all mail.
            "LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "ministack"]
        with held:
            emulator = cls(port, supervisor.start("emulator", command, environment=environment))
            emulator._await_health()
        return emulator

    def environment(self, region: str) -> dict[str, str]:
        """Return the variables by which a process in `region` finds the emulator, and no real AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_DEFAULT_REGION": region,
            "AWS_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str, region: str) -> Any:
        """Return an AWS client of a service in `region`, which the caller closes."""
        return self._session.create_client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key=SECRET_ACCESS_KEY,
        )

    def create_stack(
        self, region: str, name: str, template: Path, parameters: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Create a CloudFormation stack and return its outputs, or raise RuntimeError saying what failed."""
        cloudformation = self.client("cloudformation", region)
        try:
            cloudformation.create_stack(
                StackName=name,
                TemplateBody=template.read_text(),
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()
                ],
                Capabilities=["CAPABILITY_NAMED_IAM"],
            )
            return _outputs(cloudformation, name)
        finally:
            cloudformation.close()

    def _await_health(self) -> None:
        """Return once the emulator answers; raise if it dies or stays silent."""
        deadline = time.monotonic() + HEALTH_SECONDS
        while time.monotonic() < deadline:
            self.child.check()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2.0)
            try:
                connection.request("GET", "/_ministack/health")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except OSError:
                time.sleep(0.02)  # Not listening yet, and nothing tells us when it will.
            finally:
                connection.close()
        raise TimeoutError(f"the emulator did not answer; its log ends:\n{self.child.tail()}")


def _outputs(cloudformation: Any, name: str) -> dict[str, str]:
    """Wait for a stack to be created."""
    deadline = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < deadline:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.05)  # The API has no way to wait but to ask again.
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    failures = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
        for event in events
        if event["ResourceStatus"].endswith("_FAILED")
    ]
    raise RuntimeError(f"the stack {name} was not created: {'; '.join(failures) or stack['StackStatus']}")

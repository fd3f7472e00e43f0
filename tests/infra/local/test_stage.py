"""Stages as processes: they start, serve, stop when told, and never outlive whoever started them."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.authority import Authority, client_context
from infra.local.emulator import Emulator
from infra.local.stage import Doors, StageSettings, start_stage
from infra.local.supervisor import ChildDied, Supervisor, announce_ready, sigterm_raises, write_endpoints
from tests.infra.local.conftest import REGION

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path) as crew:
        yield crew


def python(crew: Supervisor, name: str, code: str) -> int:
    """Start a child that runs `code`, and return its process id once it is ready."""
    preamble = "from infra.local.supervisor import announce_ready\n"
    child = crew.start(name, [sys.executable, "-c", preamble + code], environment={})
    child.await_ready()
    return child.process.pid


def ends(pid: int, seconds: float = 60.0) -> bool:
    """Wait for a process that may not be ours to end."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def settings_of(authority: Authority, emulator: Emulator, app: str = "tests.infra.local.toy:app") -> StageSettings:
    return StageSettings(
        name="toy",
        app=app,
        environment=emulator.environment(REGION),
        ca=authority.cert,
        server=authority.issue_server("toy"),
    )


def get(url: str, authority: Authority, path: str) -> tuple[int, bytes]:
    context = client_context(authority.cert, authority.issue_client("bob"))
    connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_stage_serves_both_doors_and_stops_when_told(
    crew: Supervisor, authority: Authority, emulator: Emulator
) -> None:
    doors = Doors()
    child = start_stage(crew, settings_of(authority, emulator), doors)
    child.await_ready()
    main, public = (json.loads(get(url, authority, "/who")[1]) for url in (doors.url, doors.public_url))
    assert ("clientCert" in main["identity"], "clientCert" in public["identity"]) == (True, False)
    child.stop()
    assert child.process.returncode == 0
    log = child.log.read_text()
    assert "GET /who 200" in log
    with pytest.raises(ConnectionError):
        get(doors.url, authority, "/who")


def test_settings_and_logs_are_for_their_owner_only(
    crew: Supervisor, authority: Authority, emulator: Emulator, tmp_path: Path
) -> None:
    start_stage(crew, settings_of(authority, emulator), Doors()).await_ready()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_stage_that_cannot_start_is_reported_with_the_end_of_its_log(
    crew: Supervisor, authority: Authority, emulator: Emulator
) -> None:
    child = start_stage(crew, settings_of(authority, emulator, app="tests.infra.local.toy:nobody"), Doors())
    with pytest.raises(ChildDied, match="has no attribute 'nobody'"):
        child.await_ready()


def test_a_dead_child_is_noticed_at_once(crew: Supervisor) -> None:
    python(crew, "steady", "import time; announce_ready(); time.sleep(600)")
    pid = python(crew, "frail", "import time; print('my last words', flush=True); announce_ready(); time.sleep(600)")
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ChildDied, match=r"frail ended with status -9.*\n.*my last words"):
        crew.wait(120)
    assert time.monotonic() - began < 60


def test_children_are_stopped_together_but_for_the_first_which_goes_last(tmp_path: Path) -> None:
    code = """
import signal, sys, time
def say(what):
    open({path!r}, "a").write(what)
def stop(*_):
    say({name!r}.lower())
    while not set({waits_for!r}) <= set(open({path!r}).read()):
        time.sleep(0.01)
    say({name!r})
    sys.exit()
signal.signal(signal.SIGTERM, stop)
announce_ready()
while True: signal.pause()
"""
    path = tmp_path / "said"
    waits_for = {"A": "", "B": "c", "C": "b"}
    with Supervisor(tmp_path) as crew:
        pids = [python(crew, name, code.format(path=str(path), name=name, waits_for=waits_for[name])) for name in "ABC"]
    said = path.read_text()
    assert set(said[:-2]) == set("bcBC")
    assert said[-2:] == "aA"
    assert all(ends(pid) for pid in pids)


def test_a_child_that_ignores_sigterm_is_killed(crew: Supervisor) -> None:
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nannounce_ready()\n"
    python(crew, "stubborn", ignoring + "while True: signal.pause()")
    child = crew.children[0]
    child.stop(seconds=0.2)
    assert child.process.returncode == -signal.SIGKILL


PARENT = """
import signal, sys
from pathlib import Path
from infra.local.supervisor import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # In the background, a shell has it ignored.
with sigterm_raises(), Supervisor(Path(sys.argv[1])) as crew:
    child = crew.start("child", [sys.executable, "-c", "import signal; print(1, flush=True); signal.pause()"],
                       environment={})
    print(child.process.pid, flush=True)
    crew.wait()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_child_outlives_its_parent_however_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        log = tmp_path / "logs" / "child.log"
        while not log.read_text():
            assert parent.poll() is None
        parent.send_signal(how)
        parent.wait(60)
    assert ends(child)


def test_sigterm_raises_only_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BaseException, match=r"^$") as caught, sigterm_raises():  # noqa: PT012 - the signal is the test
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert caught.typename == "Stopped"
    assert signal.getsignal(signal.SIGTERM) is before


def test_endpoints_are_written_whole_and_for_their_owner_only(tmp_path: Path) -> None:
    write_endpoints(tmp_path, {"inbox": "old"})
    path = write_endpoints(tmp_path, {"inbox": "http://127.0.0.1:1"})
    assert json.loads(path.read_text()) == {"inbox": "http://127.0.0.1:1"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["endpoints.json"]


def test_announcing_without_a_supervisor_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLADOS_LOCAL_LIFELINE", raising=False)
    with pytest.raises(KeyError):
        announce_ready()

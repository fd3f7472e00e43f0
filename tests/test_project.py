"""The house itself: its floors, its dependencies, how fast it wakes, and how long its rooms are."""

import ast
import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
DEPLOYED = sorted((REPOSITORY / "chalicelib").rglob("*.py"))
LONGEST_FILE = 400
SLOWEST_IMPORT = {
    "gp-eu": 1.5,
    # Above what we want of a cold start: it loads all of MLS, and half of that time goes into making dataclasses.
    "ds-eu": 2.25,
}
ROUNDS, MOST_ROUNDS = 5, 25

# Importing botocore alone does nothing yet: a first client loads most of it, and a model.
BOTOCORE = "import botocore.session; botocore.session.get_session().create_client('dynamodb')"
TIMED = """
import time
began = time.process_time()  # Other programs on the machine do not count.
{what}
print(time.process_time() - began)
"""


def environment(stage: str) -> dict[str, str]:
    config = json.loads((REPOSITORY / ".chalice" / "config.json").read_text())
    settings: dict[str, str] = config["stages"][stage]["environment_variables"]
    return {**settings, "AWS_DEFAULT_REGION": "eu-central-1"}


# What only one role needs, by how its modules' names begin.
ROOMS = {
    "provider": (
        "protocol.glados",
        "services.provider",
        "storage.keyring",
        "wiring.provider",
        "handlers.client_doors",
        "handlers.federation_doors",
        "handlers.provider_description",
        "handlers.provider_jobs",
    ),
    "delivery": (
        "protocol.delivery",
        "protocol.mls",
        "services.delivery",
        "services.queueing",
        "storage.ds_peers",
        "wiring.delivery",
        "wiring.groups",
        "handlers.delivery_description",
        "handlers.delivery_jobs",
        "handlers.ds_account_doors",
        "handlers.ds_doors",
        "handlers.ds_federation_doors",
        "handlers.ds_refusals",
        "handlers.qs_doors",
    ),
}
NEEDED_LATER = {
    "gp-eu": {"email_validator", "phonenumbers", "pynamodb"},
    "ds-eu": {"email_validator", "phonenumbers", "pynamodb", "jwt"},
}
STAGES = pytest.mark.parametrize("stage", ["gp-eu", "ds-eu"])


def python(stage: str, code: str) -> str:
    """Run code in a fresh interpreter of a deployed stage."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(stage), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def project() -> dict[str, Any]:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def test_what_is_deployed_is_what_the_project_depends_on(project: dict[str, Any]) -> None:
    deployed = (REPOSITORY / "requirements.txt").read_text().split()
    assert sorted(deployed) == sorted(project["project"]["dependencies"])


def test_every_dependency_is_pinned(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"].values()
    for requirement in (*project["project"]["dependencies"], *(one for extra in extras for one in extra)):
        assert "==" in requirement or requirement.startswith("glados-mimi["), requirement


def test_imports_point_down_only() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_app_only_registers() -> None:
    """It is a module by itself, which import-linter does not read."""
    imported = {
        name
        for node in ast.walk(ast.parse((REPOSITORY / "app.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert imported == {"importlib", "chalicelib", "chalicelib.handlers.routing"}


def test_only_config_reads_the_environment() -> None:
    readers = [path.name for path in DEPLOYED if {"environ", "getenv"} & names_in(path)]
    assert readers == ["config.py"]


def names_in(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        node.id for node in nodes if isinstance(node, ast.Name)
    }


@STAGES
def test_the_app_wakes_hardly_slower_than_botocore(stage: str) -> None:
    best = {"import app": math.inf, BOTOCORE: math.inf}
    for turn in range(MOST_ROUNDS):
        # In turns, so that what else the machine does meets both; the best of many is what it takes undisturbed.
        for what, least in best.items():
            best[what] = min(least, float(python(stage, TIMED.format(what=what))))
        if turn >= ROUNDS and best["import app"] / best[BOTOCORE] < SLOWEST_IMPORT[stage]:
            return
    pytest.fail(f"it takes {best}")


@STAGES
def test_what_a_cold_start_does_not_need_is_not_imported_and_nothing_is_built(stage: str) -> None:
    loaded = set(
        python(
            stage,
            "import app, sys\n"
            "from chalicelib.storage import clients\n"
            "assert clients.session.cache_info().currsize == 0, 'a session was made'\n"
            "print(*sys.modules)",
        ).split()
    )
    assert loaded & {"boto3", "pydantic", "numpy", "moto", "pytest", "unittest.mock"} == set()
    assert loaded & NEEDED_LATER[stage] == set()


@STAGES
def test_a_role_loads_its_own_doors_and_use_cases_and_nothing_of_the_other_role(stage: str) -> None:
    loaded = set(python(stage, "import app, sys; print(*sys.modules)").split())
    role = environment(stage)["GLADOS_ROLE"]
    own, (other,) = ROOMS[role], [rooms for name, rooms in ROOMS.items() if name != role]
    assert [room for room in own if f"chalicelib.{room}" not in loaded] == []
    foreign = tuple(f"chalicelib.{room}" for room in other)
    assert {name for name in loaded if name.startswith(foreign)} == set()


@pytest.mark.parametrize("folder", ["chalicelib", "infra"])
def test_no_file_is_longer_than_one_can_read(folder: str) -> None:
    lines = {str(path): len(path.read_text().splitlines()) for path in (REPOSITORY / folder).rglob("*.py")}
    assert {path: length for path, length in lines.items() if length > LONGEST_FILE} == {}


def test_no_fixture_is_kept_for_longer_than_what_it_was_made_of(request: pytest.FixtureRequest) -> None:
    """A folder that has something of its own in its parent's place has all that is made of it, too.

    Else the tests' order decides whose it is: pytest makes such a fixture once for the folder that defines it.
    """
    for item in request.session.items:
        known = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - pytest shows this nowhere else
        for fixture in [defined[-1] for defined in known.values() if defined[-1].scope in {"package", "session"}]:
            made_of = [known[name][-1] for name in fixture.argnames if name in known]
            inner = [one.argname for one in made_of if one.baseid.startswith(f"{fixture.baseid}/")]
            assert not inner, f"{item.nodeid}: {fixture.argname} is kept for {fixture.baseid} and made of {inner}"

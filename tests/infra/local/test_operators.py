"""The operators of a run: many commands, one process, and each failure told to who gave the command."""

from pathlib import Path

import pytest

from infra.local.emulator import Emulator
from infra.local.operators import Operator
from tests.infra.local.conftest import REGION


@pytest.fixture
def operator(emulator: Emulator) -> Operator:
    settings = {
        "GLADOS_ROLE": "delivery",
        "GLADOS_STAGE": "never-made",
        "GLADOS_DS_DOMAIN": "eu.ds.example",
        "GLADOS_ORIGIN": "https://eu.ds.example",
    }
    return Operator("never-made", {**emulator.environment(REGION), **settings})


def test_a_failure_is_told_and_the_next_command_still_runs(operator: Operator, tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    commands = {
        "ResourceNotFoundException": ("show", "nobody"),
        "FileNotFoundError": (
            "admit-ds",
            "us.ds.example",
            "--origin",
            "https://us.ds.example",
            "--certificate",
            missing,
        ),
        "no command": ("dance",),
    }
    for complaint, command in commands.items():
        with pytest.raises(RuntimeError, match=f"infra.operator {command[0]} failed on never-made: .*{complaint}"):
            operator.run(*command)
    operator.dismiss()
    operator.dismiss()


def test_an_operator_that_is_gone_is_noticed(operator: Operator) -> None:
    operator._process.kill()
    operator._process.wait()
    with pytest.raises(RuntimeError, match="the operator is gone"):
        operator.run("show", "nobody")
    operator.dismiss()

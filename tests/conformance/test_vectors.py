"""The MLS working group's vectors, and the runner that others point at folders of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.vectors import FORMATS, run, run_file

OWN = Path(__file__).parent.parent / "vectors" / "mls"
FILES = sorted(path.name for path in OWN.glob("*.json"))


@pytest.mark.parametrize("name", FILES)
def test_every_vector_that_the_project_carries_passes(name: str) -> None:
    result = run_file(OWN / name)
    assert result.good, result.failures


@pytest.mark.parametrize("name", FILES)
def test_every_vector_of_the_working_group_passes(name: str, shared: Path) -> None:
    result = run_file(shared / "vectors" / "mls" / name)
    assert result.good, result.failures


def test_the_project_carries_vectors_of_every_file_of_the_working_group(shared: Path) -> None:
    assert sorted(path.name for path in (shared / "vectors" / "mls").glob("*.json")) == FILES


def _spoil(value: object) -> object:
    """Change the first hexadecimal digit found that a vector expects as a result."""
    if isinstance(value, str):
        return ("1" if value[0] == "0" else "0") + value[1:]
    raise TypeError


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("tree-operations.json", "tree_hash_after"),
        ("transcript-hashes.json", "confirmed_transcript_hash_after"),
        ("psk_secret.json", "psk_secret"),
        ("passive-client-handling-commit.json", "initial_epoch_authenticator"),
        ("message-protection.json", "membership_key"),
        ("welcome.json", "signer_pub"),
    ],
)
def test_a_wrong_vector_fails(name: str, member: str, tmp_path: Path) -> None:
    entries = json.loads((OWN / name).read_bytes())
    entries[0][member] = _spoil(entries[0][member])
    spoiled = tmp_path / "renamed.json"
    spoiled.write_text(json.dumps(entries))
    result = run_file(spoiled)
    assert (result.passed, result.total) == (len(entries) - 1, len(entries))
    assert not result.good


def test_a_file_that_is_not_understood_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "unheard-of.json").write_text('[{"a": 1}]')
    (tmp_path / "broken.json").write_text("[")
    (tmp_path / "empty.json").write_text("[]")
    assert [result.good for result in run(tmp_path)] == [False, False, False]


def test_the_runner_prints_passed_and_total_and_exits_by_them(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_bytes((OWN / "deserialization.json").read_bytes())
    command = [sys.executable, "-m", "tests.conformance.vectors", str(tmp_path)]
    good = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout) == (0, "some.json: 14/14\n")
    (tmp_path / "other.json").write_text("[1]")
    bad = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "other.json: 0/0" in bad.stdout


def test_no_two_formats_can_be_mistaken_for_each_other() -> None:
    for name in FILES:
        entry = json.loads((OWN / name).read_bytes())[0]
        matching = [known for known, (members, _) in FORMATS.items() if members <= entry.keys()]
        assert len(matching) == 1, (name, matching)

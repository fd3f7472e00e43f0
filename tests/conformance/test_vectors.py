"""The MLS working group's vectors, and the runner that others point at folders of their own."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chalicelib.client.mls_path import climb, open_path_secret
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.plain_tree import encode_tree
from tests.conformance.vectors import FORMATS, run, run_file
from tests.protocol.mls.story import Story, commit_of

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


def treekem_vector(story: Story) -> dict[str, Any]:
    """Return a vector of the treekem format, of a story's group and honest commits of its members."""
    members = list(story.members.values())
    context = dataclasses.replace(story.group.context, epoch=story.group.epoch + 1)
    updates = []
    for name, member in story.members.items():
        pending = story.pending(name)
        after = pending.staged.applied.draft
        path = commit_of(pending.commit).path
        assert path is not None
        shared: list[str | None] = [None] * story.group.tree.leaf_capacity
        for other in members:
            if other is not member:
                at = dataclasses.replace(context, tree_hash=after.tree_hash)
                _, secret = open_path_secret(
                    member.suite, after, member.leaf_index, path, other.leaf_index, other.keys, (), at
                )
                shared[other.leaf_index] = secret.hex()
        first = next(other for other in members if other is not member)
        start = tree_math.common_ancestor(first.leaf_index, member.leaf_index)
        secret = bytes.fromhex(shared[first.leaf_index] or "")
        updates.append(
            {
                "sender": member.leaf_index,
                "update_path": path.encode().hex(),
                "path_secrets": shared,
                "commit_secret": climb(member.suite, after, member.leaf_index, start, secret)[1].hex(),
                "tree_hash_after": after.tree_hash.hex(),
            }
        )
    return {
        "cipher_suite": story.suite,
        "group_id": context.group_id.hex(),
        "epoch": context.epoch,
        "confirmed_transcript_hash": context.confirmed_transcript_hash.hex(),
        "ratchet_tree": encode_tree(story.group.tree).hex(),
        "leaves_private": [
            {
                "index": member.leaf_index,
                "encryption_priv": member.keys[2 * member.leaf_index].private.hex(),
                "signature_priv": member.identity.signature_private.hex(),
                "path_secrets": [],
            }
            for member in members
        ],
        "update_paths": updates,
    }


def test_treekem_vectors_are_understood(tmp_path: Path) -> None:
    story = Story("alice", "bob")
    vector = treekem_vector(story)
    good = tmp_path / "treekem.json"
    good.write_text(json.dumps([vector]))
    assert run_file(good).failures == []
    vector["update_paths"][0]["tree_hash_after"] = "00" * 32
    good.write_text(json.dumps([vector]))
    assert not run_file(good).good


def test_no_two_formats_can_be_mistaken_for_each_other() -> None:
    for name in FILES:
        entry = json.loads((OWN / name).read_bytes())[0]
        matching = [known for known, (members, _) in FORMATS.items() if members <= entry.keys()]
        assert len(matching) == 1, (name, matching)

"""The ledger of checks, executed: what it says is in the code, and what the code cites is in it."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
REQUIREMENTS = tomllib.loads((Path(__file__).parent / "requirements.toml").read_text())["requirement"]
IDS = [requirement["id"] for requirement in REQUIREMENTS]
ENFORCED = [requirement for requirement in REQUIREMENTS if "where" in requirement]
LEFT = [requirement for requirement in REQUIREMENTS if "left" in requirement]

_ID = r"(?:mls|ext|ds)-\d+(?:\.\d+)*(?:-\d+)?|mds-[a-z]+(?:-[a-z]+)*-\d+"
ID = re.compile(rf"(?<![a-z-])(?:{_ID})\b")
RAISED = re.compile(rf"""["']({_ID})["']""")
CODE = [
    ROOT / "chalicelib" / "protocol" / "crypto.py",
    *sorted((ROOT / "chalicelib" / "protocol" / "mls").glob("*.py")),
    *sorted((ROOT / "chalicelib" / "protocol" / "delivery").glob("*.py")),
    *sorted((ROOT / "chalicelib" / "services" / "delivery").glob("*.py")),
    ROOT / "chalicelib" / "handlers" / "ds_refusals.py",
]
TESTS = [
    *sorted((ROOT / "tests" / "protocol" / "mls").glob("*.py")),
    *sorted((ROOT / "tests" / "protocol" / "delivery").glob("*.py")),
    *sorted((ROOT / "tests" / "services" / "delivery").rglob("*.py")),
]

AREAS = (
    *("remove", "cover", "sender", "fresh", "create", "senders", "successor", "op", "delete", "close"),
    *("queue-info", "welcome-info", "external-info", "vouch", "add-users", "added", "domain", "welcome"),
    *("remove-users", "add-clients", "remove-clients", "update", "resync", "join", "send"),
    *("propose", "self-remove", "fanout", "sealed", "admin"),
    *("directory", "claim", "upload", "account", "proxy"),
)
"""What the delivery service checks, in the order of draft -02, and then what later drafts and its own contract add."""


def named(requirement: dict[str, str]) -> str:
    return requirement["id"]


def order(identity: str) -> tuple[int, list[int], int]:
    """Return where an id belongs: by document, section and number."""
    if identity.startswith("mds-"):
        area, _, last = identity.removeprefix("mds-").rpartition("-")
        return 3, [AREAS.index(area)], int(last)
    document, section, *number = identity.split("-")
    return (
        ("mls", "ext", "ds").index(document),
        [int(part) for part in section.split(".")],
        int(number[0]) if number else 0,
    )


@functools.cache
def functions(path: Path) -> dict[str, str]:
    """Return the source of each function of a file, decorators included."""
    source = path.read_text()
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name] = "\n".join(lines[start - 1 : node.end_lineno])
    return found


def test_the_ledger_is_in_the_order_of_the_texts_and_names_each_check_once() -> None:
    assert sorted(IDS, key=order) == IDS
    assert len(set(IDS)) == len(IDS)


def test_each_check_is_either_enforced_and_tested_or_left_for_a_reason() -> None:
    for requirement in REQUIREMENTS:
        assert requirement["text"]
        assert requirement.keys() in ({"id", "text", "where", "test"}, {"id", "text", "left"})


@pytest.mark.parametrize("requirement", ENFORCED, ids=named)
def test_what_is_enforced_is_cited_where_it_says(requirement: dict[str, str]) -> None:
    assert requirement["id"] in ID.findall((ROOT / requirement["where"]).read_text())


@pytest.mark.parametrize("requirement", ENFORCED, ids=named)
def test_what_is_enforced_is_proved_by_the_test_it_names(requirement: dict[str, str]) -> None:
    path, _, name = requirement["test"].partition("::")
    assert requirement["id"] in ID.findall(functions(ROOT / path)[name])


def test_no_check_is_raised_or_cited_that_the_ledger_does_not_have() -> None:
    cited = {found for path in CODE + TESTS for found in ID.findall(path.read_text())}
    assert cited <= set(IDS)


def test_every_id_that_the_code_raises_is_enforced() -> None:
    raised = {found for path in CODE for found in RAISED.findall(path.read_text())}
    enforced = {requirement["id"] for requirement in ENFORCED}
    behind = {"mls-12.1.2-2"}  # It stands behind other checks, as the ledger says.
    assert raised - enforced == behind


def test_what_is_left_is_not_raised() -> None:
    raised = {found for path in CODE for found in RAISED.findall(path.read_text())}
    assert {requirement["id"] for requirement in LEFT} & raised == {"mls-12.1.2-2"}

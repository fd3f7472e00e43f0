"""What a role is wired with: the tables, queues, bucket and secret that its adapters name, and how they ask DynamoDB.

`python -m tests.infra.wired ROLE` builds all that the role's wiring can build, in an interpreter of its own; AWS is
not asked. From the adapters that come of it, and from what those refer to within storage, it takes the constants that
say what a table or a queue is called.
"""

import dataclasses
import functools
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from chalicelib.config import Role
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.queues import Queues

REPOSITORY = Path(__file__).parents[2]
STAGES: dict[str, str] = {"provider": "gp-eu", "delivery": "ds-eu"}
MODULES: dict[str, tuple[str, ...]] = {"provider": ("provider",), "delivery": ("delivery", "groups")}
ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "Check": "ConditionCheckItem",
    "batch_write": "BatchWriteItem",
    "query": "Query",
    "DoesNotExist": "GetItem",
}
"""DynamoDB's actions by what adapters use for them. Pynamodb reads one row with another action than we do."""


@dataclasses.dataclass(frozen=True)
class Wired:
    """What adapters name; among the tables and queues stand other constants too."""

    tables: frozenset[str]
    queues: frozenset[str]
    buckets: frozenset[str]
    secrets: frozenset[str]
    actions: frozenset[str]


@functools.cache
def wired(role: Role) -> Wired:
    """Return what a role is wired with."""
    config = json.loads((REPOSITORY / ".chalice" / "config.json").read_text())
    settings = config["stages"][STAGES[role]]["environment_variables"]
    authority = {"GLADOS_TRUST_AUTHORITY": "{}"} if role == "provider" else {}  # The operator gives the real one.
    environment = {**os.environ, **settings, **authority, "AWS_DEFAULT_REGION": "eu-central-1"}
    command = [sys.executable, "-m", "tests.infra.wired", role]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return Wired(**{name: frozenset(found) for name, found in json.loads(done.stdout).items()})


def built(role: str) -> list[Any]:
    """Return the adapters that a role's wiring leads to."""
    found: dict[int, Any] = {}

    def walk(thing: Any) -> None:
        if isinstance(thing, MethodType):
            walk(thing.__self__)
        elif isinstance(thing, dict | list | tuple):
            for one in thing.values() if isinstance(thing, dict) else thing:
                walk(one)
        elif type(thing).__module__.startswith("chalicelib") and id(thing) not in found:
            found[id(thing)] = thing
            for one in parts_of(thing):
                walk(one)

    for module in ("", *(f".{name}" for name in MODULES[role])):
        for make in vars(importlib.import_module(f"chalicelib.wiring{module}")).values():
            if isinstance(make, functools._lru_cache_wrapper):
                walk(make())
    return [thing for thing in found.values() if of_storage(type(thing))]


def parts_of(thing: Any) -> list[Any]:
    """Return the values of an object's attributes."""
    names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
    return [getattr(thing, name, None) for name in names]


def of_storage(thing: Any) -> bool:
    """Tell whether a class or function is one of the adapters'."""
    return str(getattr(thing, "__module__", "")).startswith("chalicelib.storage")


def referred_to(adapters: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what adapters refer to by name, and what it stands for where that is known."""
    waiting: list[Any] = [type(adapter) for adapter in adapters]
    seen: set[int] = set()
    while waiting:
        thing = inspect.unwrap(waiting.pop())
        if id(thing) in seen or not of_storage(thing):
            continue
        seen.add(id(thing))
        if isinstance(thing, type):
            waiting += [getattr(one, "__func__", one) for one in vars(thing).values()]
        elif isinstance(thing, FunctionType):
            names = set(names_in(thing.__code__))
            known = thing.__globals__
            modules = [vars(known[name]) for name in names if isinstance(known.get(name), ModuleType)]
            for name in names:
                values = [place[name] for place in (known, *modules) if name in place]
                waiting += [value for value in values if callable(value)]
                yield from ((name, value) for value in values or [None])


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that a function refers to, and its inner functions."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names_in(inner)


def main(role: str) -> None:
    """Print what a role is wired with."""
    adapters, prefix = built(role), f"glados-{STAGES[role]}-"
    sending = [one for one in adapters if any(isinstance(part, Queues) for part in parts_of(one))]
    storing = list(referred_to([one for one in adapters if one not in sending and not isinstance(one, Database)]))
    found = {
        "tables": {value for _, value in storing if isinstance(value, str)},
        "queues": {value for _, value in referred_to(sending) if isinstance(value, str)},
        "buckets": {one.bucket.removeprefix(prefix) for one in adapters if isinstance(getattr(one, "bucket", 0), str)},
        "secrets": {one.secret_name.removeprefix(prefix) for one in adapters if hasattr(one, "secret_name")},
        "actions": {ACTIONS[name] for name, _ in storing if name in ACTIONS} | {"BatchGetItem"},
    }
    print(json.dumps({name: sorted(values) for name, values in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1])

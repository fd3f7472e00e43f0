"""Fuzz one target, or all, for a while: `python -m tests.fuzz [TARGET] [--seconds N] [--seed N] [--collect]`.

What breaks a target is written down beside its corpus and stays there as a test. `--collect` writes the first corpus
anew, from honest values.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chalicelib.errors import DecodeError
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import STRUCTS, TARGETS, seeds
from tests.fuzz.test_fuzz import CORPUS, corpus, folder


def collect() -> None:
    """Write down some honest values of each target."""
    for name, values in seeds().items():
        for value in values:
            keep(name, value)
    for struct, strategy in STRUCTS.items():
        for value in examples(strategy):
            keep(struct.__name__, value)


def examples(strategy: st.SearchStrategy[Any]) -> list[bytes]:
    """Return four values of a strategy, encoded, neither the smallest nor all alike."""
    found: set[bytes] = set()

    @settings(
        max_examples=30,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(value: Any) -> None:
        found.add(value.encode())

    gather()
    return sorted(found, key=len)[-8::2]


def keep(name: str, data: bytes) -> None:
    """Write some bytes into a target's corpus."""
    place = folder(name)
    place.mkdir(parents=True, exist_ok=True)
    (place / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def fuzz(name: str, seconds: float, source: random.Random) -> bool:
    """Try changed values on a target for a while; say whether all went well."""
    known, tries, stop = corpus(name), 0, time.monotonic() + seconds
    while time.monotonic() < stop:
        data = mutate(source, known)
        tries += 1
        try:
            TARGETS[name](data)
        except DecodeError:
            continue
        except Exception:  # noqa: BLE001 - whatever it is, it is what we are looking for
            keep(name, data)
            traceback.print_exc()
            print(f"{name}: broken after {tries} tries")
            return False
    print(f"{name}: {tries} tries")
    return True


def main() -> int:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--collect", action="store_true")
    asked = parser.parse_args()
    if asked.collect:
        collect()
        print(f"collected into {CORPUS.name}")
        return 0
    names = [asked.target] if asked.target else sorted(TARGETS)
    went_well = [fuzz(name, asked.seconds, random.Random(asked.seed)) for name in names]
    return 0 if all(went_well) else 1


if __name__ == "__main__":
    sys.exit(main())

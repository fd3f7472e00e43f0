"""Any bytes in, `DecodeError` or an honest value out: each target on its corpus, and on changed copies of it."""

import contextlib
import random
import tracemalloc
from pathlib import Path

import pytest

from chalicelib.errors import DecodeError
from chalicelib.protocol.tls import MESSAGE_ELEMENTS
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
TRIES = 400


def folder(name: str) -> Path:
    """Return where a target's corpus lies."""
    return CORPUS / name.replace(" ", "_")


def corpus(name: str) -> list[bytes]:
    """Return a target's corpus; every target may start from nothing, too."""
    return [b"", *(path.read_bytes() for path in sorted(folder(name).glob("*")))]


def test_every_target_has_a_corpus() -> None:
    without = {"Length", "external_senders", "AppDataDictionary", "certificates"}
    assert {name for name in TARGETS if len(corpus(name)) == 1} == without
    assert {path.name for path in CORPUS.iterdir()} <= {folder(name).name for name in TARGETS}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_corpus_breaks_nothing(name: str) -> None:
    for data in corpus(name):
        with contextlib.suppress(DecodeError):
            TARGETS[name](data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_changed_copy_breaks_anything(name: str, campaign: int) -> None:
    source = random.Random(campaign)
    known = corpus(name)
    slow = name.startswith(("judge", "import"))
    for _ in range((TRIES // 4 if slow else TRIES) * campaign):
        with contextlib.suppress(DecodeError):
            TARGETS[name](mutate(source, known))


@pytest.mark.parametrize("claim", ["bfffffff", "bfffffff00", "7fff" + "00" * 16])
def test_what_is_claimed_is_not_allocated(claim: str) -> None:
    tracemalloc.start()
    for name in TARGETS:
        if name not in {"judge a commit", "judge a content", "import a tree"}:
            with contextlib.suppress(DecodeError):
                TARGETS[name](bytes.fromhex(claim))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_memory_is_in_proportion_to_what_was_sent() -> None:
    # The cheapest elements there are: proposals by an empty reference, two bytes each.
    body = b"\x02\x00" * (MESSAGE_ELEMENTS // 8)
    commit = (len(body) | 0x80000000).to_bytes(4, "big") + body + b"\x00"
    tracemalloc.start()
    TARGETS["Commit"](commit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * len(commit)

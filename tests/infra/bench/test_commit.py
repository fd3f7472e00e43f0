"""The benchmark's made-up groups are groups that members could have built, and its figures are figures of commits."""

from pathlib import Path

import pytest

from chalicelib.protocol.mls.chunked_tree import Attempt
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.stored_group import decode_root, encode_root
from chalicelib.protocol.mls.tree_rules import check_tree
from infra.bench import _growth
from infra.bench.commit import GROUP_ID, Crowd, Store, accept, measure


@pytest.mark.parametrize("members", [1, 2, 10, 100])
def test_a_warm_tree_passes_every_check_of_a_joiner(members: int) -> None:
    tree = Crowd(members).tree(warm=True)
    assert check_tree(tree, GROUP_ID, ()).members == members
    root = tree.leaf_capacity - 1
    assert tree.summary(root).resolution == 1


def test_commits_follow_one_another() -> None:
    crowd, store = Crowd(70), Store()
    root = encode_root(crowd.group(store, warm=True))
    for number in range(4):
        attempt = b"%08d" % number
        group = decode_root(root, Policy(), Attempt(store, attempt))
        assert group.epoch == number + 1
        message = crowd.commit(group, 7 * number)
        root, tree, parts = accept(root, store, message, attempt)
        store.update(tree.written)
        assert set(parts) == {
            "decode the message",
            "open the root",
            "load chunks",
            "stage",
            "merge",
            "encode the root",
        }


def test_a_commit_touches_a_bounded_number_of_items() -> None:
    small, large = measure(64, 3), measure(2_000, 3)
    assert small.read + small.written <= 10
    assert large.read + large.written <= 14
    assert large.calls <= 2


def test_growth_is_drawn(tmp_path: Path) -> None:
    # The suite's own environment does without plots.
    pytest.importorskip("matplotlib", reason="plots need the extra `bench`")
    picture = tmp_path / "growth.png"
    _growth.draw(picture, "title", "members", {"a line": {10: 1.0, 100: 2.0}})
    assert picture.read_bytes().startswith(b"\x89PNG")

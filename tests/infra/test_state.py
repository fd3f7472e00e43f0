"""The folder of a local run: one run at a time, and no endpoints that lead nowhere."""

from pathlib import Path

import pytest

from infra.local.__main__ import InUse, _alone_in


def test_a_second_run_does_not_take_over_the_folder_of_the_first(tmp_path: Path) -> None:
    with _alone_in(tmp_path):
        (tmp_path / "endpoints.json").write_text("{}")
        with pytest.raises(InUse), _alone_in(tmp_path):
            pytest.fail("two runs share a folder")
        assert (tmp_path / "endpoints.json").exists(), "the first run's endpoints stand"
    with _alone_in(tmp_path):
        pass  # The folder is free again.


def test_endpoints_of_an_earlier_run_are_gone_while_a_run_starts_and_when_it_has_ended(tmp_path: Path) -> None:
    endpoints = tmp_path / "endpoints.json"
    endpoints.write_text("an earlier run was killed")
    with _alone_in(tmp_path):
        assert not endpoints.exists()
        endpoints.write_text("{}")
    assert not endpoints.exists()

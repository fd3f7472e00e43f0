"""How far the work has come, on a terminal and in a log."""

import io

from infra.local.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_for_each_tenth() -> None:
    stream = io.StringIO()
    with Progress("registering", 239, stream) as progress:
        for _ in range(239):
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("registering: 239 of 239, ")


def test_a_terminal_gets_one_line_that_is_redrawn() -> None:
    stream = Terminal()
    with Progress("registering", 4, stream) as progress:
        progress.advance(2)
        progress.advance(2)
    assert stream.getvalue().count("\n") == 1
    assert f"[{'#' * 30}] registering: 4 of 4" in stream.getvalue()


def test_no_work_at_all_is_no_mistake() -> None:
    with Progress("nothing", 0, io.StringIO()):
        pass

"""Run a command that ends when its parent does: `python -m infra.local.leash PARENT_PID COMMAND …`.

A killed parent cannot stop its children. On Linux the kernel does it instead: it sends SIGTERM to a process
that has asked for that, and the request survives `exec`. Elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refused to watch the parent")
    # The parent may have died before the kernel was asked.
    if os.getppid() != parent:
        sys.exit("the parent has gone")
    os.execv(command[0], command)  # noqa: S606 - there is no shell, which is what is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
